// Checks a datastore's version before anything of it is opened for writing.
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { VarveError } from '../../../protocol/errors.ts'
import { MIGRATIONS } from './schema.ts'
import { FORMAT_VERSION } from '../../packs/format.ts'
import { refuseOlderEpoch } from '../older-catalog.ts'
import { FORMAT_SETTING, PACKS_SETTING } from '../settings.ts'
import { packNotes, packStoreIn } from '../../packs/open-pack-store.ts'
import { strangePacks } from '../../packs/pack-store.ts'

const newer = (what: string, found: number, known: number): VarveError =>
  new VarveError('STORE_VERSION', `the datastore has ${what} ${found}, this program knows up to ${known}`, {
    details: { found, known },
  })

const otherFormat = (found: number): VarveError =>
  new VarveError(
    'STORE_VERSION',
    `the datastore has format ${found}, this program knows only ${FORMAT_VERSION}: use the program that made it, or begin a new data folder`,
    { details: { found, known: FORMAT_VERSION } },
  )

/** STORE_VERSION unless this program knows the value of the format setting. */
export const checkFormat = (value: string | null): void => {
  if (value === null) return
  const version = /^[1-9]\d{0,8}$/u.test(value) ? Number(value) : Number.NaN
  if (version !== FORMAT_VERSION) throw otherFormat(version)
}

/** CONFIG_INVALID for a file of another program in the catalog's place; what it holds is left as it is. */
const foreign = (why: string): VarveError =>
  new VarveError(
    'CONFIG_INVALID',
    `catalog.db is not a catalog of Varve (${why}): move it away; where there are packs, build their catalog again with: varve-gateway repair --rebuild`,
  )

const has = (db: DatabaseSync, table: string): boolean =>
  db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(table) !== undefined

const checkPacks = (catalog: string): void => {
  if (!packNotes(packStoreIn(path.dirname(catalog))).hasPacks()) return
  throw new VarveError(
    'CATALOG_MISSING',
    'the data folder has packs but no catalog; build it again from them with: varve-gateway repair --rebuild',
  )
}

/**
 * STORE_VERSION when a later program made this catalog, CATALOG_MISSING when it is absent or empty beside packs, CONFIG_INVALID
 * when it is no catalog; only reads. An absent catalog in a data folder without packs is fine. `alone` checks its version only;
 * with `epoch` an older copy of it is CATALOG_MISSING too, and one of other packs STORE_FAILED, for commands that write into it.
 */
export const checkCatalogVersion = (catalog: string, { alone = false, epoch = false } = {}): void => {
  const checkNew = (): void => (alone ? undefined : checkPacks(catalog))
  const found = statSync(catalog, { throwIfNoEntry: false })
  if (found === undefined) return checkNew()
  if (!found.isFile()) throw foreign('it is not a file')
  if (found.size === 0) return checkNew()
  // read before the catalog's: another user may raise both
  const notes = packNotes(packStoreIn(path.dirname(catalog)))
  const there = epoch ? notes.epoch() : null
  const url = pathToFileURL(catalog)
  // a cleanly closed catalog is read without the files that SQLite would create beside it; one with a log needs its log
  if (!existsSync(`${catalog}-wal`)) url.searchParams.set('immutable', '1')
  const db = new DatabaseSync(url, { readOnly: true })
  try {
    const ours = ['setting', 'tenant', 'tally'].every((table) => has(db, table))
    if (ours) {
      const row = db.prepare('SELECT value FROM setting WHERE name = ?').get(FORMAT_SETTING)
      checkFormat(row === undefined ? null : String(row['value']))
    }
    // only of a format that is known does the number of the schema say anything
    const schema = Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0)
    if (schema > MIGRATIONS.length) throw newer('schema', schema, MIGRATIONS.length)
    if (schema === 0) {
      const table = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 1").get()
      if (table !== undefined) throw foreign(`it has a table ${String(table['name'])} and no version`)
      return checkNew()
    }
    if (!ours) throw foreign('it lacks tables of one')
    if (db.prepare('SELECT 1 FROM tenant LIMIT 1').get() === undefined) checkNew()
    const packs = db.prepare('SELECT value FROM setting WHERE name = ?').get(PACKS_SETTING)?.['value']
    const marker = epoch && packs !== undefined ? notes.id() : null
    if (marker !== null && marker !== packs) throw strangePacks()
    if (there === null) return
    const known = db.prepare("SELECT rows FROM tally WHERE name = 'acknowledged'").get()?.['rows']
    refuseOlderEpoch(there, Number(known ?? 0))
  } finally {
    db.close()
  }
}
