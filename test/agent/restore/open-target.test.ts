// Which target a path gets, and what is refused.
import type { Stats } from 'node:fs'
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openTarget } from '../../../agent/restore/open-target.ts'
import { BlockDeviceTarget } from '../../../agent/restore/raw-target.ts'
import { commitTarget } from '../../../agent/restore/target.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from './code-of.ts'
import { loopDevice } from './devices.ts'

const raw = { size: 8, format: 'raw', force: false } as const

test('opens a new file of either format', async () => {
  await using temp = await tempFolder()
  for (const [format, head] of [
    ['raw', '\0\0\0'],
    ['qcow2', 'QFI'],
  ] as const) {
    const path = temp.join(format)
    await using target = (await openTarget({ ...raw, path, size: 65_536, format })).target
    await commitTarget(target)
    expect((await readFile(path)).toString('latin1', 0, 3)).toBe(head)
  }
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
  await commitTarget(target)
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
  const was = await stat(loop.path)
  const other = { path: loop.path, there: Object.assign(await stat(loop.path), { rdev: was.rdev + 1 }) }
  expect(await codeOf(openTarget({ ...raw, path: loop.path, force: true, place: other }))).toBe('RESTORE_FORBIDDEN')
  expect(await codeOf(BlockDeviceTarget.open(loop.path, 8, { rdev: was.rdev + 1 }))).toBe('RESTORE_FORBIDDEN')
  const { target } = await openTarget({ ...raw, path: loop.path, force: true })
  await using _open = target
  await target.write(0, Buffer.from('restored'))
  await commitTarget(target)
  expect((await readFile(loop.path)).subarray(0, 9).toString('latin1')).toBe('restored\u0001')
})

test('a path that ends elsewhere than it did when it was allowed is refused, before anything is opened there', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('there'))
  await writeFile(temp.join('there', 'disk'), 'precious')
  await symlink(temp.join('there'), temp.join('folder'))
  await symlink(temp.join('there', 'disk'), temp.join('disk'))
  const opening = async (path: string, there: Stats | null = null) => {
    await using _target = (await openTarget({ ...raw, path, force: true, place: { path, there } })).target
  }
  expect(await codeOf(opening(temp.join('folder', 'new')))).toBe('RESTORE_FORBIDDEN')
  expect(await codeOf(opening(temp.join('disk')))).toBe('RESTORE_FORBIDDEN')
  expect(await codeOf(opening(temp.join('there', 'new')))).toBe('none')
  // the same name, and no device any more
  expect(await codeOf(opening(temp.join('there', 'disk'), await stat('/dev/null')))).toBe('none')
  const device = Object.assign(await stat('/dev/null'), { isBlockDevice: () => true })
  expect(await codeOf(opening(temp.join('there', 'disk'), device))).toBe('RESTORE_FORBIDDEN')
  expect(await readdir(temp.join('there'))).toEqual(['disk'])
})
