// The whole agent in this process, with a real machine and a real gateway.
import { announced } from '../support/announced.ts'
import { readdir, writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { parseConfig, type AgentConfig } from '../../agent/config.ts'
import { runAgent } from '../../agent/daemon.ts'
import { FreezeNotes } from '../../agent/guest/freeze-notes.ts'
import { Identity } from '../../agent/identity.ts'
import { openLog } from '../../protocol/host/log.ts'
import type { VarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ScriptedGuestAgent } from '../support/guest-agent.ts'
import { startMachine, type TestMachine } from '../support/qemu.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'
import { codeOf } from './restore/code-of.ts'

const MIB = 1024 * 1024
const log = openLog({ level: 'silent' })

interface Agent {
  stop(how: 'TERM' | 'INT'): Promise<VarveError | null>
  readonly ended: Promise<VarveError | null>
}

const startAgent = (config: AgentConfig): Agent => {
  const { promise, resolve } = Promise.withResolvers<'TERM' | 'INT'>()
  const ended = runAgent(config, log, promise)
  ended.catch(() => undefined)
  return {
    ended,
    stop: (how) => {
      resolve(how)
      return ended
    },
  }
}

interface Scene extends AsyncDisposable {
  readonly temp: TempFolder
  readonly gateway: TestGateway
  readonly machine: TestMachine
  readonly config: AgentConfig
  readonly owner: Peer
}

/** A machine of one disk of 8 MiB that an agent may back up at this bandwidth. */
const scene = async (bandwidth: string): Promise<Scene> => {
  await using resources = new AsyncDisposableStack()
  const temp = resources.use(await tempFolder())
  const gateway = resources.use(await startGateway({ folder: temp.join('data') }))
  const disk = { id: 'vda', format: 'qcow2', file: temp.join('a.qcow2'), size: 8 * MIB } as const
  const machine = resources.use(await startMachine({ folder: temp.path, disks: [disk] }))
  for (let at = 0; at < 8; at++) await machine.guestWrite('vda', at + 1, at * MIB, MIB)
  await gateway.enrolAgent(temp.join('state'))
  const text = `gateway = "${gateway.url}"\nstate = "${temp.join('state')}"\nbandwidth = "${bandwidth}"\nscratch_reserve = "1 MiB"`
  const config = parseConfig('test', `${text}\n[[machine]]\nname = "db1"\nqmp = "${machine.qmpPath}"\n`)
  const owner = await gateway.connectAs(await gateway.tokenFor('owner'))
  const all = resources.move()
  return { temp, gateway, machine, config, owner, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

const online =
  ({ owner }: Scene) =>
  async (): Promise<boolean> =>
    (await owner.call('machines.list', {})).machines[0]?.online === true

const jobState = async ({ owner }: Scene): Promise<string | undefined> =>
  (await owner.call('jobs.list', { machine: 'db1', limit: 1 })).jobs[0]?.state

/** Entries of the lease journal, looked at from outside. */
const leases = async ({ config }: Scene): Promise<number> =>
  (await readdir(`${config.state}/leases`)).filter((name) => name.endsWith('.json')).length

test('serves its machine: state, relay, a backup', async () => {
  await using at = await scene('1 GiB')
  const agent = startAgent(at.config)
  await eventually(online(at))
  expect(await codeOf(startAgent(at.config).ended)).toBe('STATE_LOCKED')
  expect(await at.owner.call('machines.status', { machine: 'db1' })).toMatchObject({
    reachable: true,
    lease: null,
    target: null,
    disks: [{ name: 'vda' }],
  })
  const relayed = await at.owner.call('machines.qmp', { machine: 'db1', command: 'query-name', arguments: '' })
  expect(JSON.parse(relayed.value)).toEqual({ name: 'test' })
  const { job } = await at.owner.call('backup.start', { machine: 'db1', full: false })
  await eventually(async () => (await jobState(at)) === 'committed')
  await eventually(async () => (await leases(at)) === 0)
  expect((await at.owner.call('points.get', { point: job })).point).toMatchObject({ kind: 'full', reason: 'first' })
  expect(await agent.stop('TERM')).toBe(null)
})

test('a start that cannot even say who it is thaws what was left frozen', async () => {
  await using temp = await tempFolder()
  await using guest = await ScriptedGuestAgent.listen(temp.join('qga'), { frozenBefore: true })
  const notes = FreezeNotes.in(temp.join('state'))
  const about = { machine: 'gone from the configuration', qmp: '/nowhere', lease: 'x', freezer: null, sinceMs: 1 }
  await notes.create({ version: 1, id: 'x', guestAgent: guest.socketPath, ...about })
  const config = parseConfig('test', `gateway = "wss://nowhere.invalid"\nstate = "${temp.join('state')}"`)
  expect(await codeOf(startAgent(config).ended)).toBe('NOT_ENROLLED')
  await eventually(() => !guest.frozen)
  await eventually(async () => (await notes.list()).length === 0)
})

describe('in the middle of a backup', () => {
  /** Starts a backup that takes minutes at the bandwidth given, and waits until its lease is active. */
  const busy = async (at: Scene): Promise<{ agent: Agent; job: string }> => {
    const agent = startAgent(at.config)
    await eventually(online(at))
    const { job } = await at.owner.call('backup.start', { machine: 'db1', full: false })
    await eventually(async () => {
      const [running] = (await at.owner.call('jobs.list', { machine: 'db1', limit: 1 })).jobs
      return running !== undefined && running.disks.length > 0
    })
    return { agent, job }
  }

  test('SIGTERM leaves the lease, and the next start goes on with it', async () => {
    await using at = await scene('1 KiB')
    const { agent, job } = await busy(at)
    expect(await agent.stop('TERM')).toBe(null)
    expect(await leases(at)).toBe(1)
    expect(await jobState(at)).toBe('running')
    const next = startAgent({ ...at.config, bandwidth: 2 ** 30 })
    await eventually(async () => (await jobState(at)) === 'committed')
    await eventually(async () => (await leases(at)) === 0)
    expect((await at.owner.call('points.get', { point: job })).point.id).toBe(job)
    expect(await next.stop('TERM')).toBe(null)
  })

  test('SIGINT gives the lease back and fails the job', async () => {
    await using at = await scene('1 KiB')
    const { agent } = await busy(at)
    expect(await agent.stop('INT')).toBe(null)
    expect(await leases(at)).toBe(0)
    expect(await jobState(at)).toBe('failed')
    expect(await at.machine.control.execute('query-block-exports')).toEqual([])
    expect(await at.machine.control.execute('query-jobs')).toEqual([])
  })

  test('an agent that another one replaces says so', async () => {
    await using at = await scene('1 KiB')
    const { agent } = await busy(at)
    const identity = await Identity.load(at.config.state)
    const other = await at.gateway.connectAs(await identity.assertion(Date.now()), { serving: true })
    expect((await agent.ended)?.code).toBe('REPLACED')
    await other.call('agent.inventory', { host: 'other', machines: [announced('db1')], jobs: [] })
    expect(await jobState(at)).toBe('failed')
  })
})

test('a lease whose journal entry was damaged is removed from the machine at the start, with the gateway away', async () => {
  await using at = await scene('1 KiB')
  const agent = startAgent(at.config)
  await eventually(online(at))
  await at.owner.call('backup.start', { machine: 'db1', full: false })
  await eventually(async () => ((await at.machine.control.execute('query-jobs')) as unknown[]).length > 0)
  await eventually(async () => (await jobState(at)) === 'running' && (await leases(at)) === 1)
  await agent.stop('TERM')
  const [entry = ''] = await readdir(`${at.config.state}/leases`)
  await writeFile(`${at.config.state}/leases/${entry}`, 'damaged')
  await at.gateway[Symbol.asyncDispose]()
  const next = startAgent(at.config)
  await eventually(async () => ((await at.machine.control.execute('query-jobs')) as unknown[]).length === 0)
  await eventually(async () => (await readdir(`${at.config.state}/scratch`)).length === 0)
  await next.stop('TERM')
})
