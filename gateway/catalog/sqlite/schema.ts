// The schema of the catalog and chunk index, as a list of migrations; each runs once, in order.
import { EVENT_SCHEMA } from './event-schema.ts'
import { MISSED_SCHEMA } from './missed-schema.ts'
import { NOTICE_SCHEMA } from './notice-schema.ts'
import { PLAN_SCHEMA } from './plan-schema.ts'
import { RESTORE_SCHEMA } from './restore-schema.ts'
import { RUN_SCHEMA } from './run-schema.ts'
import type { Sql } from './sql.ts'
import { UPKEEP_SCHEMA } from './upkeep-schema.ts'
import { TALLY, tallyAgain, tallyTriggers } from './tally-schema.ts'

// a chunk's pack is not a declared foreign key: removing a pack would then scan all chunks
// the triggers note in tenant.state_dirty that the packs lack the tenant's current state; a new restore point needs no trigger,
// as its manifest has it
const VERSION_1 = `
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE tenant (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL UNIQUE,
  id_key BLOB NOT NULL, chunk_bytes INTEGER NOT NULL, created_ms INTEGER NOT NULL,
  quota_soft INTEGER, quota_hard INTEGER, state_seq INTEGER NOT NULL DEFAULT 0, state_id BLOB, state_dirty INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE agent (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, host TEXT NOT NULL, public_key TEXT NOT NULL,
  enrolled_ms INTEGER NOT NULL, revoked_ms INTEGER, seen_ms INTEGER
) STRICT;

CREATE TABLE enrolment (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, used_ms INTEGER, agent TEXT REFERENCES agent
) STRICT;

CREATE TABLE token (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, subject TEXT NOT NULL, role TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER
) STRICT;

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, tenant INTEGER, subject TEXT NOT NULL, role TEXT NOT NULL,
  action TEXT NOT NULL, resource TEXT NOT NULL, outcome TEXT NOT NULL, details TEXT NOT NULL,
  previous BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant, seq);

CREATE TABLE machine (
  id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, name TEXT NOT NULL,
  agent TEXT NOT NULL REFERENCES agent, policy TEXT NOT NULL, created_ms INTEGER NOT NULL, member_of TEXT, UNIQUE (tenant, name)
) STRICT;

CREATE TABLE job (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, machine INTEGER NOT NULL REFERENCES machine,
  agent TEXT NOT NULL REFERENCES agent, subject TEXT NOT NULL, state TEXT NOT NULL, "full" INTEGER NOT NULL, base TEXT,
  started_ms INTEGER NOT NULL, ended_ms INTEGER, error TEXT, begun TEXT
) STRICT;
CREATE INDEX job_machine ON job (machine, started_ms);
CREATE INDEX job_open ON job (agent, machine) WHERE ended_ms IS NULL;

CREATE TABLE upload (
  job TEXT NOT NULL REFERENCES job, disk TEXT NOT NULL, ordinal INTEGER NOT NULL, size INTEGER NOT NULL,
  kind TEXT NOT NULL, reason TEXT NOT NULL, base_root BLOB, has_base INTEGER NOT NULL,
  position INTEGER NOT NULL, state BLOB NOT NULL, finished INTEGER NOT NULL, root BLOB,
  received INTEGER NOT NULL, stored INTEGER NOT NULL, changed INTEGER NOT NULL,
  PRIMARY KEY (job, disk)
) STRICT, WITHOUT ROWID;

CREATE TABLE point (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, machine INTEGER NOT NULL REFERENCES machine,
  agent TEXT NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
  consistency TEXT NOT NULL, note TEXT, configuration TEXT NOT NULL, base TEXT,
  bytes_read INTEGER NOT NULL, bytes_sent INTEGER NOT NULL, bytes_stored INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
  committed_ms INTEGER NOT NULL, manifest BLOB NOT NULL, held INTEGER NOT NULL DEFAULT 0, locked_ms INTEGER, verified_ms INTEGER
) STRICT;
CREATE INDEX point_machine ON point (machine, time_ms);
CREATE INDEX point_tenant ON point (tenant, time_ms);

CREATE TABLE image (
  point TEXT NOT NULL REFERENCES point, disk TEXT NOT NULL, ordinal INTEGER NOT NULL, size INTEGER NOT NULL,
  root BLOB, kind TEXT NOT NULL, reason TEXT NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (point, disk)
) STRICT, WITHOUT ROWID;

CREATE TABLE retention (
  tenant INTEGER NOT NULL REFERENCES tenant, scope TEXT NOT NULL, name TEXT NOT NULL, rules TEXT NOT NULL,
  PRIMARY KEY (tenant, scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE damage (
  tenant INTEGER NOT NULL, id BLOB NOT NULL, type INTEGER NOT NULL, pack TEXT, offset INTEGER, reason TEXT NOT NULL,
  found_ms INTEGER NOT NULL, PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE lost (
  point TEXT NOT NULL REFERENCES point ON DELETE CASCADE, disk TEXT NOT NULL, offset INTEGER NOT NULL,
  length INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (point, disk, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX lost_id ON lost (id);

CREATE TABLE lost_next (
  tenant INTEGER NOT NULL, point TEXT NOT NULL, disk TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
  id BLOB NOT NULL, PRIMARY KEY (tenant, point, disk, offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE pack (
  id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, kind TEXT NOT NULL, uuid TEXT NOT NULL UNIQUE,
  bytes INTEGER NOT NULL, sealed INTEGER NOT NULL, created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX pack_open ON pack (tenant, kind) WHERE sealed = 0;

CREATE TABLE chunk (
  tenant INTEGER NOT NULL, id BLOB NOT NULL, type INTEGER NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
  stored INTEGER NOT NULL, plain INTEGER NOT NULL, codec INTEGER NOT NULL, machine INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER state_gateway AFTER INSERT ON setting WHEN NEW.name = 'gateway'
  BEGIN UPDATE tenant SET state_dirty = 1; END;
CREATE TRIGGER state_tenant AFTER UPDATE OF name, quota_soft, quota_hard ON tenant
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.id; END;
CREATE TRIGGER state_agent_added AFTER INSERT ON agent
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_agent AFTER UPDATE OF host, public_key, revoked_ms ON agent
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_machine_added AFTER INSERT ON machine
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_machine AFTER UPDATE ON machine
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_machine_removed AFTER DELETE ON machine
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = OLD.tenant; END;
CREATE TRIGGER state_job AFTER UPDATE OF state ON job WHEN NEW.state = 'failed'
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_damaged AFTER INSERT ON damage WHEN NEW.type = 4
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_retention_added AFTER INSERT ON retention
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_retention AFTER UPDATE ON retention
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_retention_removed AFTER DELETE ON retention
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = OLD.tenant; END;
CREATE TRIGGER state_point AFTER UPDATE OF held, locked_ms ON point
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
CREATE TRIGGER state_point_removed AFTER DELETE ON point
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = OLD.tenant; END;
`

// what an increment relies on beside its bitmap, what was compared, and what a restore point leaves out
const VERSION_2 = `
ALTER TABLE upload ADD COLUMN evidence TEXT;
ALTER TABLE upload ADD COLUMN compared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE image ADD COLUMN evidence TEXT;
ALTER TABLE image ADD COLUMN compared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE point ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';
ALTER TABLE job ADD COLUMN compare INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN released INTEGER NOT NULL DEFAULT 0;
UPDATE job SET released = 1 WHERE ended_ms IS NOT NULL;
`

// the order of creation, which no clock decides: a number for each job of a tenant, and for the point that it makes; 0 for those
// of before, whose order their times tell
const VERSION_3 = `
ALTER TABLE tenant ADD COLUMN job_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE point ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
CREATE INDEX job_created ON job (tenant, seq, started_ms);
CREATE INDEX point_created ON point (machine, seq, committed_ms);
`

// the indexes that lists follow
const VERSION_5 = `
CREATE INDEX machine_agent ON machine (agent, name);
CREATE INDEX job_machine_created ON job (machine, seq, started_ms);
CREATE INDEX job_agent_created ON job (agent, seq, started_ms);
`

// a token may belong to no tenant; its rows are what they were and keep their order, so they count as before
const VERSION_6 = `
CREATE TABLE token_new (
  id TEXT PRIMARY KEY, tenant INTEGER REFERENCES tenant, subject TEXT NOT NULL, role TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER
) STRICT;
INSERT INTO token_new SELECT id, tenant, subject, role, created_ms, expires_ms, revoked_ms FROM token ORDER BY rowid;
DROP TABLE token;
ALTER TABLE token_new RENAME TO token;
${tallyTriggers('token', 6)}
`

// a point of a machine that was only read has no checkpoint; those of before all have one
const VERSION_7 = `
ALTER TABLE point ADD COLUMN checkpoint INTEGER NOT NULL DEFAULT 1;
${tallyAgain('point', 7)}
`

// small files that go with a point are images too, which are no disks
const VERSION_8 = `
ALTER TABLE upload ADD COLUMN attachment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE image ADD COLUMN attachment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE point ADD COLUMN missing TEXT NOT NULL DEFAULT '[]';
${['upload', 'image', 'point'].map((table) => tallyAgain(table, 8)).join('')}
`

// sites of agents, which are grants, and the uuids by which machines are known in them
const VERSION_9 = `
ALTER TABLE agent ADD COLUMN site TEXT;
ALTER TABLE machine ADD COLUMN uuid TEXT;
CREATE INDEX agent_site ON agent (tenant, site) WHERE site IS NOT NULL;
CREATE INDEX job_machine_open ON job (machine) WHERE ended_ms IS NULL;
DROP TRIGGER state_agent;
CREATE TRIGGER state_agent AFTER UPDATE OF host, public_key, revoked_ms, site ON agent
  BEGIN UPDATE tenant SET state_dirty = 1 WHERE id = NEW.tenant; END;
${tallyAgain('agent', 9)}
${tallyAgain('machine', 9)}
`

// what making a point took, as its agent told; of those of before nobody knows
const VERSION_17 = `
ALTER TABLE point ADD COLUMN took TEXT;
${tallyAgain('point', 17)}
`

/** A migration is SQL, or a function where that would not be clear. */
export const MIGRATIONS: readonly (string | ((sql: Sql) => void))[] = [
  VERSION_1,
  VERSION_2,
  VERSION_3,
  TALLY,
  VERSION_5,
  VERSION_6,
  VERSION_7,
  VERSION_8,
  VERSION_9,
  PLAN_SCHEMA,
  RUN_SCHEMA,
  EVENT_SCHEMA,
  NOTICE_SCHEMA,
  UPKEEP_SCHEMA,
  MISSED_SCHEMA,
  RESTORE_SCHEMA,
  VERSION_17,
]
