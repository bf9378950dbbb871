// The table of restores that were ordered from agents.

// the point and the machine are named, not referred to: a restore is shown after its point was removed. Nothing of it is in the
// packs, so a catalog that is rebuilt from them begins without
export const RESTORE_SCHEMA = `
CREATE TABLE restore (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, point TEXT NOT NULL, machine TEXT NOT NULL, time_ms INTEGER NOT NULL,
  agent TEXT NOT NULL REFERENCES agent, subject TEXT NOT NULL, overwrite INTEGER NOT NULL, state TEXT NOT NULL,
  started_ms INTEGER NOT NULL, ended_ms INTEGER, error TEXT, disks TEXT NOT NULL
) STRICT;
CREATE INDEX restore_tenant ON restore (tenant, started_ms, id);
CREATE INDEX restore_open ON restore (point) WHERE ended_ms IS NULL;
`
