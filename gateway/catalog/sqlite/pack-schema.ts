// Tables of packs, of the chunk index, and of what is damaged and lost with it.

// a row of chunk is a part of a record: the one at "place" of so many "parts", which have their record's offset and stored bytes
// a chunk's pack is not a declared foreign key: removing a pack would then scan all chunks
export const PACK_SCHEMA = `
CREATE TABLE pack (
  id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant, kind TEXT NOT NULL, uuid TEXT NOT NULL UNIQUE,
  bytes INTEGER NOT NULL, sealed INTEGER NOT NULL, created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX pack_open ON pack (tenant, kind) WHERE sealed = 0;

CREATE TABLE chunk (
  tenant INTEGER NOT NULL, id BLOB NOT NULL, type INTEGER NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
  stored INTEGER NOT NULL, plain INTEGER NOT NULL, codec INTEGER NOT NULL, machine INTEGER,
  parts INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (tenant, id)
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
`
