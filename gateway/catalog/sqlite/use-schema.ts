// The table of points that somebody reads for longer than a call: a machine that runs from one before it is restored.

// nothing of it is in the packs: after a rebuild each use is back as soon as it is renewed
export const USE_SCHEMA = `
CREATE TABLE point_use (
  id TEXT NOT NULL, user TEXT NOT NULL, tenant INTEGER NOT NULL REFERENCES tenant, point TEXT NOT NULL, agent TEXT REFERENCES agent,
  until_ms INTEGER NOT NULL, PRIMARY KEY (id, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX point_use_point ON point_use (point, until_ms);
CREATE INDEX point_use_tenant ON point_use (tenant, until_ms);
`
