// What the kernel says about block devices of this host, and ones that a test makes.
import { truncate, writeFile } from 'node:fs/promises'
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

test('a device that is not there has nothing but itself', async () => {
  expect(await relatedDevices('0:0')).toEqual({ own: new Set(['0:0']), below: new Set(), files: [] })
})
