// Restore points of machines with several disks equal the disks at their instant, byte for byte.
import { readFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { CLUSTER_BYTES, KIB, MIB, type ModelDisk, type Snapshot } from '../support/model-machine.ts'
import { expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

const CHUNK_BYTES = 64 * KIB

/** qcow2, raw and one on an iothread, the last with a size that is no whole number of chunks. */
const threeDisks = (dice: Dice): readonly ModelDisk[] => [
  { id: 'vda', format: 'qcow2', size: 16 * MIB, content: Buffer.concat([dice.bytes(6 * MIB), Buffer.alloc(10 * MIB)]) },
  { id: 'vdb', format: 'raw', size: 16 * MIB, content: Buffer.concat([Buffer.alloc(12 * MIB), dice.bytes(4 * MIB)]) },
  { id: 'vdc', format: 'qcow2', size: 5 * MIB + 1536, iothread: true },
]

test.concurrent(
  'a full and several increments of qcow2 and raw disks restore to what the guest had at each instant',
  async () => {
    const dice = new Dice(20)
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const machine = await host.addMachine('db1', threeDisks(dice))
    const before = await machine.objects()
    await host.start()
    const points = new Map<string, Snapshot>()
    for (let round = 0; round < 4; round++) {
      const { point, kind, reason, bytesRead } = await host.backup('db1')
      points.set(point, machine.snapshot())
      expect({ kind, reason }).toEqual(
        round === 0 ? { kind: 'full', reason: 'first' } : { kind: 'incremental', reason: 'bitmap' },
      )
      if (round > 0) expect(bytesRead).toBeLessThan(12 * MIB)
      await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(point), machine.disks))
      for (let count = 0; count < 12; count++) await machine.touch(dice)
    }
    for (const [point, model] of points) expectDisks(await stand.restore(point), model, point)
    const listed = await host.points('db1')
    expect(listed.map(({ id }) => id)).toEqual([...points.keys()].toReversed())
    expect(listed[0]?.disks).toMatchObject(threeDisks(dice).map(({ id, size }) => ({ name: id, size })))

    const [point, model] = [...points].at(-1)!
    for (const [disk, bytes] of model) {
      const file = stand.folder.join(`${disk}.restored`)
      await host.done('restore', point.slice(0, 8), '--disk', disk, '--to', file)
      expect((await readFile(file)).equals(bytes), disk).toBe(true)
    }
  },
)

test.concurrent('what is read for an increment is what was written since, in whole chunks', async () => {
  const dice = new Dice(21)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 32 * MIB, content: dice.bytes(32 * MIB) },
  ])
  await host.start()
  await host.backup('db1')
  // four chunks in four places: one byte's worth, one whole, one write over a border
  await machine.write('vda', 5 * MIB, dice.bytes(512))
  await machine.write('vda', 9 * MIB, dice.bytes(CHUNK_BYTES))
  await machine.write('vda', 13 * MIB - 512, dice.bytes(1024))
  const increment = await host.backup('db1')
  expect(increment).toMatchObject({ kind: 'incremental', bytesRead: 4 * CHUNK_BYTES })
  expect(increment.disks).toMatchObject([{ name: 'vda', changedBytes: 4 * CHUNK_BYTES }])
  expect(increment.bytesSent).toBeLessThan(5 * CHUNK_BYTES)
  expectDisks(await stand.restore(increment.point), machine.snapshot())
})

test.concurrent('zeroed and discarded ranges are read as zeroes, stored as nothing, and restored', async () => {
  const dice = new Dice(22)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const disks: ModelDisk[] = [
    { id: 'vda', format: 'qcow2', size: 8 * MIB, content: dice.bytes(8 * MIB) },
    { id: 'vdb', format: 'raw', size: 8 * MIB, content: dice.bytes(8 * MIB) },
  ]
  const machine = await host.addMachine('db1', disks)
  await host.start()
  await host.backup('db1')
  for (const { id } of disks) {
    await machine.zero(id, 0, MIB)
    await machine.zero(id, 2 * MIB, MIB, true)
    await machine.discard(id, 4 * MIB, MIB)
    // zeroes that the guest wrote as bytes
    await machine.write(id, 6 * MIB, Buffer.alloc(MIB))
    // a part of a chunk
    await machine.zero(id, 7 * MIB + 4096, 8192, true)
  }
  const increment = await host.backup('db1')
  expect(increment.bytesStored).toBeLessThan(2 * (CHUNK_BYTES + 8 * KIB))
  expect(increment.disks.map(({ changedBytes }) => changedBytes)).toEqual([
    4 * MIB + CHUNK_BYTES,
    4 * MIB + CHUNK_BYTES,
  ])
  expectDisks(await stand.restore(increment.point), machine.snapshot())
})

test.concurrent('an idle machine costs an increment that reads nothing', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 4 * MIB, content: new Dice(23).bytes(4 * MIB) },
    { id: 'vdb', format: 'raw', size: CLUSTER_BYTES },
  ])
  await host.start()
  const first = await host.backup('db1')
  const second = await host.backup('db1')
  expect(second).toMatchObject({ kind: 'incremental', bytesRead: 0, bytesStored: 0 })
  expectDisks(await stand.restore(first.point), machine.snapshot())
  expectDisks(await stand.restore(second.point), machine.snapshot())
})

test.concurrent(
  'all disks are of one instant, which is not before the point’s time, while the guest writes to them in turn',
  async () => {
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const machine = await host.addMachine('db1', [
      { id: 'vda', format: 'qcow2', size: MIB },
      { id: 'vdb', format: 'raw', size: MIB, iothread: true },
    ])
    await host.start()
    /** When each number was on both disks, in milliseconds since 1970. */
    const writtenMs: number[] = []
    let stopped = false
    const guest = (async () => {
      for (let number = 1; !stopped; number++) {
        const block = Buffer.alloc(512)
        block.writeUInt32LE(number)
        await machine.write('vda', 4096, block)
        await machine.write('vdb', 8192, block)
        writtenMs.push(Date.now())
      }
    })()
    const points: string[] = []
    for (let round = 0; round < 4; round++) points.push((await host.backup('db1')).point)
    stopped = true
    await guest
    for (const id of points) {
      const restored = await stand.restore(id)
      const first = restored.get('vda')!.readUInt32LE(4096)
      const second = restored.get('vdb')!.readUInt32LE(8192)
      expect([second, second + 1], 'of one instant').toContain(first)
      const { timeMs } = await stand.point(id)
      expect(second, 'what was written before').toBeGreaterThanOrEqual(writtenMs.filter((ms) => ms < timeMs).length)
    }
  },
)
