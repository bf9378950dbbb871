// A thousand agents that do nothing: how they connect, what they cost, and how they come back after the gateway was killed.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { eventually } from '../support/temp.ts'
import type { CrowdAnswer, CrowdEvent, CrowdOrder } from './fleet-crowd.ts'
import { Site } from './fleet-site.ts'
import { cpuTimes } from './process-use.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'

const AGENTS = 1000
const PROCESSES = 2
const TENANT = 'crowd'

/** Agents that connect before anything is counted, so that what the first session loads is not theirs. */
const WARM_UP_AGENTS = 20

const ENROL_TIMEOUT_MS = 120_000
const CONNECT_TIMEOUT_MS = 120_000

/** After everyone is connected, before memory is read, in milliseconds. */
const SETTLE_MS = 5000

/** How long idle CPU time is taken over, in milliseconds: two heartbeats, or what a quick run has. */
const IDLE_MS = 30_000
const QUICK_IDLE_MS = 8000

/**
 * How long the gateway stays away before it is started again, in milliseconds: at once, and long enough for agents to back
 * off.
 */
const OUTAGES_MS = [0, 10_000]

const SECOND_MS = 1000

/** A process full of agents. */
class Crowd implements AsyncDisposable {
  readonly events: CrowdEvent[] = []
  readonly #child: ChildProcess
  #enrolled = 0

  constructor() {
    this.#child = fork(path.join(import.meta.dirname, 'fleet-crowd.ts'))
    this.#child.on('message', (answer: CrowdAnswer) => {
      if ('events' in answer) this.events.push(...answer.events)
      else this.#enrolled = answer.enrolled
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  async enrol(gateway: string, tokens: readonly string[], folder: string): Promise<void> {
    this.#order({ do: 'enrol', gateway, tokens, folder })
    await eventually(() => this.#alive() && this.#enrolled === tokens.length, ENROL_TIMEOUT_MS)
  }

  connect(): void {
    this.#order({ do: 'connect' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill()
    await exited
  }

  #alive(): boolean {
    if (this.#child.exitCode !== null) throw new Error('a process of agents ended')
    return true
  }

  #order(order: CrowdOrder): void {
    this.#child.send(order)
  }
}

interface Memory {
  /** All resident pages, in bytes. */
  readonly rss: number
  /** Those that are no file's, in bytes. */
  readonly anonymous: number
}

const memoryOf = async (pid: number): Promise<Memory> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'mu').exec(status)?.[1]) * 1024
  return { rss: field('VmRSS'), anonymous: field('RssAnon') }
}

const cpuSecondsOf = async (pid: number): Promise<number> => (await cpuTimes(pid)).own.total

/** How a crowd came (back) to the gateway. */
interface Arrival {
  /** From the moment that connecting was possible to the last one's session and inventory. */
  readonly seconds: number
  /** Most sessions that opened within any one second. */
  readonly peakPerSecond: number
  /** Attempts that failed while there was no gateway. */
  readonly failedAway: number
  /** Those that failed since there is one, by error code. */
  readonly failures: Readonly<Record<string, number>>
  readonly gatewayCpuSeconds: number
}

const mostWithin = (timesMs: readonly number[], spanMs: number): number => {
  const sorted = timesMs.toSorted((a, b) => a - b)
  let most = 0
  let from = 0
  for (const [index, atMs] of sorted.entries()) {
    while (atMs - sorted[from]! >= spanMs) from += 1
    most = Math.max(most, index - from + 1)
  }
  return most
}

class Idle {
  readonly #context: ScenarioContext
  readonly #site: Site
  readonly #crowds: readonly Crowd[]

  constructor(context: ScenarioContext, site: Site, crowds: readonly Crowd[]) {
    this.#context = context
    this.#site = site
    this.#crowds = crowds
  }

  async enrol(folder: string, agents: number): Promise<void> {
    const each = agents / this.#crowds.length
    const enrolled = this.#crowds.map(async (crowd, index) => {
      const state = path.join(folder, `crowd-${crowd.pid}`)
      await mkdir(state, { recursive: true })
      await crowd.enrol(this.#site.url, await this.#site.enrolmentTokens(TENANT, each), state)
      this.#context.say(`enrolled ${each} agents in process ${index + 1}`)
    })
    await Promise.all(enrolled)
  }

  /** Lets all connect at once. */
  async connect(agents: number): Promise<Arrival> {
    const cpuBefore = await cpuSecondsOf(this.#site.gateway.pid)
    const fromMs = Date.now()
    for (const crowd of this.#crowds) crowd.connect()
    return this.#arrival(agents, { awayMs: fromMs, fromMs, cpuBefore })
  }

  /** Kills the gateway and starts it again after `outageMs`. */
  async restart(agents: number, outageMs: number): Promise<Arrival> {
    const awayMs = Date.now()
    await this.#site.stopGateway('SIGKILL')
    await sleep(outageMs, undefined, { signal: this.#context.signal })
    await this.#site.startGateway()
    return this.#arrival(agents, { awayMs, fromMs: Date.now(), cpuBefore: 0 })
  }

  /** CPU seconds that the gateway takes in a second. */
  async idleCpu(ms: number): Promise<number> {
    const { pid } = this.#site.gateway
    const before = await cpuSecondsOf(pid)
    await sleep(ms, undefined, { signal: this.#context.signal })
    return ((await cpuSecondsOf(pid)) - before) / (ms / SECOND_MS)
  }

  /** Waits for the last agent that comes after `awayMs`; the gateway accepts connections from `fromMs` on. */
  async #arrival(agents: number, when: { awayMs: number; fromMs: number; cpuBefore: number }): Promise<Arrival> {
    const { awayMs, fromMs, cpuBefore } = when
    const since = (kind: CrowdEvent['kind']): CrowdEvent[] =>
      this.#crowds.flatMap(({ events }) => events.filter((event) => event.kind === kind && event.atMs >= awayMs))
    await eventually(() => {
      this.#context.signal.throwIfAborted()
      const [gone] = since('ended')
      if (gone !== undefined) throw new Error(`an agent gave up: ${gone.code}`)
      return since('up').length >= agents
    }, CONNECT_TIMEOUT_MS)
    const upMs = since('up').map(({ atMs }) => atMs)
    const down = since('down')
    const failures: Record<string, number> = {}
    for (const { atMs, code } of down) if (atMs >= fromMs) failures[code ?? ''] = (failures[code ?? ''] ?? 0) + 1
    return {
      seconds: (Math.max(...upMs) - fromMs) / SECOND_MS,
      peakPerSecond: mostWithin(upMs, SECOND_MS),
      failedAway: down.filter(({ atMs }) => atMs < fromMs).length,
      failures,
      gatewayCpuSeconds: (await cpuSecondsOf(this.#site.gateway.pid)) - cpuBefore,
    }
  }
}

interface Figures {
  readonly connect: Arrival
  readonly before: Memory
  readonly after: Memory
  readonly afterIdle: Memory
  /** With as many agents again, which ended afterwards. */
  readonly doubled: Memory
  readonly idleCpu: number
  readonly restarts: readonly { readonly outageMs: number; readonly arrival: Arrival }[]
}

const memoryCells = ({ rss, anonymous }: Memory): string[] => [(rss / 1e6).toFixed(1), (anonymous / 1e6).toFixed(1)]

const arrivalRow = (title: string, arrival: Arrival): string[] => [
  title,
  arrival.seconds.toFixed(2),
  String(arrival.peakPerSecond),
  arrival.gatewayCpuSeconds.toFixed(2),
  String(arrival.failedAway),
  Object.entries(arrival.failures)
    .map(([code, count]) => `${count} ${code}`)
    .join(', ') || 'none',
]

const reportOf = (figures: Figures): Report => {
  const { connect, before, after, afterIdle, doubled, idleCpu, restarts } = figures
  const each = (key: keyof Memory, later: Memory, earlier = before): number =>
    (later[key] - earlier[key]) / AGENTS / 1000
  const [first] = restarts
  return {
    tables: [
      {
        title: `${AGENTS} idle agents`,
        heading: [
          'what',
          'seconds until all are connected',
          'most in one second',
          'gateway CPU s',
          'failed attempts while it was away',
          'and after',
        ],
        rows: [
          arrivalRow('all connect at once', connect),
          ...restarts.map(({ outageMs, arrival }) =>
            arrivalRow(
              `gateway killed, started again ${outageMs === 0 ? 'at once' : `after ${outageMs / 1000} s`}`,
              arrival,
            ),
          ),
        ],
      },
      {
        title: 'Memory of the gateway',
        heading: ['when', 'resident MB', 'anonymous MB', 'KB more for each agent'],
        rows: [
          ['before', ...memoryCells(before), ''],
          ['all connected', ...memoryCells(after), each('rss', after).toFixed(1)],
          ['and idle for a while', ...memoryCells(afterIdle), each('rss', afterIdle).toFixed(1)],
          [`${AGENTS} more`, ...memoryCells(doubled), each('rss', doubled, afterIdle).toFixed(1)],
        ],
      },
    ],
    goals: [
      judge(`${AGENTS} agents connect`, connect.seconds, { atMost: 30 }, 's'),
      judge('memory of the gateway for each idle agent', each('rss', after), { atMost: 40 }, 'KB'),
      judge(`memory of the gateway for each of ${AGENTS} agents more`, each('rss', doubled, afterIdle), null, 'KB'),
      judge(`CPU of the gateway with ${AGENTS} idle agents, of one core`, 100 * idleCpu, null, '%'),
      ...(first === undefined
        ? []
        : [
            judge(
              'all back after the gateway was killed and started again',
              first.arrival.seconds,
              { atMost: 30 },
              's',
            ),
          ]),
    ],
    notes: [
      `Idle agents: ${AGENTS} of one tenant, each with its own key, in ${PROCESSES} processes on the same machine, over the agent’s own link (backoff included); each declares one machine. ` +
        `${WARM_UP_AGENTS} others connected before the first look at memory. Memory is read ${SETTLE_MS / 1000} s after the last one connected; ` +
        `heap that the burst of handshakes left free is in the first figure, but hardly in that of the ${AGENTS} who came later. ` +
        'Seconds count to the answer of the last inventory; after a restart from the moment that the gateway accepts connections. The crowd’s own CPU time is taken from the same cores.',
    ],
    details: figures,
  }
}

/** The gateway's memory with as many agents again, who go away afterwards. */
const doubledMemory = async (context: ScenarioContext, site: Site, folder: string): Promise<Memory> => {
  await using resources = new AsyncDisposableStack()
  const crowds = Array.from({ length: PROCESSES }, () => resources.use(new Crowd()))
  const more = new Idle(context, site, crowds)
  await more.enrol(folder, AGENTS)
  await more.connect(AGENTS)
  await sleep(SETTLE_MS, undefined, { signal: context.signal })
  return memoryOf(site.gateway.pid)
}

export const idleAgents = async (context: ScenarioContext): Promise<Report> => {
  const { quick, signal, say } = context
  const folder = path.join(context.folder, 'idle')
  await using site = await Site.start(folder)
  return await site.explained(signal, async () => {
    await using resources = new AsyncDisposableStack()
    const crowdOf = (processes: number): Idle =>
      new Idle(
        context,
        site,
        Array.from({ length: processes }, () => resources.use(new Crowd())),
      )
    const early = crowdOf(1)
    await early.enrol(folder, WARM_UP_AGENTS)
    await early.connect(WARM_UP_AGENTS)
    const idle = crowdOf(PROCESSES)
    await idle.enrol(folder, AGENTS)
    await sleep(SETTLE_MS, undefined, { signal })
    const before = await memoryOf(site.gateway.pid)
    const connect = await idle.connect(AGENTS)
    say(`${connect.seconds.toFixed(2).padStart(7)} s  ${AGENTS} agents connect`)
    await sleep(SETTLE_MS, undefined, { signal })
    const after = await memoryOf(site.gateway.pid)
    const idleCpu = await idle.idleCpu(quick ? QUICK_IDLE_MS : IDLE_MS)
    const afterIdle = await memoryOf(site.gateway.pid)
    const doubled = await doubledMemory(context, site, folder)
    const restarts: Figures['restarts'][number][] = []
    for (const outageMs of quick ? OUTAGES_MS.slice(0, 1) : OUTAGES_MS) {
      const arrival = await idle.restart(AGENTS, outageMs)
      say(`${arrival.seconds.toFixed(2).padStart(7)} s  all back after an outage of ${outageMs / 1000} s`)
      restarts.push({ outageMs, arrival })
    }
    return reportOf({ connect, before, after, afterIdle, doubled, idleCpu, restarts })
  })
}
