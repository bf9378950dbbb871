// Watches the states of all machines: looks at them each minute and after their backups, and tells each change once.
import type { MachineState } from '../../protocol/coverage.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { ConditionChange } from '../catalog/events.ts'
import type { Events } from '../events/events.ts'
import type { MachineIn, MachineStates } from './machine-states.ts'
import { SEVERITY_OF } from './state.ts'

/** How often all machines are looked at, in milliseconds. */
export const LOOK_MS = 60_000

/** How long after an event its machine is looked at, with others of which something is told meanwhile, in milliseconds. */
export const SOON_MS = 2000

/** Events that are read at once; behind more of them all machines are looked at. */
const EVENTS_READ_MAX = 1000

/** A machine as monitoring sees it. */
export interface WatchedMachine {
  readonly tenantName: string
  readonly machine: string
  readonly state: MachineState
  readonly lastPointMs: number | null
  readonly deadlineMs: number | null
  readonly rpoMs: number | null
  readonly lastVerifiedMs: number | null
}

interface Tenant {
  readonly id: string
  readonly name: string
}

interface FreshnessOptions {
  readonly catalog: Pick<Catalog, 'conditions' | 'coverage' | 'events' | 'tenants'>
  readonly events: Pick<Events, 'conditions' | 'listen'>
  readonly states: Pick<MachineStates, 'all' | 'page'>
  readonly clock: Clock
  readonly log: Log
  /** How often it looks at all machines, and how long after events, in milliseconds; for tests. */
  readonly lookMs?: number
  readonly soonMs?: number
}

/** The key of a machine's condition. */
export const stateKey = (machine: string): string => `machine.state ${machine}`

/** What the state of a machine changes of what was told before, a state; null for nothing. */
const changeOf = (tenant: string, { row, is }: MachineIn, before: string | undefined): ConditionChange | null => {
  const { name: machine } = row
  const { state, reason, telling, sinceMs } = is
  if (telling === 'later') return null
  const text = `${machine} is ${state}: ${reason}`
  const about = {
    tenant,
    kind: 'machine.state',
    key: stateKey(machine),
    machine,
    text,
    data: { state, sinceMs },
  } as const
  if (state === 'fresh' || telling === 'quiet') return before === undefined ? null : { ...about, holds: false }
  return before === state ? null : { ...about, holds: true, severity: SEVERITY_OF[state], value: state }
}

/** The changes of these machines; `told` has the states that stand as told, by key. */
export const changesOf = (
  tenant: string,
  machines: readonly MachineIn[],
  told: ReadonlyMap<string, string>,
): ConditionChange[] =>
  machines.map((one) => changeOf(tenant, one, told.get(stateKey(one.row.name)))).filter((change) => change !== null)

export class Freshness implements AsyncDisposable {
  readonly #options: FreshnessOptions
  readonly #looks = new Queue()
  /** What stands as told, by tenant and key; null until it was read. */
  #told: Map<string, Map<string, string>> | null = null
  /** By tenant and machine. */
  readonly #watched = new Map<string, Map<string, WatchedMachine>>()
  /** Up to where events were read. */
  #seq: number | null = null
  #lookedMs = Number.NEGATIVE_INFINITY
  #stopTimer: (() => void) | null = null
  #stopSoon: (() => void) | null = null
  #unlisten: (() => void) | null = null
  #closed = false

  constructor(options: FreshnessOptions) {
    this.#options = options
  }

  /** Looks from now on; returns itself. */
  start(): this {
    this.#unlisten = this.#options.events.listen(() => this.#soon())
    this.#next(0)
    return this
  }

  /** All machines as they were seen last. */
  *watched(): Generator<WatchedMachine> {
    for (const machines of this.#watched.values()) yield* machines.values()
  }

  /** When all machines were looked at last, by the monotonic clock; null before that. */
  get lookedMs(): number | null {
    return Number.isFinite(this.#lookedMs) ? this.#lookedMs : null
  }

  /** Looks at all machines now; STORE_FAILED and others of the catalog. */
  async look(): Promise<void> {
    await this.#looks.run(() => this.#lookAll())
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    await this.#looks.idle()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#unlisten?.()
    this.#stopTimer?.()
    this.#stopSoon?.()
    await this.#looks.idle()
  }

  #next(ms: number): void {
    if (this.#closed) return
    this.#stopTimer = this.#options.clock.after(
      ms,
      () => void this.#guarded(() => this.look()).then(() => this.#next(this.#options.lookMs ?? LOOK_MS)),
    )
  }

  #soon(): void {
    if (this.#closed || this.#stopSoon !== null) return
    this.#stopSoon = this.#options.clock.after(this.#options.soonMs ?? SOON_MS, () => {
      this.#stopSoon = null
      void this.#guarded(() => this.#looks.run(() => this.#lookAtNews()))
    })
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (thrown) {
      if (!this.#closed) this.#options.log.error({ err: asVarveError(thrown) }, 'the states of machines cannot be told')
    }
  }

  async #lookAll(): Promise<void> {
    const { catalog, states, clock } = this.#options
    this.#seq ??= await catalog.events.last()
    for (const tenant of await catalog.tenants.list()) {
      const seen = new Map<string, WatchedMachine>()
      for await (const page of states.all(tenant.id)) {
        if (this.#closed) return
        for (const one of page) seen.set(one.row.name, watchedOf(tenant, one))
        await this.#tell(tenant, page)
      }
      this.#watched.set(tenant.id, seen)
    }
    this.#lookedMs = clock.elapsed()
  }

  /** Looks at the machines whose backups have ended since the last look. */
  async #lookAtNews(): Promise<void> {
    const { catalog, states } = this.#options
    if (this.#seq === null) return
    const events = await catalog.events.after({ seq: this.#seq, limit: EVENTS_READ_MAX })
    this.#seq = events.at(-1)?.seq ?? this.#seq
    if (events.length === EVENTS_READ_MAX) {
      this.#seq = await catalog.events.last()
      return await this.#lookAll()
    }
    const ended = events.filter(({ kind }) => kind === 'job.done' || kind === 'job.failed')
    const named = new Map(
      ended.map(({ tenant, tenantName, machine }) => [`${tenant} ${machine}`, { tenant, tenantName, machine }]),
    )
    for (const { tenant: id, tenantName, machine } of named.values()) {
      if (id === null || tenantName === null || machine === null || this.#closed) continue
      const tenant = { id, name: tenantName }
      const page = await states.page({ tenant: id, machine, group: null, after: null, limit: 1 })
      for (const one of page) this.#watched.get(id)?.set(machine, watchedOf(tenant, one))
      await this.#tell(tenant, page)
    }
  }

  async #tell({ id }: Tenant, machines: readonly MachineIn[]): Promise<void> {
    const told = await this.#toldOf(id)
    const changes = changesOf(id, machines, told)
    if (changes.length === 0) return
    await this.#options.events.conditions.apply(changes)
    for (const change of changes)
      if (change.holds) told.set(change.key, change.value)
      else told.delete(change.key)
  }

  /** What stands as told of a tenant; read once, as nobody else tells it. */
  async #toldOf(tenant: string): Promise<Map<string, string>> {
    if (this.#told === null) {
      const all = new Map<string, Map<string, string>>()
      for (const one of await this.#options.catalog.conditions.all({ kind: 'machine.state' }))
        if (one.tenant !== null)
          all.set(one.tenant, (all.get(one.tenant) ?? new Map<string, string>()).set(one.key, one.value))
      this.#told = all
    }
    const known = this.#told.get(tenant) ?? new Map<string, string>()
    this.#told.set(tenant, known)
    return known
  }
}

const watchedOf = (tenant: Tenant, { row, is }: MachineIn): WatchedMachine => ({
  tenantName: tenant.name,
  machine: row.name,
  state: is.state,
  lastPointMs: row.lastPoint?.timeMs ?? null,
  deadlineMs: is.deadlineMs,
  rpoMs: row.plan?.rpoMs ?? null,
  lastVerifiedMs: row.lastVerifiedMs,
})
