// One agent per state folder, between real processes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, symlink } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { isStateLocked, lockState } from '../../agent/state-lock.ts'
import { eventually, tempFolder } from '../support/temp.ts'
import { codeOf } from './restore/code-of.ts'

const program = (folder: string): string =>
  `const { lockState } = await import(${JSON.stringify(new URL('../../agent/state-lock.ts', import.meta.url).href)})
   await lockState(${JSON.stringify(folder)})
   console.log('locked')
   setInterval(() => undefined, 1000)`

test('a second agent is refused, by whatever path it comes', async () => {
  await using temp = await tempFolder()
  await symlink(temp.path, `${temp.path}-link`)
  try {
    expect(await isStateLocked(temp.path)).toBe(false)
    expect(await isStateLocked(temp.join('none'))).toBe(false)
    const lock = await lockState(temp.path)
    expect(await isStateLocked(`${temp.path}-link`)).toBe(true)
    expect(await codeOf(lockState(temp.path))).toBe('STATE_LOCKED')
    expect(await codeOf(lockState(`${temp.path}-link/.`))).toBe('STATE_LOCKED')
    await lock[Symbol.asyncDispose]()
    await using again = await lockState(`${temp.path}-link`)
    expect(again).toBeDefined()
  } finally {
    await rm(`${temp.path}-link`)
  }
})

test('another folder is another lock', async () => {
  await using one = await tempFolder()
  await using other = await tempFolder()
  await using first = await lockState(one.path)
  await using second = await lockState(other.path)
  expect(first).not.toBe(second)
})

test('a killed agent leaves no lock', async () => {
  await using temp = await tempFolder()
  const child = spawn(process.execPath, ['--input-type=module', '-e', program(temp.path)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  await once(child.stdout, 'data')
  expect(await codeOf(lockState(temp.path))).toBe('STATE_LOCKED')
  child.kill('SIGKILL')
  await exited
  await using lock = await eventually(() => lockState(temp.path).catch(() => null))
  expect(lock).toBeDefined()
})
