// The migration that brings targets and rules of notifications, what is muted, and the outbox.

// tenant 0 is the platform
export const NOTICE_SCHEMA = `
CREATE TABLE notice_target (
  tenant INTEGER NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL, secret BLOB, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE notice_rule (
  tenant INTEGER NOT NULL, name TEXT NOT NULL, rule TEXT NOT NULL, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE notice_mute (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, match TEXT NOT NULL, since_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE notice (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL, target TEXT NOT NULL, key TEXT, seq INTEGER NOT NULL, message TEXT NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER, error TEXT, made_ms INTEGER NOT NULL, ended_ms INTEGER
) STRICT;
CREATE INDEX notice_open ON notice (next_ms) WHERE state = 'waiting';
CREATE INDEX notice_tenant ON notice (tenant, made_ms);
`
