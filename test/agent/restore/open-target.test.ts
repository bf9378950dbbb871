// Which target a path gets, and what is refused.
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openTarget } from '../../../agent/restore/open-target.ts'
import { Qcow2Target } from '../../../agent/restore/qcow2-target.ts'
import { RawFileTarget } from '../../../agent/restore/raw-target.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from './code-of.ts'
import { loopDevice } from './devices.ts'

const raw = { size: 8, format: 'raw', force: false } as const

test('opens a new file of either format', async () => {
  await using temp = await tempFolder()
  await using one = (await openTarget({ ...raw, path: temp.join('a') })).target
  expect(one).toBeInstanceOf(RawFileTarget)
  await using two = (await openTarget({ ...raw, path: temp.join('b'), size: 65_536, format: 'qcow2' })).target
  expect(two).toBeInstanceOf(Qcow2Target)
})

test('refuses what exists, before anything is transferred', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('file'), 'precious')
  await mkdir(temp.join('folder'))
  await symlink(temp.join('nowhere'), temp.join('dangling'))
  const before = await readdir(temp.path)
  expect(await codeOf(openTarget({ ...raw, path: temp.join('file') }))).toBe('TARGET_EXISTS')
  expect(await codeOf(openTarget({ ...raw, path: temp.join('folder'), force: true }))).toBe('TARGET_INVALID')
  expect(await codeOf(openTarget({ ...raw, path: temp.join('dangling') }))).toBe('TARGET_INVALID')
  expect(await codeOf(openTarget({ ...raw, path: temp.join('file', 'x') }))).toBe('TARGET_INVALID')
  expect(await codeOf(openTarget({ ...raw, path: '/dev/null', force: true }))).toBe('TARGET_INVALID')
  expect(await readdir(temp.path)).toEqual(before)
})

test('a dash is no file by accident', async () => {
  await using temp = await tempFolder()
  expect(await codeOf(openTarget({ ...raw, path: '-' }))).toBe('TARGET_INVALID')
  expect(
    await codeOf(openTarget({ ...raw, path: temp.join('-') }).then(({ target }) => target[Symbol.asyncDispose]())),
  ).toBe('none')
})

test('replaces what a link names, and keeps the link', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('store'))
  await writeFile(temp.join('store', 'disk'), 'old')
  await symlink(temp.join('store', 'disk'), temp.join('link'))
  const { target } = await openTarget({ ...raw, path: temp.join('link'), force: true })
  await using _open = target
  await target.write(0, Buffer.from('restored'))
  await target.commit()
  expect(await readFile(temp.join('store', 'disk'), 'utf8')).toBe('restored')
  expect(await readFile(temp.join('link'), 'utf8')).toBe('restored')
})

test('writes a block device only when told to, and only raw', async (context) => {
  await using temp = await tempFolder()
  await writeFile(temp.join('backing'), Buffer.alloc(1024 * 1024, 1))
  await using loop = await loopDevice(temp.join('backing'))
  // a host that lets nobody make one has nothing to test here
  if (loop === null) {
    context.skip('this process may not make a loop device')
    return
  }
  expect(await codeOf(openTarget({ ...raw, path: loop.path }))).toBe('TARGET_EXISTS')
  expect(await codeOf(openTarget({ ...raw, path: loop.path, format: 'qcow2', force: true }))).toBe('TARGET_INVALID')
  const { target } = await openTarget({ ...raw, path: loop.path, force: true })
  await using _open = target
  await target.write(0, Buffer.from('restored'))
  await target.commit()
  expect((await readFile(loop.path)).subarray(0, 9).toString('latin1')).toBe('restored\u0001')
})
