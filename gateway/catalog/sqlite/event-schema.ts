// Tables of events, and of the conditions that hold.

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
`
