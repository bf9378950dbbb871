// What the kernel says about block devices of this host, and ones that a test makes.
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import {
  deviceNumber,
  kernelUses,
  loopFiles,
  numberOf,
  relatedDevices,
  swapPaths,
} from '../../../agent/restore/block-device.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'
import { loopDevice } from './devices.ts'

test('device numbers are those of the kernel', async () => {
  expect(numberOf(0x700n)).toBe('7:0')
  expect(numberOf(0xfe01n)).toBe('254:1')
  expect(numberOf(0x1_0000_0803n)).toBe('8:1048579')
  expect(await deviceNumber('/dev/null')).toBeNull()
  expect(await deviceNumber('/nowhere')).toBeNull()
})

test('a loop device with partitions: they are its own, and its file lies below', async (context) => {
  await using temp = await tempFolder()
  const file = temp.join('a file')
  await writeFile(file, '')
  await truncate(file, 16 * 1024 * 1024)
  await using loop = await loopDevice(file)
  // a host that lets nobody make one has nothing to test here
  if (loop === null) {
    context.skip('this process may not make a loop device')
    return
  }
  const number = (await deviceNumber(loop.path))!
  expect(await relatedDevices(number)).toEqual({ own: new Set([number]), below: new Set(), files: [file] })
  expect(await loopFiles()).toContainEqual({ device: loop.path, file })
  expect(await kernelUses(new Set([number]))).toEqual([])
  await run('mkswap', [loop.path])
  const on = await run('swapon', [loop.path]).then(
    () => true,
    () => false,
  )
  if (!on) return
  try {
    expect(await swapPaths()).toContain(loop.path)
    expect(await kernelUses(new Set([number]))).toEqual([`it is swap space (${loop.path})`])
  } finally {
    await run('swapoff', [loop.path])
  }
})

test('partitions, their disk, and what a mapped device lies on', async () => {
  await using temp = await tempFolder()
  const device = async (place: string, number: string, files: Readonly<Record<string, string>> = {}): Promise<void> => {
    const folder = temp.join('devices', place)
    await mkdir(folder, { recursive: true })
    for (const [name, text] of Object.entries({ dev: number, ...files })) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true })
      await writeFile(path.join(folder, name), `${text}\n`)
    }
    for (const link of [temp.join('dev', 'block', number), temp.join('class', 'block', path.basename(place))]) {
      await mkdir(path.dirname(link), { recursive: true })
      await symlink(folder, link)
    }
  }
  await device('sda', '8:0')
  await device('sda/sda1', '8:1', { partition: '1' })
  await device('sda/sda2', '8:2', { partition: '2' })
  await device('loop0', '7:0', { 'loop/backing_file': '/srv/a file' })
  await device('dm-0', '253:0', { 'slaves/sda2': '', 'slaves/loop0': '' })
  const related = (number: string): ReturnType<typeof relatedDevices> => relatedDevices(number, temp.path)
  expect(await related('8:0')).toEqual({ own: new Set(['8:0', '8:1', '8:2']), below: new Set(), files: [] })
  expect(await related('8:1')).toEqual({ own: new Set(['8:1']), below: new Set(['8:0']), files: [] })
  const { own, below, files } = await related('253:0')
  expect(own).toEqual(new Set(['253:0']))
  expect(below).toEqual(new Set(['8:2', '8:0', '7:0']))
  expect(files).toEqual(['/srv/a file'])
})

test('a device that is not there has nothing but itself', async () => {
  expect(await relatedDevices('0:0')).toEqual({ own: new Set(['0:0']), below: new Set(), files: [] })
})
