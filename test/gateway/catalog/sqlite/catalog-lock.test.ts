// The lock between commands and a rebuild: commands share it, a rebuild has it alone and waits for them, and it goes with a
// process that is killed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { expect, test } from 'vitest'
import { CatalogLock } from '../../../../gateway/catalog/sqlite/catalog-lock.ts'
import { temporaryFolder } from '../../datastore/fixture.ts'

const MODULE = path.resolve(import.meta.dirname, '../../../../gateway/catalog/sqlite/catalog-lock.ts')

/** A process that holds the lock, and lets go of it so many milliseconds after its first line. */
const holder = (folder: string, how: 'share' | 'take', ms: number): ReturnType<typeof spawn> =>
  spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { CatalogLock } = await import(${JSON.stringify(MODULE)})
      const lock = CatalogLock.${how}(${JSON.stringify(folder)})
      console.log('held')
      setTimeout(() => lock[Symbol.dispose](), ${ms})`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )

test('commands share it, and none gets it while a rebuild has it', async () => {
  await using folder = await temporaryFolder()
  {
    using _one = CatalogLock.share(folder.path)
    using _two = CatalogLock.share(folder.path)
  }
  {
    using _alone = CatalogLock.take(folder.path)
    expect(() => CatalogLock.share(folder.path)).toThrow(
      expect.objectContaining({ code: 'STORE_LOCKED', message: expect.stringContaining('repair --rebuild') as string }),
    )
  }
  CatalogLock.share(folder.path)[Symbol.dispose]()
})

test('a rebuild waits for a command of another process', async () => {
  await using folder = await temporaryFolder()
  const child = holder(folder.path, 'share', 300)
  const exited = once(child, 'exit')
  await once(child.stdout!, 'data')
  CatalogLock.take(folder.path)[Symbol.dispose]()
  await exited
})

test('another process that holds it alone keeps us out until it is killed', async () => {
  await using folder = await temporaryFolder()
  const child = holder(folder.path, 'take', 60_000)
  const exited = once(child, 'exit')
  try {
    await once(child.stdout!, 'data')
    expect(() => CatalogLock.share(folder.path)).toThrow(expect.objectContaining({ code: 'STORE_LOCKED' }))
  } finally {
    child.kill('SIGKILL')
    await exited
  }
  CatalogLock.share(folder.path)[Symbol.dispose]()
})

test('a folder that is not there is an error of its own', () => {
  expect(() => CatalogLock.share('/nowhere/at/all')).toThrow('unable to open')
})
