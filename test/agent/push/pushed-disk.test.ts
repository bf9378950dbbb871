// A disk as QEMU writes it: when its map is final, what breaks it, and that whoever writes never notices.
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { PushedDisk } from '../../../agent/push/pushed-disk.ts'
import { PART_BYTES, SpoolReader } from '../../../agent/push/spool.ts'
import { BLOCK_BYTES } from '../../../agent/push/written.ts'
import { tempFolder } from '../../support/temp.ts'

const MIB = 1024 * 1024

const bytes = (pattern: number, length: number): Buffer => Buffer.alloc(length, pattern)

test('a full disk is told as far as it is whole, in whatever order it is written', async () => {
  await using folder = await tempFolder()
  const size = 3 * MIB + 512
  const disk = new PushedDisk({ size, kind: 'full', folder: folder.path, index: 0 })
  disk.write(2 * MIB, bytes(3, MIB))
  disk.zero(MIB, MIB)
  expect(disk.map(0)).toEqual([])
  disk.write(0, bytes(1, MIB))
  expect(disk.map(0)).toEqual([
    ['data', MIB],
    ['zero', MIB],
    ['data', MIB],
  ])
  disk.write(3 * MIB, bytes(4, 512))
  disk.seal(0)
  expect([disk.broken, disk.sealed]).toEqual([null, true])
  expect(disk.map(2 * MIB)).toEqual([['data', MIB + 512]])
  await using reader = new SpoolReader({ folder: folder.path, index: 0 })
  const read = Buffer.alloc(MIB + 512)
  await reader.readInto(2 * MIB, read)
  expect(read.equals(Buffer.concat([bytes(3, MIB), bytes(4, 512)]))).toBe(true)
})

test('a chunk that is zeroes from somewhere on can be read whole at the end of a file', async () => {
  await using folder = await tempFolder()
  const disk = new PushedDisk({ size: 2 * PART_BYTES, kind: 'full', folder: folder.path, index: 0 })
  disk.write(PART_BYTES - MIB, bytes(1, BLOCK_BYTES))
  disk.zero(PART_BYTES - MIB + BLOCK_BYTES, MIB - BLOCK_BYTES)
  await using reader = new SpoolReader({ folder: folder.path, index: 0 })
  const read = bytes(2, MIB)
  await reader.readInto(PART_BYTES - MIB, read)
  expect(read.equals(Buffer.concat([bytes(1, BLOCK_BYTES), bytes(0, MIB - BLOCK_BYTES)]))).toBe(true)
})

test('an increment is told once QEMU has ended, and what was not written is kept', async () => {
  await using folder = await tempFolder()
  const disk = new PushedDisk({ size: MIB, kind: 'incremental', folder: folder.path, index: 0 })
  disk.write(BLOCK_BYTES, bytes(1, BLOCK_BYTES))
  expect(disk.map(0)).toEqual([])
  disk.seal(BLOCK_BYTES)
  expect(disk.map(0)).toEqual([
    ['keep', BLOCK_BYTES],
    ['data', BLOCK_BYTES],
    ['keep', MIB - 2 * BLOCK_BYTES],
  ])
})

test.each([
  ['a part of a block', (disk: PushedDisk) => disk.write(512, bytes(1, 512)), /not of whole blocks/],
  ['past the end', (disk: PushedDisk) => disk.zero(MIB, BLOCK_BYTES), /not of whole blocks/],
  [
    'what was uploaded',
    (disk: PushedDisk) => {
      disk.discard(MIB / 2)
      disk.write(0, bytes(1, BLOCK_BYTES))
    },
    /uploaded already/,
  ],
  ['too little', (disk: PushedDisk) => disk.seal(BLOCK_BYTES), /has written 0 bytes/],
  [
    'after the end',
    (disk: PushedDisk) => {
      disk.seal(0)
      disk.write(0, bytes(1, BLOCK_BYTES))
    },
    /after its job had ended/,
  ],
] as const)('%s breaks a disk, which takes everything from then on and tells nothing', async (_, spoil, why) => {
  await using folder = await tempFolder()
  const disk = new PushedDisk({ size: MIB, kind: 'incremental', folder: folder.path, index: 0 })
  spoil(disk)
  expect(disk.broken).toMatch(why)
  disk.write(0, bytes(2, MIB))
  disk.seal(0)
  expect(disk.map(0)).toEqual([])
  expect(await readdir(folder.path)).toEqual([])
})

test('a scratch space that cannot be written breaks the disk, and no write fails', async () => {
  await using folder = await tempFolder()
  const disk = new PushedDisk({ size: MIB, kind: 'full', folder: join(folder.path, 'gone'), index: 0 })
  disk.write(0, bytes(1, MIB))
  expect(disk.broken).toMatch(/could not be written to the scratch space/)
})

test('what cannot be removed stays, and the disk goes on', async () => {
  await using folder = await tempFolder()
  const disk = new PushedDisk({ size: 3 * PART_BYTES, kind: 'full', folder: folder.path, index: 0 })
  disk.write(0, bytes(1, BLOCK_BYTES))
  await rm(folder.join('0.0.push'))
  await mkdir(folder.join('0.0.push'))
  disk.discard(PART_BYTES)
  disk.write(PART_BYTES, bytes(1, BLOCK_BYTES))
  expect([disk.broken, await readdir(folder.path)]).toEqual([null, ['0.0.push', '0.1.push']])
})

test('what is durable is removed, a file at a time', async () => {
  await using folder = await tempFolder()
  const size = 3 * PART_BYTES
  const disk = new PushedDisk({ size, kind: 'full', folder: folder.path, index: 7 })
  for (let part = 0; part < 3; part++) disk.write(part * PART_BYTES, bytes(1, BLOCK_BYTES))
  disk.discard(PART_BYTES - 1)
  expect(await readdir(folder.path)).toHaveLength(3)
  disk.discard(2 * PART_BYTES)
  expect(await readdir(folder.path)).toEqual(['7.2.push'])
  disk.discard(size)
  expect(await readdir(folder.path)).toEqual([])
})
