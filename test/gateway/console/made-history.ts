// A long past for the console: real points of a stopped gateway's catalog are set back in time and copied, also to machines that
// have none, so that lists and pictures have what they would have after weeks.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface Past {
  /** Whose newest points are copied. */
  readonly like: string
  /** When each of its points was made, as an age in milliseconds. */
  readonly agesMs: readonly number[]
}

const OWN_COLUMNS = [
  'id',
  'machine',
  'time_ms',
  'committed_ms',
  'seq',
  'kind',
  'reason',
  'base',
  'locked_ms',
  'verified_ms',
]

const columnsOf = (db: DatabaseSync, table: string, without: readonly string[]): string =>
  db
    .prepare(`SELECT name FROM pragma_table_info('${table}')`)
    .all()
    .map(({ name }) => String(name))
    .filter((name) => !without.includes(name))
    .map((name) => `"${name}"`)
    .join(', ')

/** Sets the points of machines that have some back in time, the newest to the first age and so on. */
const setBack = (db: DatabaseSync, machine: number, agesMs: readonly number[], nowMs: number): void => {
  const points = db.prepare('SELECT id FROM point WHERE machine = ? ORDER BY seq DESC').all(machine)
  const set = db.prepare('UPDATE point SET time_ms = ?, committed_ms = ? WHERE id = ?')
  for (const [index, { id }] of points.entries()) {
    const ageMs = agesMs[index] ?? agesMs.at(-1)! + (index + 1) * 86_400_000
    set.run(nowMs - ageMs, nowMs - ageMs + 4000, String(id))
  }
}

/** Gives machines of a stopped gateway's data folder their past: by name. */
export const makePast = (folder: string, pasts: Readonly<Record<string, Past>>, nowMs = Date.now()): void => {
  using db = new DatabaseSync(path.join(folder, 'catalog.db'))
  db.exec('BEGIN IMMEDIATE')
  const rowOf = (name: string): number | null => {
    const found = db.prepare('SELECT id FROM machine WHERE name = ?').get(name)
    return found === undefined ? null : Number(found['id'])
  }
  const same = columnsOf(db, 'point', OWN_COLUMNS)
  const copyPoint = db.prepare(
    `INSERT INTO point (id, machine, time_ms, committed_ms, seq, kind, reason, base, ${same})
     SELECT ?, ?, ?, ?, ?, ?, ?, ?, ${same} FROM point WHERE id = ?`,
  )
  const image = columnsOf(db, 'image', ['point'])
  const copyImages = db.prepare(`INSERT INTO image (point, ${image}) SELECT ?, ${image} FROM image WHERE point = ?`)
  let seq = Number(db.prepare('SELECT max(seq) AS seq FROM point').get()!['seq'])
  for (const [name, { like, agesMs }] of Object.entries(pasts)) {
    const machine = rowOf(name)
    const model = rowOf(like)
    if (machine === null || model === null) throw new Error(`there is no machine ${name}, or no ${like}`)
    db.prepare('UPDATE machine SET created_ms = ? WHERE id = ?').run(
      nowMs - Math.max(...agesMs, 0) - 3_600_000,
      machine,
    )
    if (name === like) {
      setBack(db, machine, agesMs, nowMs)
      continue
    }
    const newest = db.prepare('SELECT id FROM point WHERE machine = ? ORDER BY seq DESC LIMIT 1').get(model)
    if (newest === undefined) throw new Error(`${like} has no points`)
    let base: string | null = null
    for (const ageMs of agesMs.toSorted((a, b) => b - a)) {
      const id = randomUUID()
      const [kind, reason] = base === null ? ['full', 'first'] : ['incremental', 'bitmap']
      const timeMs = nowMs - ageMs
      copyPoint.run(id, machine, timeMs, timeMs + 4000, ++seq, kind, reason, base, String(newest['id']))
      copyImages.run(id, String(newest['id']))
      base = id
    }
  }
  db.exec('COMMIT')
}
