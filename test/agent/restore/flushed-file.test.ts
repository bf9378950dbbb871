// A file that is flushed while it is written. Method: real files, and a device that takes bytes and cannot keep them.
import { randomBytes } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { FlushedFile } from '../../../agent/restore/flushed-file.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'

const MIB = 1024 * 1024

test('holds what was written where it was written, over more bytes than are flushed at once', async () => {
  await using temp = await tempFolder()
  const block = randomBytes(MIB)
  {
    await using file = new FlushedFile(await open(temp.join('file'), 'wx+'), 'it')
    for (let at = 70; at >= 0; at--) await file.write(at * MIB, block)
    await file.seal()
  }
  const content = await readFile(temp.join('file'))
  expect(content.length).toBe(71 * MIB)
  for (let at = 0; at <= 70; at++) expect(content.subarray(at * MIB, (at + 1) * MIB).equals(block)).toBe(true)
})

test('a flush that failed ends the next write, and is what sealing says', async () => {
  // it takes every write and refuses to be synced
  await using file = new FlushedFile(await open('/dev/null', 'r+'), 'the device')
  const bytes = new Uint8Array(16 * MIB)
  const failed = await eventually(async () => {
    const error = await failureOf(file.write(0, bytes))
    return error
  })
  expect(failed?.message).toMatch(/^cannot write the device: .*EINVAL/u)
  expect(await codeOf(file.seal())).toBe('TARGET_INVALID')
})
