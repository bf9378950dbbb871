// Tables of tenants, of who acts in them, of their machines, and of what was done.

// `job_seq` is the number of the tenant's last job; `plans` changes with its plans (state-schema.ts); `state_seq`, `state_id` and
// `state_dirty` are of its state in the packs (state.ts)
// a token without a tenant is the platform's; an agent's site and a machine's uuid are null until somebody says them
export const TENANT_SCHEMA = `
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE tenant (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL UNIQUE, id_key BLOB NOT NULL,
  chunk_bytes INTEGER NOT NULL, created_ms INTEGER NOT NULL, quota_soft INTEGER, quota_hard INTEGER,
  job_seq INTEGER NOT NULL DEFAULT 0, plans INTEGER NOT NULL DEFAULT 0,
  state_seq INTEGER NOT NULL DEFAULT 0, state_id BLOB, state_dirty INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE agent (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, host TEXT NOT NULL, public_key TEXT NOT NULL, site TEXT,
  enrolled_ms INTEGER NOT NULL, revoked_ms INTEGER, seen_ms INTEGER
) STRICT;
CREATE INDEX agent_site ON agent (tenant, site) WHERE site IS NOT NULL;

CREATE TABLE enrolment (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, used_ms INTEGER, agent TEXT REFERENCES agent
) STRICT;

CREATE TABLE token (
  id TEXT PRIMARY KEY, tenant INTEGER REFERENCES tenant, subject TEXT NOT NULL, role TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER
) STRICT;

CREATE TABLE machine (
  id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, name TEXT NOT NULL, agent TEXT NOT NULL REFERENCES agent,
  member_of TEXT, uuid TEXT, created_ms INTEGER NOT NULL, UNIQUE (tenant, name)
) STRICT;
CREATE INDEX machine_agent ON machine (agent, name);

CREATE TABLE absent (machine INTEGER PRIMARY KEY REFERENCES machine, since_ms INTEGER NOT NULL) STRICT;

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, tenant INTEGER, subject TEXT NOT NULL, role TEXT NOT NULL,
  action TEXT NOT NULL, resource TEXT NOT NULL, outcome TEXT NOT NULL, details TEXT NOT NULL,
  previous BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant, seq);
`
