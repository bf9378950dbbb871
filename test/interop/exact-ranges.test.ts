// Zeroes and discards, machines that do nothing, and disks that are written in turn: restored byte for byte.
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { CLUSTER_BYTES, KIB, MIB, type ModelDisk } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

const CHUNK_BYTES = 64 * KIB

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
