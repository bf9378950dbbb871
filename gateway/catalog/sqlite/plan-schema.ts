// The migration that brings plans, and machines that are left out of them on purpose.

export const PLAN_SCHEMA = `
CREATE TABLE plan (
  tenant INTEGER NOT NULL REFERENCES tenant, name TEXT NOT NULL, rules TEXT NOT NULL, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE exclusion (
  machine INTEGER PRIMARY KEY REFERENCES machine, tenant INTEGER NOT NULL REFERENCES tenant, subject TEXT NOT NULL, reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL, until_ms INTEGER
) STRICT;
`
