// A backup that cannot be finished ends: its machine is as it was, nothing was missed, and the next backup works.
import { expect, test, vi } from 'vitest'
import type { Job } from '../../protocol/methods.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, type BlockObjects, type ModelMachine } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { BackupAnswer, Host } from '../support/stand-host.ts'
import type { Program } from '../support/stand-program.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

// most of the time of these tests is waiting for bytes that are held back
vi.setConfig({ maxConcurrency: 3 })

/** So slow that what is left of a backup takes minutes, in bytes a second. */
const SLOW_LINK = 64 * KIB

/** A machine with one restore point, a command that makes the next one, and that one's job in the middle. */
interface Scene extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
  readonly first: BackupAnswer
  readonly command: Program
  readonly job: Job
  /** The block layer without any checkpoint. */
  readonly before: BlockObjects
  /** The machine has the first point's checkpoint and nothing else. */
  expectAsAfterFirst(): Promise<void>
  /** Makes one more backup, which must hold everything that was ever written. */
  expectNext(wanted: Partial<BackupAnswer>): Promise<void>
}

const scene = async (dice: Dice): Promise<Scene> => {
  const stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 24 * MIB, content: dice.bytes(24 * MIB) },
  ])
  const before = bare(await machine.objects())
  await host.start()
  const first = await host.backup('db1')
  await host.end('SIGTERM')
  for (let at = 0; at < 16; at++) await machine.write('vda', at * MIB, dice.bytes(MIB))
  await host.start({ bandwidth: '4 MiB' })
  const command = host.command('backup', 'db1', '--json')
  const peer = await stand.peer()
  const { id } = await eventually(async () =>
    (await peer.call('jobs.list', { machine: 'db1', limit: 1 })).jobs.find(({ state }) => state === 'running'),
  )
  const job = await stand.durable(id, 4 * MIB)
  await machine.write('vda', 20 * MIB, dice.bytes(MIB))
  const asAfterFirst = withCheckpoint(before, host.checkpoint(first.point), machine.disks)
  return {
    stand,
    host,
    machine,
    first,
    command,
    job,
    before,
    expectAsAfterFirst: () => expectNothingLeft(host, machine, asAfterFirst),
    expectNext: async (wanted) => {
      const next = await host.backup('db1', '--wait')
      expect(next).toMatchObject(wanted)
      expectDisks(await stand.restore(next.point), machine.snapshot())
      await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(next.point), machine.disks))
      expect((await stand.listPoints()).map((point) => point.id)).toEqual([next.point, first.point])
    },
    [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose](),
  }
}

test.concurrent('QEMU killed: the job fails as LEASE_LOST, and the next backup says why it is full', async () => {
  await using at = await scene(new Dice(70))
  await at.machine.qemu.kill9()
  const { code, stderr } = await at.command.ended
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('LEASE_LOST') })
  expect(await at.stand.ended(at.job.id)).toMatchObject({ state: 'failed', error: { code: 'LEASE_LOST' } })
  await at.machine.qemu.start()
  await at.expectNext({ kind: 'full', reason: 'bitmap-missing' })
})

test.concurrent(
  'QEMU ended cleanly: the job fails as LEASE_LOST, and the old checkpoint still knows every write',
  async () => {
    await using at = await scene(new Dice(71))
    await at.machine.restart()
    expect((await at.command.ended).stderr).toContain('LEASE_LOST')
    await at.expectNext({ kind: 'incremental', reason: 'bitmap' })
  },
)

test.concurrent('Ctrl-C of the command cancels the backup and gives the machine back', async () => {
  await using at = await scene(new Dice(72))
  at.command.signal('SIGINT')
  expect((await at.command.ended).code).toBe(130)
  expect(await at.stand.ended(at.job.id)).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  await at.expectAsAfterFirst()
  await at.expectNext({ kind: 'incremental', reason: 'bitmap' })
})

test.concurrent('Ctrl-C of the agent gives the machine back before it ends', async () => {
  await using at = await scene(new Dice(73))
  const { code } = await at.host.end('SIGINT')
  expect(code).toBe(0)
  expect((await at.command.ended).code).toBe(130)
  await at.expectAsAfterFirst()
  expect(await at.stand.ended(at.job.id)).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  await at.host.start()
  await at.expectNext({ kind: 'incremental', reason: 'bitmap' })
})

test.concurrent('an agent that is revoked gives the machine back and ends; its job is over', async () => {
  await using at = await scene(new Dice(74))
  // the command takes its time on a busy machine, and the backup must not end before it
  at.host.link.bytesPerSecond = SLOW_LINK
  await at.stand.done('agent', 'revoke', at.host.agentId, '--tenant', TENANT)
  const { code, stderr } = await at.host.agent.ended
  expect({ code, stderr }).toMatchObject({ code: 4, stderr: expect.stringContaining('AGENT_REVOKED') })
  expect((await at.command.ended).code).not.toBe(0)
  await at.expectAsAfterFirst()
  expect(await at.stand.ended(at.job.id)).toMatchObject({ state: 'failed' })
  expect((await at.stand.listPoints()).map((point) => point.id)).toEqual([at.first.point])
  const again = await at.host.run('backup', 'db1')
  expect(again).toMatchObject({ code: 4, stderr: expect.stringContaining('AGENT_REVOKED') })
})

test.concurrent('an agent that was revoked while it was down gives the machine back at its next start', async () => {
  await using at = await scene(new Dice(75))
  at.host.agent.signal('SIGKILL')
  await at.host.agent.ended
  await at.stand.done('agent', 'revoke', at.host.agentId, '--tenant', TENANT)
  const { code, stderr } = await at.host.run('run')
  expect({ code, stderr }).toMatchObject({ code: 4, stderr: expect.stringContaining('AGENT_REVOKED') })
  await at.expectAsAfterFirst()
  expect(await at.stand.ended(at.job.id)).toMatchObject({ state: 'failed', error: { code: 'AGENT_REVOKED' } })
  expect((await at.command.ended).code).toBe(4)
})

test.concurrent(
  'scratch space runs low after a restart with the gateway away: the new agent gives the backup up by itself',
  async () => {
    await using at = await scene(new Dice(76))
    const guards = await at.host.agent.children()
    await at.host.end('SIGKILL')
    for (const guard of guards) process.kill(guard, 'SIGKILL')
    await at.stand.endGateway('SIGKILL')
    // no file system has as much
    await at.host.configure({ scratchReserve: '999999 GiB' })
    const alone = at.host.command('run')
    await eventually(async () => (await at.machine.objects()).jobs.length === 0)
    await at.machine.write('vda', 0, new Dice(77).bytes(8 * MIB))
    await alone.end('SIGKILL')
    await at.stand.startGateway()
    await at.host.start({ scratchReserve: '32 MiB' })
    expect(await at.stand.ended(at.job.id)).toMatchObject({ state: 'failed', error: { code: 'LEASE_LOST' } })
    await at.command.ended
    await at.expectAsAfterFirst()
    await at.expectNext({ kind: 'incremental', reason: 'bitmap' })
  },
)
