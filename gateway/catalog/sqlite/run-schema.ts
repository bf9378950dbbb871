// Tables of runs: the slots of plans and of upkeep, with what became of each.

// A slot is one of its machine (or, for upkeep, of its tenant, or of the gateway) and kind, so nobody can plan it twice; the
// lease says which gateway works on it and until when it is believed. `pace` says by which plan a machine's slots are planned,
// since when, and until when they are.
export const RUN_SCHEMA = `
CREATE TABLE run (
  id TEXT PRIMARY KEY, tenant INTEGER REFERENCES tenant, machine INTEGER REFERENCES machine, kind TEXT NOT NULL, plan TEXT,
  due_ms INTEGER NOT NULL, state TEXT NOT NULL, skipped TEXT, attempts INTEGER NOT NULL DEFAULT 0, error TEXT, next_ms INTEGER,
  owner TEXT, lease_ms INTEGER, job TEXT, started_ms INTEGER, ended_ms INTEGER, subject TEXT, summary TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX run_slot ON run (ifnull(tenant, 0), kind, ifnull(machine, 0), due_ms);
CREATE INDEX run_machine ON run (machine, due_ms);
CREATE INDEX run_tenant ON run (tenant, due_ms);
CREATE INDEX run_open ON run (state, next_ms) WHERE state IN ('due', 'running');
CREATE INDEX run_job ON run (job) WHERE state = 'running';
CREATE INDEX run_ended ON run (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX run_failed ON run (machine, due_ms)
  WHERE kind = 'backup' AND error IS NOT NULL AND state IN ('due', 'running', 'failed');
CREATE INDEX run_waiting ON run (machine, due_ms) WHERE kind = 'backup' AND state IN ('due', 'running');

CREATE TABLE pace (
  machine INTEGER PRIMARY KEY REFERENCES machine, plan TEXT NOT NULL, timing TEXT NOT NULL, since_ms INTEGER NOT NULL,
  planned_ms INTEGER NOT NULL
) STRICT;
`
