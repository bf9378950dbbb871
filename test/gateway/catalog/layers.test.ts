// The catalog is a port: who uses it knows its words, not its engine. Finer than the table of folders: who chooses an engine is named.
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

/** Files of ours that a file imports. */
const importsOf = (file: string): string[] =>
  [...textOf(file).matchAll(/from '(\.[^'\n]+)'/gu)].map(([, name]) => path.join(path.dirname(file), name!))

const sources = files('gateway').filter((file) => !file.startsWith(ENGINE))

test('only those who choose an engine import it', () => {
  const others = sources.filter((file) => !CHOOSERS.some((chooser) => file.startsWith(chooser)))
  const broken = others.filter((file) => importsOf(file).some((name) => name.startsWith(ENGINE)))
  expect(broken).toEqual([])
})

test('SQL stands in the engine alone', () => {
  const sql = /\b(?:SELECT|INSERT (?:OR \w+ )?INTO|DELETE FROM|UPDATE \w+ SET)\s/u
  const elsewhere = sources.filter((file) => sql.test(textOf(file)) && !file.startsWith('gateway/maintenance/rebuild'))
  expect(elsewhere).toEqual([])
})
