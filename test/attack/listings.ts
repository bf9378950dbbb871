// Attacks on time: listings of every kind at once, watchers, and questions that reach an agent's QEMU.
import { asVarveError } from '../../protocol/errors.ts'
import { CALLS_OPEN_MAX } from '../../protocol/limits.ts'
import type { MachineStatus } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { addPoint, beginJob, fullDisk, startJob } from '../gateway/catalog.ts'
import type { Scenario, Stage } from './scenario.ts'

const POINTS = 120
const DISKS = 12

/** Length of each restore point's configuration, in characters: most that is kept. */
const CONFIGURATION_CHARS = 60_000

/** Listings of one viewer at once. */
const AT_ONCE = 64

const PAGE = { machine: null, limit: 250 } as const

/** A machine of the attacker's with many restore points of many disks. */
const fill = async ({ tenant, catalog, agent, say }: Stage): Promise<void> => {
  await agent(['db1'])
  const machine = await catalog.machines.get({ tenant: tenant.id, name: 'db1' })
  const names = Array.from({ length: DISKS }, (_, index) => `disk${index}`)
  const configuration = JSON.stringify({ text: 'x'.repeat(CONFIGURATION_CHARS) })
  for (let index = 0; index < POINTS; index++) {
    await addPoint(catalog, tenant, machine, { timeMs: 1_000_000 + index, names, configuration })
    if (index % 20 === 0) say(`${index} of ${POINTS} restore points are there`)
  }
}

/** Outcomes as words: how many calls were answered, and how many refused, by code. */
class Outcomes {
  readonly #counts = new Map<string, number>()

  async count(call: Promise<unknown>): Promise<void> {
    const outcome = await call.then(
      () => 'answered',
      (thrown: unknown) => asVarveError(thrown).code,
    )
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + 1)
  }

  get words(): string {
    return [...this.#counts].map(([outcome, count]) => `${count} ${outcome}`).join(', ')
  }
}

/** Calls again and again, so many at once, until the signal aborts; what was asked for by then is not waited for. */
const keepCalling = async (signal: AbortSignal, atOnce: number, call: () => Promise<unknown>): Promise<Outcomes> => {
  const outcomes = new Outcomes()
  const caller = async (): Promise<void> => {
    while (!signal.aborted) await outcomes.count(call())
  }
  const over = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  await Promise.race([Promise.all(Array.from({ length: atOnce }, caller)), over])
  return outcomes
}

const manyPoints: Scenario = {
  name: 'listings',
  title: `one viewer, ${AT_ONCE} points.list at once (${POINTS} points of ${DISKS} disks)`,
  attackMs: 10_000,
  prepare: async (stage) => {
    await fill(stage)
    const viewer = await stage.person('viewer')
    return async (signal) => (await keepCalling(signal, AT_ONCE, () => viewer.call('points.list', PAGE))).words
  },
}

/** A look of each kind. */
const looks = (peer: Peer, point: string): (() => Promise<unknown>)[] => [
  () => peer.call('points.list', PAGE),
  () => peer.call('points.list', { ...PAGE, machine: 'db1' }),
  () => peer.call('points.get', { point }),
  () => peer.call('points.lost', { point }),
  () => peer.call('points.changes', { from: null, to: point, disk: 'disk0' }),
  () => peer.call('points.prune', { machine: null, group: null, rules: null, points: null, dryRun: true }),
  () => peer.call('jobs.list', { machine: null, limit: 250 }),
  () => peer.call('machines.list', {}),
  () => peer.call('agents.list', {}),
  () => peer.call('audit.list', { limit: 250 }),
  () => peer.call('plans.list', {}),
  () => peer.open('store.usage', { machine: null, points: true }).result,
]

const everyList: Scenario = {
  name: 'every-list',
  title: `four owners, all lists, plans and accounts, ${CALLS_OPEN_MAX - 6} calls at once each`,
  attackMs: 10_000,
  prepare: async (stage) => {
    await fill(stage)
    const owners = await Promise.all(Array.from({ length: 4 }, () => stage.person('owner')))
    const [newest] = (await owners[0]!.call('points.list', { ...PAGE, limit: 1 })).points
    return async (signal) => {
      const ended = await Promise.all(
        owners.map((owner) => {
          const all = looks(owner, newest!.id)
          let next = 0
          return keepCalling(signal, CALLS_OPEN_MAX - 6, () => all[next++ % all.length]!())
        }),
      )
      return `each: ${ended[0]!.words}`
    }
  },
}

const watchers: Scenario = {
  name: 'watchers',
  title: 'four viewers, each watches a running backup 200 times',
  attackMs: 8000,
  prepare: async ({ tenant, catalog, agent, person }) => {
    const { id } = await agent(['db1'])
    const machine = await catalog.machines.get({ tenant: tenant.id, name: 'db1' })
    const job = await startJob(catalog, tenant, machine, { full: true, nowMs: Date.now() })
    const names = Array.from({ length: DISKS }, (_, index) => `disk${index}`)
    await beginJob(
      catalog,
      { id: job, agent: id },
      names.map((name) => fullDisk(name, 4096, 'requested')),
    )
    const viewers = await Promise.all(Array.from({ length: 4 }, () => person('viewer')))
    return async (signal) => {
      let states = 0
      const watch = async (viewer: Peer): Promise<void> => {
        const call = viewer.open('jobs.watch', { job }, { signal })
        for await (const _ of call.messages) states++
      }
      const calls = viewers.flatMap((viewer) => Array.from({ length: 200 }, () => watch(viewer).catch(() => {})))
      await Promise.all(calls)
      return `${calls.length} watchers, told ${states} states`
    }
  },
}

const STATUS: Omit<MachineStatus, 'name'> = {
  reachable: true,
  runState: 'running',
  hypervisor: 'QEMU 10.0.0',
  lease: null,
  target: null,
  problem: null,
  disks: [],
  leftOut: [],
}

/** Questions that one viewer may have at an agent at once. */
const ASKED_MAX = 8

const questions: Scenario = {
  name: 'questions',
  title: `one viewer, ${AT_ONCE} machines.status at once of one machine and of many`,
  attackMs: 6000,
  prepare: async ({ agent, person }) => {
    let asked = 0
    let most = 0
    let rounds = 0
    const machines = Array.from({ length: AT_ONCE }, (_, index) => `m${index}`)
    await agent(machines, {
      'agent.status': async ({ machine }) => {
        rounds++
        most = Math.max(most, ++asked)
        await new Promise((resolve) => setTimeout(resolve, 20))
        asked--
        return { name: machine, ...STATUS }
      },
    })
    const viewer = await person('viewer')
    return async (signal) => {
      let next = 0
      const outcomes = await keepCalling(signal, AT_ONCE, () => {
        const machine = next % 2 === 0 ? machines[0]! : machines[next % machines.length]!
        next++
        return viewer.call('machines.status', { machine })
      })
      if (most > ASKED_MAX) throw new Error(`the agent was asked ${most} questions at once`)
      return `${outcomes.words}; the agent was asked ${rounds} times, at most ${most} at once`
    }
  },
}

export const listings: readonly Scenario[] = [manyPoints, everyList, watchers, questions]
