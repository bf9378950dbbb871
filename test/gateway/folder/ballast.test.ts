// The ballast: what it gives back, for which errors, on disks that are really full of bytes or of files.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import {
  Ballast,
  BALLAST_FILE_BYTES,
  BALLAST_FILES_MAX,
  ballastFileName,
  ballastFiles,
} from '../../../gateway/folder/ballast.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { packBytesOn } from '../../../gateway/packs/directory/pack-bytes.ts'
import { PACK_BYTES_MAX } from '../../../gateway/packs/format.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { tinyFileSystem } from '../../agent/restore/devices.ts'
import { Filler } from '../../support/full-disk.ts'
import { run } from '../../support/run.ts'
import { temporaryFolder } from '../datastore/fixture.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

/** A ballast of so many small files in a folder. */
const ballastIn = (folder: string, files: number, bytes = 1): Ballast => {
  const ballast = new Ballast(path.join(folder, 'ballast'))
  mkdirSync(ballast.folder)
  for (let number = 0; number < files; number++)
    writeFileSync(path.join(ballast.folder, ballastFileName(number)), new Uint8Array(bytes))
  return ballast
}

const failing = (code: string): Error => Object.assign(new Error(code), { code })

/** Work that fails so often, then gives 7. */
const failingTimes = (times: number, error: Error): (() => number) => {
  let left = times
  return () => {
    if (left-- > 0) throw error
    return 7
  }
}

test('its size follows the disk, and packs have room in it', () => {
  expect([16 * MIB, 32 * MIB, 256 * MIB, 1.25 * GIB, 1000 * GIB].map(ballastFiles)).toEqual([1, 2, 16, 80, 80])
  expect(ballastFiles(0)).toBe(1)
  expect(packBytesOn(1.25 * GIB)).toBe(PACK_BYTES_MAX)
  expect(packBytesOn(1000 * GIB)).toBe(PACK_BYTES_MAX)
  expect(packBytesOn(256 * MIB)).toBeLessThan(13 * MIB)
  expect(BALLAST_FILES_MAX * BALLAST_FILE_BYTES).toBeGreaterThan(PACK_BYTES_MAX)
})

test('work that meets a full disk is tried again with more given back each time; other errors cost nothing', async () => {
  await using folder = await temporaryFolder()
  const ballast = ballastIn(folder.path, 9)
  expect(ballast.draw(failingTimes(3, failing('ENOSPC')))).toBe(7)
  expect(ballast.names()).toHaveLength(9 - 1 - 2 - 4)
  expect(() => ballast.draw(failingTimes(1, failing('EIO')))).toThrow('EIO')
  expect(() => ballast.draw(failingTimes(1, new VarveError('STORE_FAILED', 'no')))).toThrow('no')
  expect(ballast.names()).toHaveLength(2)
  expect(ballast.draw(failingTimes(1, failing('EDQUOT')))).toBe(7)
  expect(ballast.draw(failingTimes(1, new VarveError('STORE_FULL', 'full')))).toBe(7)
  expect(ballast.names()).toEqual([])
  expect(() => ballast.draw(failingTimes(1, failing('ENOSPC')))).toThrow('ENOSPC')
})

test('work of known size is given just that, a few times', async () => {
  await using folder = await temporaryFolder()
  const ballast = ballastIn(folder.path, 12)
  const cause = failing('ENOSPC')
  const times = (count: number) => {
    const work = failingTimes(count, new VarveError('CONFIG_INVALID', 'cannot listen', { cause }))
    return async () => work()
  }
  expect(await ballast.drawing(2 * MIB, times(2))).toBe(7)
  expect(ballast.names()).toHaveLength(12 - 2 * 3)
  await expect(ballast.drawing(0, times(10))).rejects.toThrow('cannot listen')
  expect(ballast.names()).toHaveLength(3)
  await expect(ballast.drawing(0, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(ballast.names()).toHaveLength(3)
})

test('nothing but its own files is ever given, and without any it gives nothing', async () => {
  await using folder = await temporaryFolder()
  expect(new Ballast(path.join(folder.path, 'none')).giveBack(3)).toBe(0)
  writeFileSync(path.join(folder.path, 'file'), '')
  expect(new Ballast(path.join(folder.path, 'file')).giveBack(3)).toBe(0)
  const ballast = ballastIn(folder.path, 2)
  writeFileSync(path.join(ballast.folder, 'notes.txt'), 'of a person')
  expect(ballast.giveBack(5)).toBe(2)
  expect(readdirSync(ballast.folder)).toEqual(['notes.txt'])
})

test('packs on a file system of their own have a ballast of their own', async () => {
  await using folder = await temporaryFolder()
  const packs = path.join(folder.path, 'packs')
  const catalogs = Ballast.beside(path.join(folder.path, 'catalog.db')).folder
  expect(Ballast.below(packs).folder).toBe(catalogs)
  await mkdir(packs)
  expect(Ballast.below(packs).folder).toBe(catalogs)
  await run('mount', ['-t', 'tmpfs', 'tmpfs', packs])
  try {
    expect(Ballast.below(packs).folder).toBe(path.join(packs, '.varve-ballast'))
  } finally {
    await run('umount', [packs])
  }
})

test('on a disk without a byte it lends what it has, and nothing where that does not suffice', async () => {
  await using folder = await temporaryFolder()
  await using disk = (await tinyFileSystem(path.join(folder.path, 'disk'), 16 * MIB))!
  const ballast = ballastIn(disk.path, 4, BALLAST_FILE_BYTES)
  expect(await ballast.lend(5 * MIB)).toBe(true)
  expect(ballast.names()).toHaveLength(4)
  using filler = new Filler(disk.path)
  filler.fill()
  expect(await ballast.lend(4 * MIB)).toBe(false)
  expect(ballast.names()).toHaveLength(4)
  expect(await ballast.lend(2 * MIB)).toBe(true)
  expect(ballast.names()).toHaveLength(1)
  writeFileSync(path.join(disk.path, 'lent'), new Uint8Array(2 * MIB))
})

test('a database opens on a disk without a byte, and on one without an inode; without ballast that is STORE_FULL', async () => {
  await using folder = await temporaryFolder()
  for (const wholly of ['bytes', 'inodes'] as const) {
    await using disk = (await tinyFileSystem(path.join(folder.path, wholly), 16 * MIB))!
    if (wholly === 'inodes') await run('mount', ['-o', 'remount,nr_inodes=64', disk.path])
    const catalog = path.join(disk.path, 'catalog.db')
    openLocal(catalog)[Symbol.dispose]()
    ballastIn(disk.path, 4, BALLAST_FILE_BYTES)
    using filler = new Filler(disk.path)
    if (wholly === 'bytes') filler.fill()
    else fillInodes(disk.path)
    {
      using opened = openLocal(catalog)
      expect(await opened.tenants.list()).toEqual([])
    }
    if (wholly === 'bytes') filler.fill()
    else fillInodes(disk.path)
    Ballast.beside(catalog).giveBack(10)
    if (wholly === 'bytes') filler.fill()
    else fillInodes(disk.path)
    expect(() => openLocal(catalog)).toThrow(expect.objectContaining({ code: 'STORE_FULL' }))
  }
})

/** Makes empty files until no further one can be made. */
const fillInodes = (folder: string): void => {
  mkdirSync(path.join(folder, 'many'), { recursive: true })
  try {
    for (let index = 0; ; index++) writeFileSync(path.join(folder, 'many', String(index)), '')
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  }
}
