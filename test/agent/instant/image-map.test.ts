// The tables of images as QEMU writes them, beside what is known to be in them.
import { open, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mapImage } from '../../../agent/instant/image-map.ts'
import { run } from '../../support/run.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

const KIB = 1024
const MIB = 1024 * KIB

let folder: TempFolder

beforeAll(async () => {
  folder = await tempFolder()
  await run('qemu-img', ['create', '-q', '-f', 'raw', folder.join('base'), '20M'])
})

afterAll(async () => {
  await folder[Symbol.asyncDispose]()
})

const image = async (name: string, ...commands: readonly string[]): Promise<string> => {
  const file = folder.join(name)
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', folder.join('base'), file])
  for (const command of commands) await run('qemu-io', ['-f', 'qcow2', '-c', command, file])
  return file
}

test('data, zeroes and what is missing are counted by clusters', async () => {
  expect(await mapImage(await image('none'))).toEqual({ isBacked: true, missingBytes: 20 * MIB, dataBytes: 0 })
  const some = await image('some', 'write 0 1M', 'write -z 4M 1M', 'write 8M 512')
  expect(await mapImage(some)).toEqual({ isBacked: true, missingBytes: 18 * MIB - 64 * KIB, dataBytes: MIB + 64 * KIB })
  const all = await image('all', 'write -P 1 0 10M', 'write -z 10M 10M')
  await run('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', '', all])
  expect(await mapImage(all)).toEqual({ isBacked: false, missingBytes: 0, dataBytes: 10 * MIB })
})

test('a disk of several tables, and one that ends within a cluster', async () => {
  const file = folder.join('large')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(2 ** 40 + 512)])
  await run('qemu-io', ['-f', 'qcow2', '-c', `write ${2 ** 39} 64k`, '-c', `write ${2 ** 40} 512`, file])
  const found = await mapImage(file)
  expect(found.dataBytes).toBe(128 * KIB)
  expect(found.missingBytes).toBe(2 ** 40 - 64 * KIB)
})

test('compressed clusters count as data', async () => {
  await run('qemu-io', ['-f', 'raw', '-c', 'write -P 3 0 1M', folder.join('base')])
  const file = folder.join('compressed')
  await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', folder.join('base'), file])
  expect((await mapImage(file)).dataBytes).toBe(MIB)
})

test('what is no such image is refused', async () => {
  await writeFile(folder.join('text'), 'x'.repeat(4096))
  await writeFile(folder.join('empty'), '')
  for (const name of ['text', 'empty']) await expect(mapImage(folder.join(name))).rejects.toThrow('is not the image')
  const old = folder.join('old')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', old, '1M'])
  await expect(mapImage(old)).rejects.toThrow('is not the image')
  const extended = folder.join('extended')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on,cluster_size=128k', extended, '1M'])
  await expect(mapImage(extended)).rejects.toThrow('is not the image')
})

test('a header whose numbers are impossible is refused', async () => {
  for (const [offset, value] of [
    [20, 63],
    [36, 0xff_ff_ff_ff],
    [36, 0],
    [24, 0x7f_ff_ff_ff],
  ] as const) {
    const file = await image(`odd-${offset}-${value}`)
    {
      await using handle = await open(file, 'r+')
      const number = Buffer.alloc(4)
      number.writeUInt32BE(value)
      await handle.write(number, 0, 4, offset)
    }
    await expect(mapImage(file)).rejects.toThrow('is not the image')
  }
})
