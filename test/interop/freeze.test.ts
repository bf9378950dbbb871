// A guest is frozen for the instant and thawed whatever happens. The guest agent is scripted: a real one would freeze this host.
import { expect, test, vi } from 'vitest'
import { ScriptedGuestAgent, type GuestAgentScript } from '../support/guest-agent.ts'
import { MIB, type ModelMachine } from '../support/model-machine.ts'
import { expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

vi.setConfig({ maxConcurrency: 2 })

interface Scene extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
  readonly guest: ScriptedGuestAgent
}

const scene = async (script: GuestAgentScript = {}): Promise<Scene> => {
  const stand = await Stand.start()
  const guest = await ScriptedGuestAgent.listen(stand.folder.join('qga.sock'), script)
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB }], {
    guestAgent: guest.socketPath,
  })
  await host.start()
  return {
    stand,
    host,
    machine,
    guest,
    [Symbol.asyncDispose]: async () => {
      await stand[Symbol.asyncDispose]()
      await guest[Symbol.asyncDispose]()
    },
  }
}

test.concurrent('a machine with a guest agent is frozen for its instant, and thawed', async () => {
  await using at = await scene()
  const { consistency } = await at.host.backup('db1')
  expect(consistency).toBe('frozen')
  expect(at.guest.frozen).toBe(false)
  expect(at.guest.commands).toContain('guest-fsfreeze-freeze')
})

test.concurrent('a freeze that fails is told with the point, or forbids it where the policy requires one', async () => {
  await using at = await scene({ freezeError: 'the file system said no' })
  const { point, consistency } = await at.host.backup('db1')
  expect(consistency).toBe('crash')
  expect((await at.stand.point(point)).note).toContain('the file system said no')
  await at.stand.done('policy', 'db1', '--tenant', TENANT, '--consistency', 'freeze-required')
  const before = await at.machine.objects()
  const refused = await at.host.run('backup', 'db1')
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('FREEZE_REQUIRED') })
  await expectNothingLeft(at.host, at.machine, before)
  expect((await at.stand.listPoints()).map(({ id }) => id)).toEqual([point])
})

test.concurrent('a guest whose agent is killed in the middle of its freeze is thawed all the same', async () => {
  const { promise: freezeHeld, resolve: freeze } = Promise.withResolvers<void>()
  await using at = await scene({ freezeHeld })
  const before = await at.machine.objects()
  const { job } = await (await at.stand.peer()).call('backup.start', { machine: 'db1', full: false })
  await eventually(() => at.guest.commands.includes('guest-fsfreeze-freeze'))
  await at.host.end('SIGKILL')
  freeze()
  await eventually(() => at.guest.commands.includes('guest-fsfreeze-thaw') && !at.guest.frozen)
  await at.host.start()
  expect(await at.stand.ended(job)).toMatchObject({ state: 'failed' })
  await expectNothingLeft(at.host, at.machine, before)
  const { point, consistency } = await at.host.backup('db1')
  expect(consistency).toBe('frozen')
  await expectNothingLeft(at.host, at.machine, withCheckpoint(before, at.host.checkpoint(point), at.machine.disks))
  expect(at.guest.frozen).toBe(false)
})
