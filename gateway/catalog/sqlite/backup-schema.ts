// Tables of backups while they are made, and of the restore points that they leave.

// `seq` is the order of creation, which no clock decides: a number for each job of a tenant, and for the point that it makes
// an upload and an image are of a disk or, with `attachment`, of a small file that goes with the point; `evidence` is what an
// increment relies on beside its bitmap, `compared` how many chunks were compared with the base
// a point without `checkpoint` is of a machine that was only read; `took` is what making it took, null where nobody told;
// `left_out` are disks that it does not hold, `missing` files that should have gone with it, both JSON
// a disk in `missed` has a bitmap that begins at that point and has missed changes
export const BACKUP_SCHEMA = `
CREATE TABLE job (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, machine INTEGER NOT NULL REFERENCES machine,
  agent TEXT NOT NULL REFERENCES agent, seq INTEGER NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL,
  "full" INTEGER NOT NULL, compare INTEGER NOT NULL, base TEXT, begun TEXT, started_ms INTEGER NOT NULL, ended_ms INTEGER,
  error TEXT, released INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX job_created ON job (tenant, seq);
CREATE INDEX job_machine ON job (machine, started_ms);
CREATE INDEX job_machine_created ON job (machine, seq);
CREATE INDEX job_agent_created ON job (agent, seq);
CREATE INDEX job_open ON job (agent, machine) WHERE ended_ms IS NULL;
CREATE INDEX job_machine_open ON job (machine) WHERE ended_ms IS NULL;

CREATE TABLE upload (
  job TEXT NOT NULL REFERENCES job, disk TEXT NOT NULL, ordinal INTEGER NOT NULL, attachment INTEGER NOT NULL,
  size INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL, has_base INTEGER NOT NULL, base_root BLOB,
  evidence TEXT, position INTEGER NOT NULL, state BLOB NOT NULL, finished INTEGER NOT NULL, root BLOB,
  received INTEGER NOT NULL, stored INTEGER NOT NULL, changed INTEGER NOT NULL, compared INTEGER NOT NULL,
  PRIMARY KEY (job, disk)
) STRICT, WITHOUT ROWID;

CREATE TABLE point (
  id TEXT PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, machine INTEGER NOT NULL REFERENCES machine,
  agent TEXT NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
  consistency TEXT NOT NULL, checkpoint INTEGER NOT NULL, note TEXT, configuration TEXT NOT NULL, base TEXT,
  left_out TEXT NOT NULL, missing TEXT NOT NULL, bytes_read INTEGER NOT NULL, bytes_sent INTEGER NOT NULL,
  bytes_stored INTEGER NOT NULL, duration_ms INTEGER NOT NULL, took TEXT, committed_ms INTEGER NOT NULL,
  manifest BLOB NOT NULL, held INTEGER NOT NULL DEFAULT 0, locked_ms INTEGER, verified_ms INTEGER
) STRICT;
CREATE INDEX point_tenant ON point (tenant, time_ms);
CREATE INDEX point_machine ON point (machine, time_ms);
CREATE INDEX point_created ON point (machine, seq);
CREATE INDEX point_verified ON point (machine, verified_ms);

CREATE TABLE image (
  point TEXT NOT NULL REFERENCES point, disk TEXT NOT NULL, ordinal INTEGER NOT NULL, attachment INTEGER NOT NULL,
  size INTEGER NOT NULL, root BLOB, kind TEXT NOT NULL, reason TEXT NOT NULL, evidence TEXT,
  changed INTEGER NOT NULL, compared INTEGER NOT NULL, PRIMARY KEY (point, disk)
) STRICT, WITHOUT ROWID;

CREATE TABLE missed (
  tenant INTEGER NOT NULL REFERENCES tenant, point TEXT NOT NULL, disk TEXT NOT NULL, PRIMARY KEY (tenant, point, disk)
) STRICT, WITHOUT ROWID;
`
