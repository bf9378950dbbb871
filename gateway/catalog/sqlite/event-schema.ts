// The migration that brings events, the conditions that hold, and which machines are gone from their host.

// tenant 0 is the platform; `seq` is the order of all, `number` that of one tenant, which is all that a tenant sees: the numbers
// of all would tell how busy others are. A head outlives the events that it numbered
export const EVENT_SCHEMA = `
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL, number INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, severity TEXT NOT NULL, machine TEXT, member_of TEXT, active INTEGER, key TEXT, text TEXT NOT NULL,
  data TEXT NOT NULL, UNIQUE (tenant, number)
) STRICT;
CREATE TABLE event_head (tenant INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT;
CREATE TABLE condition (
  tenant INTEGER NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL, machine TEXT, member_of TEXT,
  value TEXT NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL, since_ms INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX condition_kind ON condition (kind, tenant);
CREATE TABLE absent (machine INTEGER PRIMARY KEY REFERENCES machine, since_ms INTEGER NOT NULL) STRICT;
CREATE INDEX point_verified ON point (machine, verified_ms);
CREATE INDEX run_failed ON run (machine, due_ms)
  WHERE kind = 'backup' AND error IS NOT NULL AND state IN ('due', 'running', 'failed');
CREATE INDEX run_waiting ON run (machine, due_ms) WHERE kind = 'backup' AND state IN ('due', 'running');
`
