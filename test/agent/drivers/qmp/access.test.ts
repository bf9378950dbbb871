// Disks that are read through snapshot access: what was read can be discarded, and a full scratch space never hurts the guest.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Lease, LeasedDisk } from '../../../../agent/drivers/driver.ts'
import { lossOf } from '../../../../agent/drivers/loss.ts'
import { discardUnasked } from '../../../../agent/image/discard-unasked.ts'
import { NbdClient } from '../../../../agent/nbd/client.ts'
import { Discards } from '../../../../agent/nbd/discards.ts'
import type { DiskExtent } from '../../../../agent/nbd/extents.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { asBase, MIB, startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const open = ({ socketPath, exportName }: LeasedDisk): Promise<NbdClient> =>
  NbdClient.connect({ socketPath, exportName, contexts: [] })

const read = async (disk: LeasedDisk, offset: number, length: number): Promise<Buffer> => {
  await using client = await open(disk)
  const bytes = Buffer.alloc(length)
  await client.readInto(offset, bytes)
  return bytes
}

/** What the scratch file of a disk takes. */
const taken = async (bench: LeaseBench, { id }: Lease, index: number): Promise<number> =>
  (await stat(path.join(bench.stateFolder, 'scratch', id, `${index}.raw`))).blocks * 512

/** All of a disk. */
async function* whole(length: number): AsyncGenerator<DiskExtent> {
  yield { offset: 0, length, kind: 'data' }
}

const refused = { code: 'NBD_ERROR', details: expect.objectContaining({ errno: 'EINVAL' }) }

test('what was discarded frees its scratch space, is copied no more, and only that cannot be read', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  bench.fleecing = 'on'
  await using agent = await bench.agent()
  for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x11, 0, 4 * MIB)
  const atInstant = bench.snapshot()
  const lease = await agent.driver.begin(bench.request())
  for (const [index, disk] of lease.disks.entries()) {
    expect(disk.discards).toBe(true)
    await bench.write(disk.name, 0x22, MIB, MIB)
    expect(await taken(bench, lease, index)).toBeGreaterThanOrEqual(MIB)
    await using client = await open(disk)
    const discards = new Discards(client)
    for await (const { length } of discards.watch(whole(4 * MIB))) discards.upTo(length - MIB + 1)
    await discards.settled()
    expect(await taken(bench, lease, index)).toBeLessThan(KIB64)
    await bench.write(disk.name, 0x33, KIB64, 3 * MIB - KIB64)
    expect(await taken(bench, lease, index)).toBeLessThan(KIB64)
    await bench.write(disk.name, 0x44, 3 * MIB, KIB64)
    const before = atInstant.get(disk.name)!
    for (const [offset, length] of [
      [0, KIB64],
      [3 * MIB, MIB],
    ] as const)
      expect((await read(disk, offset, length)).equals(before.subarray(offset, offset + length))).toBe(true)
    await expect(read(disk, 2 * MIB, KIB64)).rejects.toMatchObject(refused)
    await expect(client.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'NBD_ERROR' })
  }
  // the most that it took is what is told
  expect((await lease.scratch())!.usedBytes).toBeGreaterThanOrEqual(3 * KIB64)
  await lease.check()
  await lease.end('committed')
})

test('of an increment long unchanged gaps go at once, and what a comparison showed is known to the next agent', async () => {
  await using folder = await tempFolder()
  const size = 64 * MIB
  const disks = [{ id: 'vda', format: 'qcow2', file: folder.join('a.qcow2'), size } as const]
  await using bench = await startBench(folder.path, disks)
  bench.fleecing = 'on'
  const first = await bench.agent()
  await bench.write('vda', 0x11, 0, MIB)
  const full = await first.driver.begin(bench.request())
  await full.end('committed')
  await bench.write('vda', 0x22, 32 * MIB, KIB64)
  const atInstant = bench.snapshot().get('vda')!
  const lease = await first.driver.begin(bench.request({ base: asBase(full) }))
  await lease.compared(new Map([['vda', { chunks: 3, missed: false }]]))
  await discardUnasked(lease, KIB64)
  await bench.write('vda', 0x33, 8 * MIB, MIB)
  expect(await taken(bench, lease, 0)).toBe(0)
  await bench.write('vda', 0x33, 32 * MIB, KIB64)
  await first[Symbol.asyncDispose]()

  await using next = await bench.agent()
  const [entry] = await next.journal.list()
  const adopted = await next.driver.adopt(entry!)
  const [disk] = adopted!.disks
  expect(disk).toMatchObject({ kind: 'incremental', compared: true, comparedChunks: 3 })
  const changed = atInstant.subarray(32 * MIB, 32 * MIB + KIB64)
  expect((await read(disk!, 32 * MIB, KIB64)).equals(changed)).toBe(true)
  await adopted!.check()
  await adopted!.end('failed')
})

test('a lease that is given up leaves QEMU running while readers are in the middle of their answers', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  bench.fleecing = 'on'
  const untouched = await bench.objects()
  for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x11, 0, 4 * MIB)
  let free = 2 ** 50
  await using agent = await bench.agent({ reserveBytes: MIB, freeBytes: () => Promise.resolve(free) })
  const lease = await agent.driver.begin(bench.request())
  const clients = await Promise.all(lease.disks.map(open))
  // more answers than any socket holds are on the way
  const reads = clients.map((client) =>
    Promise.allSettled(Array.from({ length: 16 }, () => client.readInto(0, Buffer.alloc(4 * MIB)))),
  )
  free = 0
  expect(await lease.lost).toMatchObject({ code: 'SCRATCH_LOW' })
  await Promise.all(reads)
  await Promise.all(clients.map((client) => client.close()))
  await eventually(async () => ((await bench.machine.control.execute('query-jobs')) as unknown[]).length === 0)
  await bench.write('vda', 0x22, 0, 4 * MIB)
  await lease.end('failed')
  expect(await bench.objects()).toEqual(untouched)
})

test('a broken snapshot is not to be seen where QEMU has gone, or where nothing can break', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  expect(await lease.whyUnreadable?.()).toBe(null)
  await bench.machine.kill9()
  expect(await lease.whyUnreadable?.()).toBe(null)
  const gone = new VarveError('NBD_ERROR', 'cut')
  expect(await lossOf(gone, lease, new AbortController().signal)).toMatchObject({ code: 'LEASE_LOST' })
  await lease.end('failed').catch(() => undefined)
})
