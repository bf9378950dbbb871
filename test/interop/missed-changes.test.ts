// A bitmap that was found wrong is never trusted again: the backup that found it dies with all that its agent kept, and later
// ones, of a machine that is off and of one that runs, read the disk in full until there is a checkpoint of its own.
import { randomBytes } from 'node:crypto'
import { open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import * as v from 'valibot'
import { MIB, type ModelMachine } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { BackupAnswer } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

const SIZE = 16 * MIB

const extentsSchema = v.array(v.object({ start: v.number(), length: v.number(), offset: v.optional(v.number()) }))

/** Writes into the image file of a machine that is off: no bitmap records it. */
const writeAround = async (machine: ModelMachine, disk: string, at: number, bytes: Buffer): Promise<void> => {
  const { file } = machine.chainOf(disk)[0]
  const map = await run('qemu-img', ['map', '--output=json', '-f', 'qcow2', file])
  const image = await open(file, 'r+')
  for (const { start, length, offset } of v.parse(extentsSchema, JSON.parse(map))) {
    const [from, end] = [Math.max(start, at), Math.min(start + length, at + bytes.length)]
    if (from >= end) continue
    if (offset === undefined) throw new Error(`there is nothing at ${from} to be written over`)
    await image.write(bytes, from - at, end - from, offset + from - start)
  }
  await image.close()
  bytes.copy(machine.content(disk), at)
}

const reads = ({ disks }: BackupAnswer): string[] =>
  disks.map(({ name, kind, reason, comparedChunks }) => `${name} ${kind} ${reason} ${comparedChunks > 0}`)

test('what was found outlives the backup, its agent, that one’s state and the gateway', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const disks = ['vda', 'vdb'].map((id) => ({ id, format: 'qcow2' as const, size: SIZE }))
  const machine = await host.addMachine('db1', disks)
  await host.start({ whileOff: true })
  for (const { id } of disks) await machine.write(id, 0, randomBytes(12 * MIB))
  await host.backup('db1')
  await machine.qemu.quit()
  await writeAround(machine, 'vda', 4 * MIB, randomBytes(4 * MIB))

  await host.end('SIGTERM')
  // slow enough to die in the middle
  await host.start({ bandwidth: '128 KiB' })
  const finding = host.command('backup', 'db1', '--compare')
  await host.agent.says(/has missed changes/u)
  await host.end('SIGKILL')
  await stand.endGateway('SIGKILL')
  const journal = join(host.stateFolder, 'leases')
  for (const name of await readdir(journal)) await rm(join(journal, name))
  await stand.startGateway()
  await host.start({ bandwidth: '1 GiB' })
  const [failed] = await stand.jobs()
  expect(await stand.ended(failed!.id)).toMatchObject({ state: 'failed', error: { code: 'LEASE_LOST' } })
  await finding.ended

  // nothing is compared on a disk that is read in full from the first
  const distrusted = ['vda full changes-missed false', 'vdb incremental bitmap true']
  const backup = async (expected: readonly string[]): Promise<void> => {
    const answer = await host.backup('db1')
    expect(reads(answer)).toEqual(expected)
    expectDisks(await stand.restore(answer.point), machine.snapshot())
  }
  await backup(distrusted)
  // the machine that is off was only read: the checkpoint of before is still the last one
  await machine.restart()
  await backup(distrusted)
  await backup(['vda incremental bitmap true', 'vdb incremental bitmap true'])
})
