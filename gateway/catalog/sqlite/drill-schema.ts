// The table of drills.

// `seq` is the order of creation among the tenant's; `outcome` is JSON, `bytes` those of log and picture. Nothing of it is in the
// packs, so a catalog that is rebuilt from them begins without
export const DRILL_SCHEMA = `
CREATE TABLE drill (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, seq INTEGER NOT NULL, point TEXT NOT NULL REFERENCES point,
  subject TEXT NOT NULL, added_ms INTEGER NOT NULL, verdict TEXT NOT NULL, bytes INTEGER NOT NULL, outcome TEXT NOT NULL,
  log TEXT NOT NULL, picture BLOB
) STRICT;
CREATE UNIQUE INDEX drill_tenant ON drill (tenant, seq, bytes);
CREATE INDEX drill_point ON drill (point, seq, verdict, added_ms);
CREATE INDEX drill_passed ON drill (tenant, verdict, added_ms);
`
