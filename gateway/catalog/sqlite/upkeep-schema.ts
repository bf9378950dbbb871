// Tables of what upkeep remembers: when each kind was done last, what removed points had stored, daily samples.

// a removed point's bytes go free as far as the next point of its machine has written others in their place; the rest is carried
// by that one, so that the bytes of all points and what they carry is an estimate of what is needed, without a look at the index
export const UPKEEP_SCHEMA = `
CREATE TABLE upkeep (
  tenant INTEGER NOT NULL, kind TEXT NOT NULL, tried_ms INTEGER NOT NULL, done_ms INTEGER, failures INTEGER NOT NULL DEFAULT 0,
  note TEXT NOT NULL, PRIMARY KEY (tenant, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE carried (
  point TEXT PRIMARY KEY REFERENCES point ON DELETE CASCADE, tenant INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX carried_tenant ON carried (tenant);

CREATE TABLE removed (tenant INTEGER PRIMARY KEY, points INTEGER NOT NULL) STRICT;

CREATE TABLE sample (
  tenant INTEGER NOT NULL, day INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (tenant, day)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER point_carries BEFORE DELETE ON point BEGIN
  INSERT INTO carried (point, tenant, bytes)
    SELECT next.id, OLD.tenant,
      OLD.bytes_stored + coalesce((SELECT bytes FROM carried WHERE point = OLD.id), 0) - next.bytes_stored
    FROM (
      SELECT id, bytes_stored FROM point WHERE machine = OLD.machine AND seq > OLD.seq ORDER BY seq LIMIT 1
    ) AS next
    WHERE OLD.bytes_stored + coalesce((SELECT bytes FROM carried WHERE point = OLD.id), 0) > next.bytes_stored
    ON CONFLICT (point) DO UPDATE SET bytes = bytes + excluded.bytes;
  INSERT INTO removed (tenant, points) VALUES (OLD.tenant, 1) ON CONFLICT (tenant) DO UPDATE SET points = points + 1;
END;
`
