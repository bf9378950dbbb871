// The migration that brings events, and the conditions that hold.

export const EVENT_SCHEMA = `
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, tenant INTEGER, kind TEXT NOT NULL, severity TEXT NOT NULL,
  machine TEXT, member_of TEXT, active INTEGER, key TEXT, text TEXT NOT NULL, data TEXT NOT NULL
) STRICT;
CREATE INDEX event_tenant ON event (tenant, seq);
CREATE TABLE condition (
  tenant INTEGER NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL, machine TEXT, value TEXT NOT NULL,
  since_ms INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
`
