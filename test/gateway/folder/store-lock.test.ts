// The lock of a datastore: one holder across processes, gone with a process that is killed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { CatalogLock } from '../../../gateway/catalog/sqlite/catalog-lock.ts'
import { StoreLock } from '../../../gateway/folder/store-lock.ts'
import { makeForeignDatabase } from '../../support/catalog-damage.ts'
import { temporaryFolder } from '../datastore/fixture.ts'

const MODULE = path.resolve(import.meta.dirname, '../../../gateway/folder/store-lock.ts')

test('another process that holds it keeps us out until it is killed', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'lock.db')
  const program = `
    const { StoreLock } = await import(${JSON.stringify(MODULE)})
    globalThis.lock = new StoreLock(${JSON.stringify(file)})
    console.log('held')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
    expect(() => new StoreLock(file)).toThrow(expect.objectContaining({ code: 'STORE_LOCKED' }))
  } finally {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  new StoreLock(file)[Symbol.dispose]()
})

test('a foreign file in its place is named, with the way out, and left as it is', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'lock.db')
  const foreign = { code: 'CONFIG_INVALID', message: expect.stringContaining(`${file} is not Varve's`) as string }
  await writeFile(file, 'mine')
  expect(() => new StoreLock(file)).toThrow(expect.objectContaining(foreign))
  expect(await readFile(file, 'utf8')).toBe('mine')
  await rm(file)
  await mkdir(file)
  expect(() => new StoreLock(file)).toThrow(expect.objectContaining(foreign))
  await rmdir(file)
  makeForeignDatabase(file)
  expect(() => new StoreLock(file)).toThrow(expect.objectContaining(foreign))
  expect(() => CatalogLock.share(folder.path)[Symbol.dispose]()).not.toThrow()
  await writeFile(path.join(folder.path, 'catalog.lock'), 'mine')
  expect(() => CatalogLock.share(folder.path)).toThrow(/catalog\.lock is not Varve's/u)
})

test('is free again after it was given back', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'lock.db')
  for (let round = 0; round < 3; round++) {
    const lock = new StoreLock(file)
    expect(() => new StoreLock(file)).toThrow(expect.objectContaining({ code: 'STORE_LOCKED' }))
    lock[Symbol.dispose]()
  }
})
