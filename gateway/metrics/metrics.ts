// What Prometheus reads: one question to the catalog's second thread a scrape, and at most one scrape's work in five seconds.
import { within } from '../../protocol/host/within.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { MachineState } from '../../protocol/coverage.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Figures } from '../catalog/figures.ts'
import type { Space } from '../datastore/space.ts'
import type { Instruments } from './instruments.ts'
import { machineLines, SHOWN_MACHINES_MAX, type MachineFigures } from './machine-lines.ts'
import { ProcessMeter } from './process.ts'

/** An answer is given again for so long, in milliseconds: several who scrape cost as much as one. */
export const ANSWER_LIFE_MS = 5000

/** How long the catalog may take; the answer goes without its figures then, in milliseconds. */
export const CATALOG_LIMIT_MS = 5000

/** How long a run's end may take to be written, in milliseconds; runs are counted that much later. */
const ENDED_LAG_MS = 5000

/** Agents that are shown, of those that are not revoked. */
const SHOWN_AGENTS_MAX = 20_000

/** What is known of the freshness of a machine. */
export interface WatchedFigures {
  readonly tenantName: string
  readonly machine: string
  readonly state: MachineState
  readonly rpoMs: number | null
  readonly deadlineMs: number | null
  readonly lastVerifiedMs: number | null
}

export interface MetricsOptions {
  readonly catalog: Pick<Catalog, 'figures'>
  readonly space: Pick<Space, 'room'>
  readonly sessions: { readonly count: number; online(agent: string): boolean }
  /** Machines as they were looked at last; none where nobody looks. */
  readonly watched: () => Iterable<WatchedFigures>
  readonly instruments: Instruments
  /** Counts what has happened until now. */
  readonly read: () => Promise<void>
  readonly clock: Clock
  readonly log: Log
}

const orNull = (ms: number): number | null => (Number.isNaN(ms) ? null : ms)

/** Machines of the catalog with what is known of their freshness, which may be a minute older. */
const machinesOf = ({ tenants, machines }: Figures, watched: Iterable<WatchedFigures>): MachineFigures[] => {
  const known = new Map<string, WatchedFigures>()
  for (const one of watched) known.set(`${one.tenantName} ${one.machine}`, one)
  return machines.names.map((machine, index) => {
    const { tenant } = tenants[machines.tenants[index]!]!
    const {
      state = null,
      rpoMs = null,
      deadlineMs = null,
      lastVerifiedMs = null,
    } = known.get(`${tenant} ${machine}`) ?? {}
    const lastPointMs = orNull(machines.pointMs[index]!)
    return { tenant, machine, lastPointMs, rpoMs, deadlineMs, verifiedMs: lastVerifiedMs, state }
  })
}

export class Metrics implements Disposable {
  readonly #options: MetricsOptions
  readonly #instruments: Instruments
  readonly #process: ProcessMeter
  #answer: Promise<string> | null = null
  /** Runs that ended until then are counted. */
  #endedMs: number
  #madeMs = Number.NEGATIVE_INFINITY

  constructor(options: MetricsOptions) {
    this.#options = options
    this.#instruments = options.instruments
    this.#endedMs = options.clock.now() - ENDED_LAG_MS
    this.#process = new ProcessMeter(this.#instruments.registry)
  }

  /** In OpenMetrics 1.0, not older than ANSWER_LIFE_MS. */
  text(): Promise<string> {
    const { clock } = this.#options
    if (this.#answer === null || clock.elapsed() - this.#madeMs >= ANSWER_LIFE_MS) {
      this.#madeMs = clock.elapsed()
      this.#answer = this.#make()
      // one that failed is not kept
      this.#answer.catch(() => (this.#answer = null))
    }
    return this.#answer
  }

  [Symbol.dispose](): void {
    this.#process[Symbol.dispose]()
  }

  async #make(): Promise<string> {
    const { sessions, space, read, watched } = this.#options
    const [figures, room] = await Promise.all([
      this.#figures(),
      space.room().catch(() => null),
      this.#process.look(),
      within(read(), CATALOG_LIMIT_MS),
    ])
    this.#instruments.set(figures, { sessions: sessions.count, room, online: (agent) => sessions.online(agent) })
    const ended = await this.#instruments.registry.metrics()
    const machines = figures === null ? '' : await machineLines(machinesOf(figures, watched()))
    // by its place: a text that is put in by `replace` could have a meaning there
    return `${ended.slice(0, ended.length - END.length)}${machines}${END}`
  }

  /** Null where the catalog does not answer in time. */
  async #figures(): Promise<Figures | null> {
    const { catalog, clock, log } = this.#options
    try {
      const untilMs = clock.now() - ENDED_LAG_MS
      // the time of day may have been set back
      const afterMs = Math.min(this.#endedMs, untilMs)
      const asked = { machinesMax: SHOWN_MACHINES_MAX, agentsMax: SHOWN_AGENTS_MAX, afterMs, untilMs }
      const figures = await within(catalog.figures.now(asked), CATALOG_LIMIT_MS)
      if (figures !== null) this.#endedMs = untilMs
      if (figures === null) log.warn({ limitMs: CATALOG_LIMIT_MS }, 'the catalog did not answer a scrape in time')
      return figures
    } catch (thrown) {
      log.warn({ err: thrown }, 'the catalog did not answer a scrape')
      return null
    }
  }
}

/** What ends a text in OpenMetrics. */
const END = '# EOF\n'
