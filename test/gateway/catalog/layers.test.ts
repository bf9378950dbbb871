// The catalog is a port: who uses it knows its words, not its engine. Finer than the table of folders: who chooses an
// engine is named.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const ENGINE = 'gateway/catalog/sqlite/'

/** Sources that open an engine or choose one; a rebuild takes an old catalog apart and builds the new one below its words. */
const CHOOSERS = [
  'gateway/datastore/data-folder.ts',
  'gateway/datastore/datastore.ts',
  'gateway/maintenance/folder-check.ts',
  'gateway/maintenance/survey-worker.ts',
  'gateway/maintenance/rebuild',
]

const files = (folder: string): string[] =>
  readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => path.join(folder, name))

const textOf = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

/** Tests that know how SQLite has the catalog: the engine's own, what damages a catalog for all the others, and a made past. */
const KNOWING = ['test/gateway/catalog/sqlite/', 'test/support/catalog-damage.ts', 'test/gateway/console/made']

/** Tests of what SQLite's own errors become, in a database that is no catalog, and of a reader beside the gateway. */
const OTHER_DATABASES = ['test/gateway/common/store-error.test.ts', 'test/gateway/datastore/ballast-keeper.test.ts']

/** Files of ours that a file imports. */
const importsOf = (file: string): string[] =>
  [...textOf(file).matchAll(/from '(\.[^'\n]+)'/gu)].map(([, name]) => path.join(path.dirname(file), name!))

const SQL = /\b(?:SELECT|INSERT (?:OR \w+ )?INTO|DELETE FROM|UPDATE \w+ SET)\s/u

const sources = files('gateway').filter((file) => !file.startsWith(ENGINE))

test('only those who choose an engine import it', () => {
  const others = sources.filter((file) => !CHOOSERS.some((chooser) => file.startsWith(chooser)))
  const broken = others.filter((file) => importsOf(file).some((name) => name.startsWith(ENGINE)))
  expect(broken).toEqual([])
})

test('SQL stands in the engine alone', () => {
  const elsewhere = sources.filter((file) => SQL.test(textOf(file)) && !file.startsWith('gateway/maintenance/rebuild'))
  expect(elsewhere).toEqual([])
})

test('tests ask the catalog: those that know its tables are named', () => {
  const knows = (file: string): boolean =>
    [SQL, /from 'node:sqlite'$/mu].some((pattern) => pattern.test(textOf(file))) ||
    importsOf(file).includes(`${ENGINE}sql.ts`)
  const tests = files('test').filter((file) => !KNOWING.some((knowing) => file.startsWith(knowing)))
  expect(tests.filter(knows)).toEqual(OTHER_DATABASES)
})
