// Where QEMU can break a snapshot (10.1 and newer), a full scratch space never hurts the guest.
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { LeasedDisk } from '../../../../agent/drivers/driver.ts'
import { lossOf } from '../../../../agent/drivers/loss.ts'
import { askSupport } from '../../../../agent/drivers/qmp/fleecing.ts'
import { NbdClient } from '../../../../agent/nbd/client.ts'
import { MIB, startBench, threeDisks } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const read = async ({ socketPath, exportName }: LeasedDisk, offset: number, length: number): Promise<Buffer> => {
  await using client = await NbdClient.connect({ socketPath, exportName, contexts: [] })
  const bytes = Buffer.alloc(length)
  await client.readInto(offset, bytes)
  return bytes
}

const refused = { code: 'NBD_ERROR', details: expect.objectContaining({ errno: 'EINVAL' }) }

/** Has the second MiB of a scratch file refuse writes as a full file system does. */
const fullAt = (command: string, args: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => {
  if (command !== 'blockdev-add' || args['driver'] !== 'raw') return args
  const rule = { event: 'none', iotype: 'write', errno: 28, sector: 2048 }
  return { ...args, file: { driver: 'blkdebug', image: args['file'], 'inject-error': [rule] } }
}

test('a full scratch space fails the backup and no write of the guest', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  bench.fleecing = 'on'
  expect(await askSupport(bench.machine.control, 'on')).toMatchObject({ breaks: true })
  for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x11, 0, 4 * MIB)
  const untouched = await bench.objects()
  await using agent = await bench.agent({ alter: fullAt })
  const lease = await agent.driver.begin(bench.request())
  const [broken, whole] = lease.disks
  await bench.write('vda', 0x22, 0, KIB64)
  expect((await read(broken!, 0, KIB64)).equals(Buffer.alloc(KIB64, 0x11))).toBe(true)
  // the guest's writes go on, and nothing tells of it
  for (let at = MIB; at < 4 * MIB; at += KIB64) await bench.write('vda', 0x33, at, KIB64)
  expect(bench.machine.events.map(({ event }) => event)).not.toContain('BLOCK_IO_ERROR')
  for (const offset of [0, MIB, 3 * MIB]) {
    const failed = await read(broken!, offset, KIB64).catch((error: unknown) => error)
    expect(failed).toMatchObject(refused)
    const loss = await lossOf(failed, lease, new AbortController().signal)
    expect(loss).toMatchObject({ code: 'SCRATCH_LOW', details: { disk: broken!.name } })
  }
  expect((await read(whole!, 0, KIB64)).equals(Buffer.alloc(KIB64, 0x11))).toBe(true)
  await lease.end('failed')
  expect(await bench.objects()).toEqual(untouched)
  expect(await readdir(path.join(bench.stateFolder, 'scratch'))).toEqual([])
})
