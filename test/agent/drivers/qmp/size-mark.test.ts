// Size marks: their arithmetic as properties, and on a real QEMU whatever makes a disk smaller for a while.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { lastBitOffset, sizeMarkGranularity } from '../../../../agent/drivers/qmp/size-mark.ts'
import { listNodes, type BitmapState } from '../../../../agent/qmp/disks.ts'
import { DISK_BYTES_MAX } from '../../../../protocol/chunk.ts'
import { AGENT_ID, asBase, MIB, startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
import { sizeMarkName } from '../../../../agent/drivers/checkpoint-names.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB = 1024
const SIZE = 4 * MIB
const BIT = 64 * KIB

describe('arithmetic', () => {
  const sizes = fc.integer({ min: 1, max: DISK_BYTES_MAX / 512 }).map((sectors) => sectors * 512)

  test('a mark is as fine as it may be, and never has too many bits', () => {
    fc.assert(
      fc.property(sizes, (size) => {
        const granularity = sizeMarkGranularity(size)
        expect(Number.isInteger(Math.log2(granularity))).toBe(true)
        expect(granularity).toBeGreaterThanOrEqual(BIT)
        expect(Math.ceil(size / granularity)).toBeLessThanOrEqual(2 ** 22)
        if (granularity > BIT) expect(size / (granularity / 2)).toBeGreaterThan(2 ** 22)
      }),
    )
    expect(sizeMarkGranularity(512)).toBe(BIT)
    expect(sizeMarkGranularity(2 ** 38)).toBe(BIT)
    expect(sizeMarkGranularity(2 ** 38 + 512)).toBe(2 * BIT)
  })

  test('the last bit begins within the disk, on a bit, and reaches its end', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 16, max: 26 }), (size, power) => {
        const granularity = 2 ** power
        const offset = lastBitOffset(size, granularity)
        expect(offset % granularity).toBe(0)
        expect(offset).toBeGreaterThanOrEqual(0)
        expect(offset).toBeLessThan(size)
        expect(offset + granularity).toBeGreaterThanOrEqual(size)
      }),
    )
    expect(lastBitOffset(SIZE, BIT)).toBe(SIZE - BIT)
    expect(lastBitOffset(SIZE + 512, BIT)).toBe(SIZE)
    expect(lastBitOffset(512, BIT)).toBe(0)
  })
})

/** The mark of a lease's disk as QEMU has it. */
const markOf = async ({ machine }: LeaseBench, lease: Lease, index: number): Promise<BitmapState | undefined> => {
  const name = sizeMarkName(AGENT_ID, lease.id, index)
  const nodes = await listNodes(machine.control)
  return nodes.flatMap(({ bitmaps }) => bitmaps).find((bitmap) => bitmap.name === name)
}

const resize = (bench: LeaseBench, disk: string, size: number): Promise<unknown> =>
  bench.machine.control.execute('block_resize', { 'node-name': disk, size })

const backUp = async (bench: LeaseBench, base: Lease | null = null): Promise<Lease> => {
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request({ base: base === null ? null : asBase(base) }))
  await lease.end('committed')
  return lease
}

const reasons = ({ disks }: Lease): string[] => disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

const INCREMENTAL = ['vda incremental bitmap', 'vdb incremental bitmap']

test('a mark has its last bit and no other, records nothing, and goes from one checkpoint to the next', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
  const first = await backUp(bench)
  for (const index of [0, 1])
    expect(await markOf(bench, first, index)).toMatchObject({
      count: BIT,
      granularity: BIT,
      recording: false,
      persistent: index === 0,
    })
  for (const disk of ['vda', 'vdb']) {
    await bench.write(disk, 0x11, 0, MIB)
    await bench.write(disk, 0x22, SIZE - BIT, BIT)
  }
  for (const index of [0, 1]) expect(await markOf(bench, first, index)).toMatchObject({ count: BIT })
  const second = await backUp(bench, first)
  expect(reasons(second)).toEqual(INCREMENTAL)
  expect(await markOf(bench, first, 0)).toBeUndefined()
  for (const index of [0, 1]) expect(await markOf(bench, second, index)).toMatchObject({ count: BIT })
  expect(second.disks.map(({ compareFrom }) => compareFrom)).toEqual([SIZE - BIT, SIZE - BIT])
})

test.each([
  ['to half', SIZE / 2],
  ['to where the last bit begins', SIZE - BIT],
  ['to one sector', 512],
])(
  'a disk that was shrunk %s and made larger again has lost its mark for good, and is read in full',
  async (_, small) => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
    const first = await backUp(bench)
    for (const disk of ['vda', 'vdb']) {
      await resize(bench, disk, small)
      await resize(bench, disk, SIZE)
      // nothing that the guest does at the end brings the bit back
      await bench.write(disk, 0x33, SIZE - BIT, BIT)
      await bench.zero(disk, SIZE - BIT, BIT)
    }
    for (const index of [0, 1]) expect(await markOf(bench, first, index)).toMatchObject({ count: 0 })
    const second = await backUp(bench, first)
    expect(reasons(second)).toEqual(['vda full size-changed', 'vdb full size-changed'])
    // a full read makes a new one
    for (const index of [0, 1]) expect(await markOf(bench, second, index)).toMatchObject({ count: BIT })
    expect(reasons(await backUp(bench, second))).toEqual(INCREMENTAL)
  },
)

test('what was cut off behind the beginning of the last bit is for a comparison', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
  const first = await backUp(bench)
  for (const disk of ['vda', 'vdb']) {
    await resize(bench, disk, SIZE - BIT + 512)
    await resize(bench, disk, SIZE)
  }
  const second = await backUp(bench, first)
  expect(reasons(second)).toEqual(INCREMENTAL)
  for (const { compareFrom } of second.disks) expect(compareFrom).toBeLessThanOrEqual(SIZE - BIT + 512)
})

test('a disk that is larger now is read in full; one that was larger for a while has lost nothing', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
  const first = await backUp(bench)
  await resize(bench, 'vda', SIZE + MIB)
  await resize(bench, 'vdb', SIZE + MIB)
  await bench.machine.guestWrite('vdb', 0x55, SIZE - BIT, 2 * BIT)
  await resize(bench, 'vdb', SIZE)
  expect(reasons(await backUp(bench, first))).toEqual(['vda full size-changed', 'vdb incremental bitmap'])
})

describe('while QEMU is off', () => {
  test('a mark stays in a qcow2 image; of a raw one nothing is left', async () => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
    const first = await backUp(bench)
    await bench.machine.restart()
    expect(await markOf(bench, first, 0)).toMatchObject({ count: BIT, recording: false, inconsistent: false })
    expect(await markOf(bench, first, 1)).toBeUndefined()
    expect(reasons(await backUp(bench, first))).toEqual(['vda incremental bitmap', 'vdb full bitmap-missing'])
  })

  test('a disk that qemu-img makes smaller and larger again has lost it', async () => {
    await using folder = await tempFolder()
    const [disk] = threeDisks(folder.path)
    await using bench = await startBench(folder.path, [disk!])
    const first = await backUp(bench)
    await bench.write('vda', 0x44, 3 * MIB, MIB)
    await bench.machine.quit()
    const { file } = disk!
    await run('qemu-img', ['resize', '-q', '-f', 'qcow2', '--shrink', file, String(2 * MIB)])
    await run('qemu-img', ['resize', '-q', '-f', 'qcow2', file, String(SIZE)])
    await bench.machine.start()
    expect(await markOf(bench, first, 0)).toMatchObject({ count: 0 })
    expect(reasons(await backUp(bench, first))).toEqual(['vda full size-changed'])
  })

  test('after a crash it is worth nothing', async () => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
    const first = await backUp(bench)
    // stored once by a clean end, in use when QEMU dies
    await bench.machine.restart()
    await bench.machine.kill9()
    await bench.machine.start()
    expect(reasons(await backUp(bench, first))).toEqual(['vda full bitmap-inconsistent'])
  })
})
