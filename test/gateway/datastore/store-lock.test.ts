// The lock of a datastore: one holder across processes, gone with a process that is killed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { expect, test } from 'vitest'
import { StoreLock } from '../../../gateway/datastore/store-lock.ts'
import { temporaryFolder } from './fixture.ts'

const MODULE = path.resolve(import.meta.dirname, '../../../gateway/datastore/store-lock.ts')

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

test('is free again after it was given back', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'lock.db')
  for (let round = 0; round < 3; round++) {
    const lock = new StoreLock(file)
    expect(() => new StoreLock(file)).toThrow(expect.objectContaining({ code: 'STORE_LOCKED' }))
    lock[Symbol.dispose]()
  }
})
