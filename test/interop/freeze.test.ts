// A guest is frozen for the instant and thawed whatever happens. The guest agent is scripted: a real one would freeze this host.
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { FreezeNotes } from '../../agent/guest/freeze-notes.ts'
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
  const { point, consistency } = await at.host.backup('db1')
  expect(consistency).toBe('frozen')
  expect(at.guest.frozen).toBe(false)
  expect(at.guest.commands).toContain('guest-fsfreeze-freeze')
  // its agent tells how long, and what its scratch image took, which holds nothing but its own tables
  const { took, durationMs } = await at.stand.point(point)
  expect(took?.frozenMs).toBeGreaterThan(0)
  expect(took?.frozenMs).toBeLessThanOrEqual(durationMs)
  expect(took?.scratch?.usedBytes).toBeGreaterThan(0)
  expect(took?.scratch?.usedBytes).toBeLessThan(MIB)
  expect(took?.scratch?.limitBytes).toBeGreaterThan(took?.scratch?.usedBytes ?? 0)
  expect(took?.steps.map(({ step }) => step)).toEqual([
    'lease',
    'freeze',
    'compare',
    'announce',
    'disk',
    'attachments',
    'check',
  ])
})

test.concurrent('a freeze that fails is told with the point, or forbids it where the plan requires one', async () => {
  await using at = await scene({ freezeError: 'the file system said no' })
  const { point, consistency } = await at.host.backup('db1')
  expect(consistency).toBe('crash')
  const made = await at.stand.point(point)
  expect(made.note).toContain('the file system said no')
  expect(made.took?.frozenMs).toBe(0)
  await at.stand.done('plan', 'set', 'strict', '--cover-others', '--tenant', TENANT, '--consistency', 'freeze-required')
  const before = await at.machine.objects()
  const refused = await at.host.run('backup', 'db1')
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('FREEZE_REQUIRED') })
  await expectNothingLeft(at.host, at.machine, before)
  expect((await at.stand.listPoints()).map(({ id }) => id)).toEqual([point])
})

test.concurrent(
  'agent and freezer killed in the freeze: the next start thaws, with no gateway and no QMP',
  async () => {
    await using at = await scene({ freezeDelayMs: 1_500, oneClient: true })
    await (await at.stand.peer()).call('backup.start', { machine: 'db1', full: false })
    await eventually(() => at.guest.commands.includes('guest-fsfreeze-freeze'))
    const [note] = await FreezeNotes.in(at.host.stateFolder).list()
    await at.stand.endGateway('SIGKILL')
    process.kill(note?.freezer?.pid ?? 0, 'SIGKILL')
    await at.host.end('SIGKILL')
    await eventually(() => at.guest.frozen)
    // nobody answers at the monitor, nothing in the journal can be read, and the machine is configured no more
    await at.machine.qemu.kill9()
    for (const name of await readdir(join(at.host.stateFolder, 'leases')))
      await writeFile(join(at.host.stateFolder, 'leases', name), 'damaged')
    const config = (await readFile(at.host.configFile, 'utf8')).split('[[machine]]')[0] ?? ''
    await writeFile(at.host.configFile, config)
    await using agent = at.host.command('run')
    await eventually(() => !at.guest.frozen)
    await eventually(async () => (await FreezeNotes.in(at.host.stateFolder).list()).length === 0)
    await agent.end('SIGKILL')
  },
)

test.concurrent(
  'a guest that is frozen for ever so long: backups go on without a freeze, and it is thawed at last',
  async () => {
    await using at = await scene()
    await at.host.backup('db1')
    // what an agent left that was killed with its freezer, of a guest that says nothing now
    const notes = FreezeNotes.in(at.host.stateFolder)
    const guestAgent = at.guest.socketPath
    const lost = { machine: 'db1', qmp: at.machine.qemu.qmpPath, lease: 'an earlier one', freezer: null, sinceMs: 1 }
    at.guest.frozen = true
    await at.guest.away()
    await notes.create({ version: 1, id: 'x', guestAgent, ...lost })
    const { point, consistency } = await at.host.backup('db1')
    expect(consistency).toBe('crash')
    expect((await at.stand.point(point)).note).toContain('earlier freeze')
    await at.stand.done(
      'plan',
      'set',
      'strict',
      '--cover-others',
      '--tenant',
      TENANT,
      '--consistency',
      'freeze-required',
    )
    expect(await at.host.run('backup', 'db1')).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('earlier freeze'),
    })
    await at.guest.back()
    await eventually(() => !at.guest.frozen)
    expect((await at.host.backup('db1', '--wait')).consistency).toBe('frozen')
  },
)

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
