// Restore points of machines with several disks equal the disks at their instant, byte for byte; exact-ranges.test.ts has more
// of what a guest may do.
import { readFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, type ModelDisk, type Snapshot } from '../support/model-machine.ts'
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
