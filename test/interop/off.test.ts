// A machine that is backed up while it runs and while it is off, with the real programs: one chain of increments, and every
// point as the disks were. Method: each point is restored and compared with the model; what was read is bounded.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { KEEP_OFF } from '../../protocol/plans.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, type ModelDisk, type ModelMachine, type Snapshot } from '../support/model-machine.ts'
import { isDaemon, processesWith } from '../support/offline.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { BackupAnswer, Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const disk = (id: string, format: ModelDisk['format'] = 'qcow2', size = 8 * MIB): ModelDisk => ({ id, format, size })

const kinds = ({ disks }: BackupAnswer): string[] => disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

const bytesRead = ({ disks }: BackupAnswer): number => disks.reduce((sum, { changedBytes }) => sum + changedBytes, 0)

const INCREMENTS = ['vda incremental bitmap', 'vdb incremental bitmap']

interface Bed extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
}

const bed = async (disks: readonly ModelDisk[], settings: Parameters<Host['start']>[0] = {}): Promise<Bed> => {
  const stand = await Stand.start()
  try {
    const host = await stand.addHost()
    const machine = await host.addMachine('db1', disks)
    await host.start({ whileOff: true, ...settings })
    return { stand, host, machine, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
  } catch (error) {
    await stand[Symbol.asyncDispose]()
    throw error
  }
}

/** Everything that a lease on a machine that is off can leave. */
const expectNothing = async ({ host }: Bed): Promise<void> => {
  const residue = async () => ({ ...(await host.residue()), daemons: await daemonsOf(host) })
  const none = { scratch: [], journal: [], sockets: [], daemons: [] }
  await eventually(async () => JSON.stringify(await residue()) === JSON.stringify(none)).catch(() => undefined)
  expect(await residue()).toEqual(none)
}

const daemonsOf = async (host: Host): Promise<readonly number[]> => {
  const own = (await readdir('/run')).filter((name) =>
    name.startsWith(`varve-${host.agentId.replaceAll('-', '').slice(-8)}-`),
  )
  const found = await Promise.all(own.map((name) => processesWith(`/run/${name}/`)))
  return found
    .flat()
    .filter(isDaemon)
    .map(({ pid }) => pid)
}

test('running, off, off again, running: increments of one chain, each point exact', async () => {
  await using it = await bed([disk('vda'), disk('vdb')])
  const { stand, host, machine } = it
  const dice = new Dice(7)
  const points = new Map<string, Snapshot>()
  const backup = async (expected: readonly string[], changed: number): Promise<void> => {
    const answer = await host.backup('db1')
    points.set(answer.point, machine.snapshot())
    expect(kinds(answer)).toEqual(expected)
    expect(bytesRead(answer), `${points.size}: ${kinds(answer).join()}`).toBe(changed)
  }
  await machine.write('vda', 0, dice.bytes(MIB))
  await backup(['vda full first', 'vdb full first'], 16 * MIB)

  await machine.write('vda', 2 * MIB, dice.bytes(64 * KIB))
  await machine.write('vdb', 0, dice.bytes(64 * KIB))
  await machine.qemu.quit()
  await backup(INCREMENTS, 128 * KIB)
  expect((await host.done('status', '--json')).stdout).toContain('shut off')
  // what was recorded since the last checkpoint is read again, and nothing of it is sent again
  await backup(INCREMENTS, 128 * KIB)

  await machine.restart()
  await machine.write('vda', 4 * MIB, dice.bytes(64 * KIB))
  await backup(INCREMENTS, 192 * KIB)
  await machine.zero('vda', 0, 64 * KIB)
  await backup(INCREMENTS, 64 * KIB)

  for (const [point, model] of points) expectDisks(await stand.restore(point), model, `point ${point}`)
  await expectNothing(it)
})

test('retention keeps the point that a machine which stays off continues: increments go on', async () => {
  await using it = await bed([disk('vda')])
  const { stand, host, machine } = it
  await machine.write('vda', 0, new Dice(15).bytes(MIB))
  const { point: first } = await host.backup('db1')
  await machine.write('vda', 2 * MIB, new Dice(16).bytes(64 * KIB))
  await machine.qemu.quit()
  await host.backup('db1')
  await host.backup('db1')
  const rules = { keep: { ...KEEP_OFF, last: 1 }, timeZone: 'UTC' }
  const asked = { machine: 'db1', group: null, rules, points: null, dryRun: false }
  const { points, removed } = await (await stand.peer()).call('points.prune', asked)
  expect(removed).toBe(1)
  expect(points.filter(({ point }) => point === first)).toMatchObject([{ keptBy: ['next-base'] }])
  const next = await host.backup('db1')
  expect(kinds(next)).toEqual(['vda incremental bitmap'])
  expect(bytesRead(next)).toBe(64 * KIB)
  expectDisks(await stand.restore(next.point), machine.snapshot())
})

test('a raw disk is read whole each time that the machine is off', async () => {
  await using it = await bed([disk('vda'), disk('vdb', 'raw')])
  const { stand, host, machine } = it
  await machine.write('vdb', 0, new Dice(3).bytes(MIB))
  await host.backup('db1')
  await machine.qemu.quit()
  const off = await host.backup('db1')
  expect(kinds(off)).toEqual(['vda incremental bitmap', 'vdb full no-bitmap'])
  expect(off.bytesSent).toBeLessThan(64 * KIB)
  expectDisks(await stand.restore(off.point), machine.snapshot())
  await expectNothing(it)
})

test('a machine that was killed is read in full, for its reason, and the next points are increments again', async () => {
  await using it = await bed([disk('vda')])
  const { stand, host, machine } = it
  const dice = new Dice(5)
  await machine.write('vda', 0, dice.bytes(MIB))
  await host.backup('db1')
  await machine.restart()
  await machine.write('vda', MIB, dice.bytes(MIB))
  await machine.crash()
  const killed = await host.backup('db1')
  expect(kinds(killed)).toEqual(['vda full bitmap-inconsistent'])
  expectDisks(await stand.restore(killed.point), machine.snapshot())

  await machine.qemu.start()
  const running = await host.backup('db1')
  expect(kinds(running)).toEqual(['vda full bitmap-inconsistent'])
  await machine.qemu.quit()
  expect(kinds(await host.backup('db1'))).toEqual(['vda incremental bitmap'])
  await expectNothing(it)
})

test('a machine that is started while it is read is refused by QEMU, and the backup goes on', async () => {
  const size = 32 * MIB
  await using it = await bed([disk('vda', 'qcow2', size)], { bandwidth: '8 MiB' })
  const { stand, host, machine } = it
  await machine.write('vda', 0, new Dice(9).bytes(24 * MIB))
  await machine.qemu.quit()
  const job = await stand.startBackup('db1')
  await stand.durable(job, 4 * MIB)
  await expect(machine.qemu.start()).rejects.toThrow(/Failed to get "write" lock/u)
  const ended = await stand.ended(job)
  expect(ended).toMatchObject({ state: 'committed' })
  expectDisks(await stand.restore(job), machine.snapshot())
  // a cancelled backup sets the machine free at once
  await machine.qemu.start()
  await machine.write('vda', 0, new Dice(10).bytes(24 * MIB))
  await machine.qemu.quit()
  const next = await stand.startBackup('db1', true)
  await stand.durable(next, 4 * MIB)
  await (await stand.peer()).call('jobs.cancel', { job: next })
  expect(await stand.ended(next)).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  await eventually(async () => (await daemonsOf(host)).length === 0)
  await machine.qemu.start()
  await machine.qemu.quit()
  await expectNothing(it)
})

test('an agent that is killed and started again goes on with the backup of a machine that is off', async () => {
  await using it = await bed([disk('vda', 'qcow2', 32 * MIB)], { bandwidth: '8 MiB' })
  const { stand, host, machine } = it
  await machine.write('vda', 0, new Dice(11).bytes(24 * MIB))
  await machine.qemu.quit()
  const job = await stand.startBackup('db1')
  await stand.durable(job, 4 * MIB)
  const [daemon] = await daemonsOf(host)
  await host.end('SIGKILL')
  await host.start()
  expect(await stand.ended(job)).toMatchObject({ state: 'committed' })
  expect(daemon).toBeGreaterThan(0)
  expectDisks(await stand.restore(job), machine.snapshot())
  await expectNothing(it)
})

test('a machine that is off and whose disks the agent does not know fails as one that cannot be reached', async () => {
  await using it = await bed([disk('vda')], { whileOff: false })
  const { host, machine } = it
  await machine.qemu.quit()
  const { code, stderr } = await host.run('backup', 'db1')
  expect(code).not.toBe(0)
  expect(stderr).toContain('the machine is off')
  await expectNothing(it)
})

test('a machine that is only read while it is off: its own entry, a snapshot by a program, what is in its way', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const file = stand.folder.join('archive.img')
  const content = new Dice(13).bytes(4 * MIB)
  await writeFile(file, content)
  const program = stand.folder.join('snapshot')
  await writeFile(
    program,
    `#!/bin/sh\nset -e\nat="${stand.folder.path}/snap-$VARVE_MACHINE-$VARVE_SNAPSHOT"\n[ $1 = create ] || exec rm -f "$at"\ncp "$2" "$at"\necho "$at"\n`,
  )
  await chmod(program, 0o755)
  const machine = (name: string, more: string): string =>
    `[[machine]]\nname = "${name}"\ndisks = [{ name = "vda", path = "${file}" }]\n${more}`
  await host.start({ tables: [machine('archive', `snapshot = "command"\nsnapshot_command = "${program}"`)] })
  const first = await host.backup('archive')
  expect(kinds(first)).toEqual(['vda full first'])
  expectDisks(await stand.restore(first.point), new Map([['vda', content]]))
  const second = await host.backup('archive')
  expect(kinds(second)).toEqual(['vda full no-bitmap'])
  expect(second.bytesSent).toBeLessThan(64 * KIB)
  expect((await readdir(stand.folder.path)).filter((name) => name.startsWith('snap-'))).toEqual([])

  await host.end('SIGTERM')
  await host.start({ tables: [machine('archive', '')] })
  const status = async (): Promise<string> => (await host.done('status', '--json')).stdout
  expect(await status()).toContain('shut off')
  const holder = spawn('qemu-io', ['-f', 'raw', file], { stdio: ['pipe', 'pipe', 'ignore'] })
  try {
    await once(holder.stdout, 'data')
    expect(await status()).toContain('in use')
    const { code, stderr } = await host.run('backup', 'archive')
    expect(code).toBe(5)
    expect(stderr).toContain(`qemu-io (process ${holder.pid})`)
  } finally {
    holder.stdin.end()
    await once(holder, 'close')
  }
  expect(kinds(await host.backup('archive'))).toEqual(['vda full no-bitmap'])
  await host.done('forget', 'archive')
})

test('the checkpoints of a machine are forgotten while it is off, and its next backup reads in full', async () => {
  await using it = await bed([disk('vda', 'qcow2', MIB)])
  const { host, machine } = it
  await host.backup('db1')
  await machine.qemu.quit()
  const { stdout } = await host.done('forget', 'db1', '--json')
  expect(JSON.parse(stdout)).toMatchObject({ machine: 'db1', removed: [{ node: 'vda' }], left: [] })
  expect(kinds(await host.backup('db1'))).toEqual(['vda full bitmap-missing'])
  await expectNothing(it)
})
