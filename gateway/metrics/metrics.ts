// What Prometheus reads: one question to the catalog's second thread a scrape, and at most one scrape's work in five seconds.
import { within } from '../../protocol/host/within.ts'
import type { Log } from '../../protocol/host/log.ts'
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

/** Agents that are shown, of those that are not revoked. */
const SHOWN_AGENTS_MAX = 20_000

export interface MetricsOptions {
  readonly catalog: Pick<Catalog, 'figures'>
  readonly space: Pick<Space, 'room'>
  readonly sessions: { readonly count: number; online(agent: string): boolean }
  readonly instruments: Instruments
  /** Counts what has happened until now. */
  readonly read: () => Promise<void>
  readonly clock: Clock
  readonly log: Log
}

const orNull = (ms: number): number | null => (Number.isNaN(ms) ? null : ms)

const machinesOf = ({ tenants, machines }: Figures): MachineFigures[] =>
  machines.names.map((machine, index) => ({
    tenant: tenants[machines.tenants[index]!]!.tenant,
    machine,
    lastPointMs: orNull(machines.pointMs[index]!),
    rpoMs: null,
    deadlineMs: null,
    verifiedMs: null,
    state: null,
  }))

export class Metrics implements Disposable {
  readonly #options: MetricsOptions
  readonly #instruments: Instruments
  readonly #process: ProcessMeter
  #answer: Promise<string> | null = null
  #madeMs = Number.NEGATIVE_INFINITY

  constructor(options: MetricsOptions) {
    this.#options = options
    this.#instruments = options.instruments
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
    const { sessions, space, read } = this.#options
    const [figures, room] = await Promise.all([
      this.#figures(),
      space.room().catch(() => null),
      this.#process.look(),
      within(read(), CATALOG_LIMIT_MS),
    ])
    this.#instruments.set(figures, { sessions: sessions.count, room, online: (agent) => sessions.online(agent) })
    const ended = await this.#instruments.registry.metrics()
    const machines = figures === null ? '' : await machineLines(machinesOf(figures))
    return ended.replace(END, `${machines}${END}`)
  }

  /** Null where the catalog does not answer in time. */
  async #figures(): Promise<Figures | null> {
    const { catalog, log } = this.#options
    try {
      const asked = { machinesMax: SHOWN_MACHINES_MAX, agentsMax: SHOWN_AGENTS_MAX }
      const figures = await within(catalog.figures.now(asked), CATALOG_LIMIT_MS)
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
