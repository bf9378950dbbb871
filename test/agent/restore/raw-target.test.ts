// Raw targets on a real file system and on a loop device.
import { randomBytes } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { BlockDeviceTarget, makeRawFile } from '../../../agent/restore/raw-target.ts'
import { commitTarget } from '../../../agent/restore/target.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'
import { loopDevice, tinyFileSystem } from './devices.ts'

const MIB = 1024 * 1024

describe('a raw file', () => {
  test('is sparse, whole, for its owner only, and has its name only at the end', async () => {
    await using temp = await tempFolder()
    const final = temp.join('disk.raw')
    const head = randomBytes(65_536)
    const tail = randomBytes(1000)
    const size = 64 * MIB + 1000
    {
      await using target = await makeRawFile(final, size, { force: false })
      await target.write(0, head)
      await target.zero()
      await target.write(64 * MIB, tail)
      expect(await readdir(temp.path)).toEqual([expect.stringMatching(/^\.varve-restore-[0-9a-f]{16}$/u)])
      await commitTarget(target)
    }
    expect(await readdir(temp.path)).toEqual(['disk.raw'])
    const { size: found, blocks, mode } = await stat(final)
    expect(found).toBe(size)
    expect(blocks * 512).toBeLessThan(MIB)
    expect(mode & 0o777).toBe(0o600)
    const content = await readFile(final)
    expect(content.subarray(0, 65_536).equals(head)).toBe(true)
    expect(content.subarray(64 * MIB).equals(tail)).toBe(true)
  })

  test('leaves nothing behind when it is not committed', async () => {
    await using temp = await tempFolder()
    {
      await using target = await makeRawFile(temp.join('disk.raw'), MIB, { force: false })
      await target.write(0, randomBytes(5000))
    }
    expect(await readdir(temp.path)).toEqual([])
  })

  test('never replaces a file that appeared meanwhile, unless it was told to', async () => {
    await using temp = await tempFolder()
    const final = temp.join('disk.raw')
    {
      await using target = await makeRawFile(final, 10, { force: false })
      await writeFile(final, 'precious')
      expect(await codeOf(commitTarget(target))).toBe('TARGET_EXISTS')
    }
    expect(await readFile(final, 'utf8')).toBe('precious')
    expect(await readdir(temp.path)).toEqual(['disk.raw'])
    await using target = await makeRawFile(final, 10, { force: true })
    await target.write(0, Buffer.from('new'))
    expect(await readFile(final, 'utf8')).toBe('precious')
    await commitTarget(target)
    expect(await readFile(final, 'utf8')).toBe('new\0\0\0\0\0\0\0')
    expect(await readdir(temp.path)).toEqual(['disk.raw'])
  })

  test('says in a sentence what is wrong with its place', async () => {
    await using temp = await tempFolder()
    await writeFile(temp.join('file'), '')
    for (const place of [temp.join('no', 'such', 'disk.raw'), temp.join('file', 'disk.raw')]) {
      const error = await failureOf(makeRawFile(place, MIB, { force: false }))
      expect(error?.code).toBe('TARGET_INVALID')
      expect(error?.message).toContain(place)
    }
    // ext4 and the like take no file of that size, others do; the file made for it goes too
    const huge = await failureOf(
      (async () => {
        await using _target = await makeRawFile(temp.join('huge.raw'), 2 ** 52, { force: false })
      })(),
    )
    if (huge !== null) {
      expect(huge.code).toBe('TARGET_INVALID')
      expect(huge.message).toMatch(/does not allow a raw file of 4.0 PiB .*--format qcow2/u)
    }
    expect(await readdir(temp.path)).toEqual(['file'])
  })

  test('on a full file system ends with a sentence and without a trace', async (context) => {
    await using temp = await tempFolder()
    await using small = await tinyFileSystem(temp.join('small'), MIB)
    // a host that lets nobody mount has nothing to test here
    if (small === null) {
      context.skip('this process may not mount a file system')
      return
    }
    const write = async (): Promise<void> => {
      await using target = await makeRawFile(`${small.path}/disk.raw`, 8 * MIB, { force: false })
      for (let at = 0; at < 8; at++) await target.write(at * MIB, randomBytes(MIB))
      await commitTarget(target)
    }
    const error = await failureOf(write())
    expect(error?.code).toBe('TARGET_INVALID')
    expect(error?.message).toMatch(/^cannot write .*disk\.raw: .*no space left/u)
    expect(await readdir(small.path)).toEqual([])
  })
})

describe('a block device', () => {
  test('is written in place, zeroes too, when it is large enough and free', async (context) => {
    await using temp = await tempFolder()
    const file = temp.join('backing')
    await writeFile(file, randomBytes(4 * MIB))
    await using loop = await loopDevice(file)
    // a host that lets nobody make one has nothing to test here
    if (loop === null) {
      context.skip('this process may not make a loop device')
      return
    }
    const size = 3 * MIB + 512
    const disk = randomBytes(size).fill(0, MIB, 2 * MIB + 512)
    {
      await using target = await BlockDeviceTarget.open(loop.path, size)
      await target.write(0, disk.subarray(0, MIB))
      await target.zero(MIB, MIB + 512)
      await target.write(2 * MIB + 512, disk.subarray(2 * MIB + 512))
      await commitTarget(target)
      // held for itself while it is written
      expect(await codeOf(BlockDeviceTarget.open(loop.path, size))).toBe('TARGET_IN_USE')
    }
    expect((await readFile(loop.path)).subarray(0, size).equals(disk)).toBe(true)
    const small = await failureOf(BlockDeviceTarget.open(loop.path, 4 * MIB + 1))
    expect(small?.code).toBe('TARGET_INVALID')
    expect(small?.message).toContain('is smaller than')
  })

  test('gives the space of zeroes back where the device promises that they read as such', async (context) => {
    await using temp = await tempFolder()
    const file = temp.join('backing')
    await writeFile(file, randomBytes(16 * MIB))
    await using loop = await loopDevice(file)
    if (loop === null) {
      context.skip('this process may not make a loop device')
      return
    }
    const head = randomBytes(MIB)
    {
      await using target = await BlockDeviceTarget.open(loop.path, 16 * MIB)
      await target.write(0, head)
      await target.zero(MIB, 14 * MIB)
      await target.write(15 * MIB, head)
      await commitTarget(target)
    }
    expect((await readFile(loop.path)).equals(Buffer.concat([head, Buffer.alloc(14 * MIB), head]))).toBe(true)
    expect((await stat(file)).blocks * 512).toBeLessThan(4 * MIB)
  })

  test('that takes bytes and cannot keep them ends the restore soon, and never commits', async () => {
    // it takes every write and refuses to be synced
    await using target = await BlockDeviceTarget.open('/dev/null', 0)
    const bytes = new Uint8Array(16 * MIB)
    const failed = await eventually(async () => {
      try {
        await target.write(0, bytes)
        return null
      } catch (error) {
        return error
      }
    })
    expect(String(failed)).toMatch(/cannot write \/dev\/null: .*EINVAL/u)
    await expect(commitTarget(target)).rejects.toThrow(/EINVAL/u)
  })

  test('that cannot be opened is refused', async () => {
    await using temp = await tempFolder()
    expect(await codeOf(BlockDeviceTarget.open(temp.join('nothing'), 1))).toBe('TARGET_INVALID')
  })
})
