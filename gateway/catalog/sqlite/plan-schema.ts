// Tables of plans, and of machines that are left out of them on purpose.

export const PLAN_SCHEMA = `
CREATE TABLE plan (
  tenant INTEGER NOT NULL REFERENCES tenant, name TEXT NOT NULL, rules TEXT NOT NULL, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE exclusion (
  tenant INTEGER NOT NULL REFERENCES tenant, machine TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL, until_ms INTEGER, PRIMARY KEY (tenant, machine)
) STRICT, WITHOUT ROWID;
`
