// What the commonest command loads before it begins: every file costs about a millisecond, of which a small increment has few.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '../..')

/** Files that a command may load; there are about 120 of them. */
const FILES_MAX = 144

/** The files that loading these loads, by their paths in the repository. */
const loadedBy = (...files: readonly string[]): Set<string> => {
  const loaded = new Set<string>()
  const load = (file: string): void => {
    if (loaded.has(file)) return
    loaded.add(file)
    const text = readFileSync(path.join(root, file), 'utf8')
    for (const [, what = '', from = ''] of text.matchAll(
      /^(?:import|export) (?!type )([^'"=]*?) from '(\.[^']+)'/gmu,
    )) {
      const types = /^\{([^}]*)\}/u
        .exec(what)?.[1]
        ?.split(',')
        .map((name) => name.trim())
        .filter(Boolean)
      if (types?.every((name) => name.startsWith('type ')) !== true) load(path.join(path.dirname(file), from))
    }
  }
  files.forEach(load)
  return loaded
}

test('a backup command loads neither the daemon nor drivers, restores or libvirt’s protocol, and few files in all', () => {
  const loaded = loadedBy('agent/main.ts', 'agent/commands/backup.ts')
  expect(loaded).toContain('protocol/methods.ts')
  for (const file of loaded) expect(existsSync(path.join(root, file))).toBe(true)
  const unwanted =
    /^agent\/(?:daemon|image\/|nbd\/|libvirt\/rpc|restore\/restore|drivers\/\w+\/\w+-(?:driver|lease)\.ts)/u
  expect([...loaded].filter((file) => unwanted.test(file))).toEqual([])
  expect(loaded.size).toBeLessThan(FILES_MAX)
})
