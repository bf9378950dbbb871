// The look at a datastore's version before anything of it is opened for writing.
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { VarveError } from '../../protocol/errors.ts'
import { MIGRATIONS } from './database/schema.ts'
import { FORMAT_VERSION } from './format.ts'

/** Name of the setting that holds the datastore's format version. */
export const FORMAT_SETTING = 'format'

const newer = (what: string, found: number, known: number): VarveError =>
  new VarveError('STORE_VERSION', `the datastore has ${what} ${found}, this program knows up to ${known}`, {
    details: { found, known },
  })

/** STORE_VERSION unless this program knows the value of the format setting. */
export const checkFormat = (value: string | null): void => {
  if (value === null) return
  const version = /^[1-9]\d{0,8}$/u.test(value) ? Number(value) : Number.NaN
  if (!(version <= FORMAT_VERSION)) throw newer('format', version, FORMAT_VERSION)
}

/** STORE_VERSION when a later program made this catalog; only reads it. A catalog that is not there yet is fine. */
export const checkCatalogVersion = (path: string): void => {
  if (!existsSync(path)) return
  const url = pathToFileURL(path)
  // a catalog that was closed well is read without the files that SQLite would lay beside it; one with a log needs its log
  if (!existsSync(`${path}-wal`)) url.searchParams.set('immutable', '1')
  const db = new DatabaseSync(url, { readOnly: true })
  try {
    const schema = Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0)
    if (schema > MIGRATIONS.length) throw newer('schema', schema, MIGRATIONS.length)
    if (schema === 0) return
    const row = db.prepare('SELECT value FROM setting WHERE name = ?').get(FORMAT_SETTING)
    checkFormat(row === undefined ? null : String(row['value']))
  } finally {
    db.close()
  }
}
