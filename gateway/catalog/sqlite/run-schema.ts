// The migration that brings runs: the slots of plans and of upkeep, with what became of each.

// a slot is one of its machine (or, for upkeep, of its tenant) and kind, so nobody can plan it twice; the lease says which
// gateway works on it and until when it is believed
export const RUN_SCHEMA = `
CREATE TABLE run (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, machine INTEGER REFERENCES machine, kind TEXT NOT NULL, plan TEXT,
  due_ms INTEGER NOT NULL, state TEXT NOT NULL, skipped TEXT, attempts INTEGER NOT NULL DEFAULT 0, error TEXT, next_ms INTEGER,
  owner TEXT, lease_ms INTEGER, job TEXT, started_ms INTEGER, ended_ms INTEGER, subject TEXT, summary TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX run_slot ON run (tenant, kind, ifnull(machine, 0), due_ms);
CREATE INDEX run_machine ON run (machine, due_ms);
CREATE INDEX run_tenant ON run (tenant, due_ms);
CREATE INDEX run_open ON run (state, next_ms) WHERE state IN ('due', 'running');
`
