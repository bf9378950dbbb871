// Tables of targets and rules of notifications, of what is muted, of what targets were told, and of the outbox.

// tenant 0 is the platform; an item is what one target was told, or has to be told, of one condition or event; the
// cursor is the platform's, over the events of all
export const NOTICE_SCHEMA = `
CREATE TABLE notice_target (
  tenant INTEGER NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL, secret BLOB, secrets TEXT NOT NULL, origin TEXT,
  hourly INTEGER NOT NULL, since_seq INTEGER NOT NULL, held INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE notice_rule (
  tenant INTEGER NOT NULL, name TEXT NOT NULL, rule TEXT NOT NULL, PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE notice_mute (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, match TEXT NOT NULL, since_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX notice_muted ON notice_mute (tenant, until_ms);

CREATE TABLE notice_item (
  tenant INTEGER NOT NULL, key TEXT NOT NULL, target TEXT NOT NULL, item TEXT NOT NULL, due_ms INTEGER,
  PRIMARY KEY (tenant, key, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_item_due ON notice_item (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX notice_item_target ON notice_item (tenant, target);

CREATE TABLE notice_cursor (tenant INTEGER PRIMARY KEY CHECK (tenant = 0), seq INTEGER NOT NULL) STRICT;
INSERT INTO notice_cursor VALUES (0, 0);

CREATE TABLE notice (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER, error TEXT, made_ms INTEGER NOT NULL, ended_ms INTEGER
) STRICT;
CREATE INDEX notice_open ON notice (next_ms) WHERE state = 'waiting';
CREATE INDEX notice_tenant ON notice (tenant, made_ms, id);
CREATE INDEX notice_lately ON notice (tenant, target, made_ms);
`
