// Looks at the catalog as it lies on the disk: whether it is as SQLite and its own counts say. What it finds is damage that Varve
// never causes itself.
import { read, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'
import { addSums, CHUNK_ROWS, chunkSum, TALLIED, tallyQuery, type ChunkRow } from './tally-schema.ts'

/** Problems of one kind that are named; one is enough to refuse the catalog. */
const NAMED_MAX = 5

/** Records above which reading a trusted index would make a start slow. */
const TRUSTED_ROWS_MIN = 2_000_000

interface Tally {
  readonly rows: number
  readonly sum: number
}

/** Pages, and the order of rows in them; of tables that are small also each index against its table. */
const checkPages = (sql: Sql, all: boolean): string[] => {
  const problems = all
    ? sql.all<{ quick_check: string }>(`PRAGMA quick_check(${NAMED_MAX})`).map((row) => row.quick_check)
    : []
  // with a broken page further checks are pointless
  if (problems.some((text) => text !== 'ok')) return problems
  for (const table of TALLIED)
    problems.push(
      ...sql
        .all<{ integrity_check: string }>(`PRAGMA integrity_check(${table})`)
        .slice(0, NAMED_MAX)
        .map((row) => row.integrity_check),
    )
  return problems.filter((text) => text !== 'ok')
}

/** Records of the index, as it was counted. */
const indexRows = (sql: Sql): number =>
  sql.get<{ rows: number }>('SELECT coalesce(sum(rows), 0) AS rows FROM pack_tally')!.rows

const checkReferences = (sql: Sql): string[] =>
  sql
    .all<{ table: string; parent: string }>('PRAGMA foreign_key_check')
    .slice(0, NAMED_MAX)
    .map(({ table, parent }) => `a row of ${table} belongs to no ${parent}`)

const checkTables = (sql: Sql): string[] =>
  TALLIED.flatMap((table) => {
    const known = sql.get<Tally & object>('SELECT rows, sum FROM tally WHERE name = ?', table)
    const found = sql.get<Tally & object>(tallyQuery(table))!
    if (known === undefined) return [`the table ${table} is not counted`]
    if (known.rows !== found.rows) return [`the table ${table} has ${found.rows} rows and should have ${known.rows}`]
    return known.sum === found.sum ? [] : [`rows of the table ${table} are not as they were written`]
  })

/** Rows and sum of the index for each pack, by its row id. */
const tallyIndex = (sql: Sql): Map<number, { rows: number; sum: number }> => {
  const tallies = new Map<number, { rows: number; sum: number }>()
  for (const row of sql.rows<ChunkRow>(CHUNK_ROWS)) {
    const [, pack] = row
    const sum = chunkSum(row)
    const tally = tallies.get(pack)
    if (tally === undefined) {
      tallies.set(pack, { rows: 1, sum })
      continue
    }
    tally.rows++
    tally.sum = addSums(tally.sum, sum)
  }
  return tallies
}

const checkIndex = (sql: Sql): string[] => {
  const found = tallyIndex(sql)
  const problems: string[] = []
  const packs = sql.all<{ pack: number; uuid: string; rows: number | null; sum: number | null }>(
    'SELECT pack.id AS pack, uuid, rows, sum FROM pack LEFT JOIN pack_tally ON pack_tally.pack = pack.id',
  )
  for (const { pack, uuid, rows, sum } of packs) {
    const tally = found.get(pack) ?? { rows: 0, sum: 0 }
    found.delete(pack)
    if (tally.rows !== rows)
      problems.push(`the index has ${tally.rows} records of pack ${uuid} and should have ${rows}`)
    else if (tally.sum !== sum) problems.push(`rows of the index that name pack ${uuid} are not as they were written`)
  }
  for (const { rows } of found.values())
    problems.push(`${rows} rows of the index name a pack that is not in the catalog`)
  return problems.slice(0, NAMED_MAX)
}

/** The number of acknowledged changes. */
export const acknowledged = (sql: Sql): number =>
  sql.get<{ rows: number }>("SELECT rows FROM tally WHERE name = 'acknowledged'")?.rows ?? 0

export const examineOperations = {
  'condition.examine': read((sql, { trusted }) => {
    const all = !trusted || indexRows(sql) < TRUSTED_ROWS_MIN
    const pages = checkPages(sql, all)
    if (pages.length > 0) return pages
    return [...checkReferences(sql), ...checkTables(sql), ...(all ? checkIndex(sql) : [])]
  }),

  'condition.acknowledged': read((sql) => acknowledged(sql)),
} satisfies Partial<Operations>
