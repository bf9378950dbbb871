// The look at a datastore's version before anything of it is opened for writing.
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { VarveError } from '../../protocol/errors.ts'
import { MIGRATIONS } from './database/schema.ts'
import { FORMAT_VERSION } from './format.ts'
import { hasPacks } from './layout.ts'

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

const checkPacks = (catalog: string): void => {
  if (!hasPacks(path.dirname(catalog))) return
  throw new VarveError(
    'CATALOG_MISSING',
    'the data folder has packs but no catalog; build it again from them with: varve-gateway repair --rebuild',
  )
}

/**
 * STORE_VERSION when a later program made this catalog, CATALOG_MISSING when it is absent or empty beside packs; only reads it.
 * A catalog that is not there yet, in a data folder without packs, is fine. `alone` looks at its version only.
 */
export const checkCatalogVersion = (catalog: string, { alone = false } = {}): void => {
  const checkNew = (): void => (alone ? undefined : checkPacks(catalog))
  if (!existsSync(catalog) || statSync(catalog).size === 0) return checkNew()
  const url = pathToFileURL(catalog)
  // a catalog that was closed well is read without the files that SQLite would lay beside it; one with a log needs its log
  if (!existsSync(`${catalog}-wal`)) url.searchParams.set('immutable', '1')
  const db = new DatabaseSync(url, { readOnly: true })
  try {
    const schema = Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0)
    if (schema > MIGRATIONS.length) throw newer('schema', schema, MIGRATIONS.length)
    if (schema === 0) return checkNew()
    const row = db.prepare('SELECT value FROM setting WHERE name = ?').get(FORMAT_SETTING)
    checkFormat(row === undefined ? null : String(row['value']))
    if (db.prepare('SELECT 1 FROM tenant LIMIT 1').get() === undefined) checkNew()
  } finally {
    db.close()
  }
}
