// The bundle of the console: what it is made of, that it is put in place whole, and that no code in it is made of text.
import { execFileSync } from 'node:child_process'
import { readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { brotliDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildConsole, PIECES_NAME } from '../../../gateway/console/build.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

/** What the first view may weigh, compressed, in bytes. */
const FIRST_BYTES_MAX = 150 * 1024

const ROOT = path.resolve(import.meta.dirname, '../../..')

let built: TempFolder
let folder: string

beforeAll(async () => {
  built = await tempFolder()
  folder = await buildConsole({ folder: built.join('dist') })
})
afterAll(() => built?.[Symbol.asyncDispose]())

test('the page names its pieces by relative addresses, each has its compressed form, and all are small', async () => {
  const page = await readFile(path.join(folder, 'page.html'), 'utf8')
  const named = [...page.matchAll(/(?:src|href)="([^"]+)"/gu)].map(([, address]) => address!)
  const loaded = named.filter((address) => !address.startsWith('data:'))
  expect(loaded.length).toBeGreaterThanOrEqual(2)
  for (const address of loaded) expect(address).toMatch(/^console\/[\w-]+-[0-9A-Z]{8}\.(?:js|css)$/u)
  // views are entries of their own, and none of them is the page's
  expect(loaded.filter((address) => /\/main-/u.test(address))).toHaveLength(2)
  expect(page).not.toMatch(/STYLE|SCRIPT|<script(?![^>]*src=)|<style|\son\w+=|\sstyle=/u)
  let firstBytes = 0
  for (const name of await readdir(path.join(folder, PIECES_NAME))) {
    if (name.endsWith('.br')) continue
    const file = path.join(folder, PIECES_NAME, name)
    const compressed = await readFile(`${file}.br`)
    expect(brotliDecompressSync(compressed)).toEqual(await readFile(file))
    if (loaded.includes(`${PIECES_NAME}/${name}`)) firstBytes += compressed.length
  }
  expect(firstBytes).toBeLessThan(FIRST_BYTES_MAX)
})

test('no code is made of text, which the policy of the page forbids', async () => {
  const scripts = (await readdir(path.join(folder, PIECES_NAME))).filter((name) => name.endsWith('.js'))
  for (const name of scripts) {
    const text = await readFile(path.join(folder, PIECES_NAME, name), 'utf8')
    expect(text).not.toMatch(/new Function\b|\beval\(|require\("node:/u)
  }
})

test('a build that fails leaves the last one as it is and nothing beside it; one that works replaces it', async () => {
  await using temp = await tempFolder()
  const target = temp.join('dist')
  const entry = temp.join('entry.ts')
  const madeOf = async (text: string): Promise<string[]> => {
    await writeFile(entry, text)
    await buildConsole({ folder: target, entry })
    return await readdir(path.join(target, PIECES_NAME))
  }
  const first = await madeOf('console.info("first")')
  await expect(madeOf('console.info("broken"')).rejects.toThrow('entry.ts')
  expect(await readdir(path.join(target, PIECES_NAME))).toEqual(first)
  const second = await madeOf('console.info("second")')
  expect(second).toHaveLength(first.length)
  expect(second).not.toEqual(first)
  expect((await readdir(temp.path)).sort()).toEqual(['dist', 'entry.ts'])
})

test('the set-up commands build it where a source is newer, once, and never fail because of it', async () => {
  await using temp = await tempFolder()
  // a copy of what the commands look at; its packages are the repository's
  for (const name of ['protocol', 'gateway/console', 'test/setup.sh', 'package-lock.json'])
    execFileSync('sh', ['-c', `mkdir -p "$(dirname "$2/$1")" && cp -r "$1" "$2/$1"`, 'sh', name, temp.path], {
      cwd: ROOT,
    })
  execFileSync('ln', ['-s', path.join(ROOT, 'node_modules'), temp.join('node_modules')])
  const dist = temp.join('gateway/console/dist')
  await utimes(temp.join('package-lock.json'), 0, 0)
  execFileSync('rm', ['-rf', dist])
  const run = (): string =>
    execFileSync('sh', ['-c', 'sh test/setup.sh -- echo ran 2>&1'], { cwd: temp.path, encoding: 'utf8' })
  const inode = async (): Promise<number> => (await stat(dist)).ino
  expect(run()).toBe('ran\n')
  const first = await inode()
  expect(run()).toBe('ran\n')
  expect(await inode()).toBe(first)
  await writeFile(temp.join('protocol/later.ts'), '// a new file\n')
  expect(run()).toBe('ran\n')
  const second = await inode()
  expect(second).not.toBe(first)
  await writeFile(temp.join('gateway/console/main.tsx'), 'this is no program')
  expect(run()).toMatch(/main\.tsx[\s\S]*could not be built[\s\S]*\nran\n$/u)
  expect(await inode()).toBe(second)
})
