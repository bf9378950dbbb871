// What makes the catalog count itself: tables and triggers for rows and sums of every table that a backup depends on, of the
// index for each pack, and of what was acknowledged.
import { ID_BYTES } from '../../../protocol/chunk.ts'

/** Largest prime below 2 to the 40th: sums of a million rows stay exact in 64 bits. */
const PRIME = 1_099_511_627_689

/** Sums are kept modulo 2 to the 48th. */
const SUM_END = 2 ** 48
const SUM_MASK = SUM_END - 1

/**
 * Bytes of a text or blob that one number takes, and how many such pieces are looked at: all of an id or a uuid's text, the
 * beginning of longer texts.
 */
const PIECE_BYTES = 7
const PIECES = 6

type Kind = 'number' | 'bytes'

type Columns = Readonly<Record<string, Kind>>

interface Tallied {
  /** Columns that are summed. */
  readonly columns: Columns
  /** Columns whose change must reveal an older copy of the catalog, as a new or removed row does; null if nothing does. */
  readonly acknowledged: string | null
}

const names = (text: string): string[] => text.split(' ').filter((name) => name !== '')

const columns = (numbers: string, bytes: string): Columns => ({
  ...Object.fromEntries(names(numbers).map((name) => [name, 'number' as const])),
  ...Object.fromEntries(names(bytes).map((name) => [name, 'bytes' as const])),
})

const TABLES: Readonly<Record<string, Tallied>> = {
  tenant: {
    columns: columns('id chunk_bytes created_ms quota_soft quota_hard job_seq', 'name uuid id_key'),
    acknowledged: 'name, uuid, id_key, quota_soft, quota_hard',
  },
  agent: {
    columns: columns('tenant enrolled_ms revoked_ms', 'id host public_key site'),
    acknowledged: 'id, public_key, revoked_ms, site',
  },
  enrolment: { columns: columns('tenant created_ms expires_ms used_ms', 'id agent'), acknowledged: 'used_ms' },
  token: {
    columns: columns('tenant created_ms expires_ms revoked_ms', 'id subject role'),
    acknowledged: 'revoked_ms',
  },
  machine: {
    columns: columns('id tenant created_ms', 'name agent member_of uuid'),
    acknowledged: 'agent, member_of',
  },
  plan: { columns: columns('tenant', 'name rules'), acknowledged: 'rules' },
  exclusion: {
    columns: columns('tenant since_ms until_ms', 'machine subject reason'),
    acknowledged: 'subject, reason, since_ms, until_ms',
  },
  job: {
    columns: columns(
      'tenant machine seq full compare started_ms ended_ms released',
      'id agent subject state base begun error',
    ),
    acknowledged: 'state',
  },
  upload: {
    columns: columns(
      'ordinal attachment size has_base position finished received stored changed compared',
      'job disk kind reason base_root evidence state root',
    ),
    acknowledged: null,
  },
  point: {
    columns: columns(
      'tenant machine seq time_ms checkpoint bytes_read bytes_sent bytes_stored duration_ms committed_ms held locked_ms verified_ms',
      'id agent kind reason consistency note configuration base left_out missing took manifest',
    ),
    acknowledged: 'held, locked_ms',
  },
  image: {
    columns: columns('ordinal attachment size changed compared', 'point disk root kind reason evidence'),
    acknowledged: null,
  },
  missed: { columns: columns('tenant', 'point disk'), acknowledged: 'disk' },
  pack: { columns: columns('id tenant bytes sealed created_ms', 'kind uuid'), acknowledged: 'sealed' },
  damage: { columns: columns('tenant type offset found_ms', 'id pack reason'), acknowledged: null },
}

/** Names of the tables that are counted. */
export const TALLIED: readonly string[] = Object.keys(TABLES)

const numberOf = (kind: Kind, column: string): string => {
  if (kind === 'number') return `(coalesce(${column}, -1) % ${PRIME})`
  // SQLite reads hexadecimal numbers in JSON only
  const pieces = Array.from({ length: PIECES }, (_, index) => {
    const text = `hex(substr(CAST(${column} AS BLOB), ${index * PIECE_BYTES + 1}, ${PIECE_BYTES}))`
    return `${index + 2} * (('0x0' || ${text}) ->> '$')`
  })
  return `((${pieces.join(' + ')} + coalesce(length(${column}), -1)) % ${PRIME})`
}

/** One number for a row, in SQL; `row` is NEW, OLD or the name of the table. */
const rowSum = (of: Columns, row: string): string =>
  `((${Object.entries(of)
    .map(([name, kind], index) => `${2 * index + 3} * ${numberOf(kind, `${row}."${name}"`)}`)
    .join(' + ')}) % ${PRIME})`

const kept = (sum: string): string => `(${sum}) & ${SUM_MASK}`

const ACKNOWLEDGE = "UPDATE tally SET rows = rows + 1 WHERE name = 'acknowledged';"

/** What keeps the count of a table. */
const tableTriggers = (table: string, { columns: of, acknowledged }: Tallied): string => {
  const update = (rows: string, sum: string): string =>
    `UPDATE tally SET rows = rows ${rows}, sum = ${kept(`sum ${sum}`)} WHERE name = '${table}';`
  const [added, removed] = [rowSum(of, 'NEW'), rowSum(of, 'OLD')]
  const also = acknowledged === null ? '' : ACKNOWLEDGE
  return `
CREATE TRIGGER tally_${table}_added AFTER INSERT ON ${table} BEGIN ${update('+ 1', `+ ${added}`)} ${also} END;
CREATE TRIGGER tally_${table}_changed AFTER UPDATE ON ${table} BEGIN ${update('+ 0', `- ${removed} + ${added}`)} END;
CREATE TRIGGER tally_${table}_removed AFTER DELETE ON ${table} BEGIN ${update('- 1', `- ${removed}`)} ${also} END;
${acknowledged === null ? '' : `CREATE TRIGGER acknowledged_${table} AFTER UPDATE OF ${acknowledged} ON ${table} BEGIN ${ACKNOWLEDGE} END;`}`
}

/** Rows and sum of a table as it is now, in columns of these names. */
export const tallyQuery = (table: string): string =>
  `SELECT count(*) AS rows, ${kept(`coalesce(sum(${rowSum(TABLES[table]!.columns, table)}), 0)`)} AS sum FROM ${table}`

/**
 * Pieces of an id, of 6 bytes but for the last: with their weights they and the numbers of a row stay below 2 to the 53rd, so
 * JavaScript is exact too.
 */
const ID_PIECE_BYTES = 6
const ID_PIECES = Math.ceil(ID_BYTES / ID_PIECE_BYTES)

/** Odd, so that no bit of a piece falls out of a sum modulo 2 to the 48th. */
const pieceWeight = (index: number): number => 2 * index + 1

const CHUNK_NUMBERS = [
  'tenant',
  'type',
  'pack',
  'offset',
  'stored',
  'plain',
  'codec',
  'machine',
  'parts',
  'place',
] as const

/** The part of a row's number that is not of its id, in SQL. */
const numbersOf = (row: 'NEW' | 'OLD' | 'chunk'): string =>
  CHUNK_NUMBERS.map((name, index) => `${2 * index + 3} * coalesce(${row}.${name}, -1)`).join(' + ')

/** One number for a row of the index, in SQL; `chunkSum` is the same in JavaScript, which is faster. */
const chunkRowSum = (row: 'NEW' | 'OLD'): string => {
  const pieces = Array.from({ length: ID_PIECES }, (_, index) => {
    const text = `hex(substr(${row}.id, ${index * ID_PIECE_BYTES + 1}, ${ID_PIECE_BYTES}))`
    return `${pieceWeight(index)} * (('0x0' || ${text}) ->> '$')`
  })
  return `(${[numbersOf(row), ...pieces].join(' + ')})`
}

/** A row of the index as CHUNK_ROWS gives it: each column more takes time. */
export type ChunkRow = readonly [id: Uint8Array, pack: number, numbers: number]

export const CHUNK_ROWS = `SELECT id, pack, ${numbersOf('chunk')} FROM chunk`

/** The number of a row of the index, modulo 2 to the 48th. */
export const chunkSum = ([id, , numbers]: ChunkRow): number => {
  const bytes = Buffer.from(id.buffer, id.byteOffset, id.byteLength)
  let sum = numbers
  for (let index = 0; index < ID_PIECES; index++) {
    const at = index * ID_PIECE_BYTES
    const length = Math.min(ID_PIECE_BYTES, bytes.length - at)
    if (length > 0) sum += pieceWeight(index) * bytes.readUIntBE(at, length)
  }
  return ((sum % SUM_END) + SUM_END) % SUM_END
}

/** The sum of two sums. */
export const addSums = (a: number, b: number): number => (a + b) % SUM_END

const CHUNK_TRIGGERS = `
CREATE TRIGGER tally_chunk_added AFTER INSERT ON chunk BEGIN
  UPDATE pack_tally SET rows = rows + 1, sum = ${kept(`sum + ${chunkRowSum('NEW')}`)} WHERE pack = NEW.pack; END;
CREATE TRIGGER tally_chunk_removed AFTER DELETE ON chunk BEGIN
  UPDATE pack_tally SET rows = rows - 1, sum = ${kept(`sum - ${chunkRowSum('OLD')}`)} WHERE pack = OLD.pack; END;
CREATE TRIGGER tally_chunk_changed AFTER UPDATE ON chunk BEGIN
  UPDATE pack_tally SET rows = rows - 1, sum = ${kept(`sum - ${chunkRowSum('OLD')}`)} WHERE pack = OLD.pack;
  UPDATE pack_tally SET rows = rows + 1, sum = ${kept(`sum + ${chunkRowSum('NEW')}`)} WHERE pack = NEW.pack; END;
CREATE TRIGGER pack_tally_added AFTER INSERT ON pack BEGIN
  INSERT INTO pack_tally (pack, tenant, rows, sum) VALUES (NEW.id, NEW.tenant, 0, 0); END;
CREATE TRIGGER pack_tally_removed AFTER DELETE ON pack BEGIN DELETE FROM pack_tally WHERE pack = OLD.id; END;`

// of all tenants together: row 0 of tally, but for the index, which is counted for each pack
// "acknowledged" is incremented with every acknowledged change; the folder of packs has it too (epoch.ts)
export const TALLY_SCHEMA = `
CREATE TABLE tally (
  tenant INTEGER NOT NULL, name TEXT PRIMARY KEY, rows INTEGER NOT NULL, sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pack_tally (
  pack INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, rows INTEGER NOT NULL, sum INTEGER NOT NULL
) STRICT;

INSERT INTO tally (tenant, name, rows, sum) VALUES
  ${['acknowledged', ...TALLIED].map((name) => `(0, '${name}', 0, 0)`).join(', ')};
${Object.entries(TABLES)
  .map(([table, tallied]) => tableTriggers(table, tallied))
  .join('')}
${CHUNK_TRIGGERS}
`
