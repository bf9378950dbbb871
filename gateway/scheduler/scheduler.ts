// The loop over plans: looks at the world, plans the round, applies it, and sleeps until something is due or happens.
import { randomUUID } from 'node:crypto'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Audit } from '../auth/audit.ts'
import { SYSTEM } from '../auth/system.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { JobLimits } from '../catalog/jobs.ts'
import type { PlannedMachine } from '../catalog/runs.ts'
import { runpoint } from '../common/runpoint.ts'
import type { Events } from '../events/events.ts'
import type { Backups } from '../jobs/backups.ts'
import { DURATIONS_MAX, usualMs } from '../plans/deadline.ts'
import { HISTORY_MS, SLEEP_MS_MAX, TRIM_INTERVAL_MS, TRIM_ROWS, WAKE_MS } from './limits.ts'
import { Memo } from './pacing.ts'
import { planRound, type Round, type Start, type Starting } from './plan-round.ts'
import { HOLD_MS, isWait, retryAt } from './retry.ts'
import type { Planner, Work } from './work.ts'
import { planWorks, Works } from './works.ts'

/** A look costs at most this part of the time while much happens: the next one waits so many times as long as it took. */
const REST_FACTOR = 20

/** But not longer than this, in milliseconds. */
const REST_MS_MAX = 10_000

/** Looks in a row while each one finds something to do; then others have their turn. */
const PASSES_MAX = 5

/** How soon it looks again after a round that failed, in milliseconds. */
const FAILED_MS = 5000

/** New runs of one transaction, and machines whose durations are asked for at once. */
const BATCH = 1000

export interface SchedulerOptions {
  readonly catalog: Pick<Catalog, 'runs' | 'tenants' | 'machines'>
  readonly backups: Pick<Backups, 'start'>
  readonly agents: { online(agent: string): boolean }
  readonly events: Pick<Events, 'listen'>
  readonly audit: Pick<Audit, 'record'>
  readonly clock: Clock
  readonly log: Log
  readonly limits: JobLimits
  /** How long it sleeps at most, and how soon it looks after something happened, in milliseconds; SLEEP_MS_MAX and WAKE_MS. */
  readonly sleepMsMax?: number
  readonly wakeMs?: number
  readonly planners?: readonly Planner[]
  readonly works?: readonly Work[]
}

export class Scheduler implements AsyncDisposable {
  readonly #options: SchedulerOptions
  readonly #owner = randomUUID()
  readonly #memo = new Memo()
  readonly #works: Works
  readonly #starting = new Map<string, Starting & { readonly ended: Promise<void> }>()
  /** What backups of each machine usually take, with the point that it was computed at. */
  readonly #usual = new Map<string, { readonly pointMs: number | null; readonly ms: number }>()
  readonly #stopListening: () => void
  #stopTimer: () => void = () => {}
  #underWay: Promise<void> | null = null
  #woken = false
  #closed = false
  readonly #sleepMsMax: number
  readonly #wakeMs: number
  #restMs: number
  /** When it looks next, by the monotonic clock. */
  #looksMs = 0
  /** By the monotonic clock: an hour after the start for the first time. */
  #trimmedMs: number

  constructor(options: SchedulerOptions) {
    this.#options = options
    this.#sleepMsMax = options.sleepMsMax ?? SLEEP_MS_MAX
    this.#wakeMs = options.wakeMs ?? WAKE_MS
    this.#restMs = this.#wakeMs
    const { catalog, works = [], clock, log } = options
    this.#works = new Works({ catalog, works, clock, log, onEnd: () => this.wake() })
    this.#trimmedMs = clock.elapsed()
    this.#stopListening = options.events.listen(() => this.wake())
    this.#sleep(this.#wakeMs)
  }

  /** Makes it look soon: something has happened. */
  wake(): void {
    if (this.#underWay !== null) this.#woken = true
    // what happens again and again puts nothing off
    else if (this.#options.clock.elapsed() + this.#restMs < this.#looksMs) this.#sleep(this.#restMs)
  }

  /** Resolves when no round is under way, and no backup is being started. */
  async settled(): Promise<void> {
    while (this.#underWay !== null || this.#starting.size > 0)
      await Promise.all([this.#underWay, ...[...this.#starting.values()].map(({ ended }) => ended)])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#stopListening()
    this.#stopTimer()
    await this.settled()
    await this.#works[Symbol.asyncDispose]()
  }

  #sleep(ms: number): void {
    if (this.#closed) return
    const { clock } = this.#options
    this.#stopTimer()
    this.#looksMs = clock.elapsed() + ms
    this.#stopTimer = clock.after(ms, () => {
      this.#woken = false
      this.#underWay = this.#look()
    })
  }

  async #look(): Promise<void> {
    const sleepMs = await this.#rounds()
    this.#underWay = null
    this.#sleep(this.#woken ? this.#restMs : sleepMs)
  }

  /** Rounds until nothing is left to do now; how long it may sleep then, in milliseconds. */
  async #rounds(): Promise<number> {
    const { clock, log } = this.#options
    const fromMs = clock.elapsed()
    let sleepMs = this.#wakeMs
    try {
      await this.#trim()
      for (let pass = 0; pass < PASSES_MAX && !this.#closed; pass++) {
        const nextMs = await this.#round()
        if (nextMs === null) continue
        sleepMs = Math.max(this.#wakeMs, Math.min(nextMs - clock.now(), this.#sleepMsMax))
        break
      }
    } catch (thrown) {
      log.error({ err: asVarveError(thrown) }, 'a round of the scheduler failed; it tries again')
      sleepMs = FAILED_MS
    }
    this.#restMs = Math.max(this.#wakeMs, Math.min(REST_FACTOR * (clock.elapsed() - fromMs), REST_MS_MAX))
    return Math.max(sleepMs, this.#restMs)
  }

  /** One round; when something changes by itself, or null where the next look has to do more. */
  async #round(): Promise<number | null> {
    const { catalog, clock, agents, limits, planners = [] } = this.#options
    for (const planner of planners) {
      const runs = await planner.due(clock.now())
      if (runs.length > 0) await catalog.runs.plan({ runs })
    }
    // before the look: what is started meanwhile is seen in it, or is here
    const starting = [...this.#starting.values()]
    const world = await catalog.runs.world()
    await this.#learn(world.machines, new Map(world.tenants.map(({ id, plans }) => [id, plans])))
    const nowMs = clock.now()
    const usual = (machine: PlannedMachine): number => this.#usual.get(keyOf(machine))?.ms ?? 0
    const online = (agent: string): boolean => agents.online(agent)
    const round = planRound({ ...world, starting, online, usualMs: usual, limits }, nowMs, this.#memo)
    await this.#note(round)
    for (const start of round.starts) this.#start(start)
    const own = this.#works.own
    const works = planWorks(world.runs, { nowMs, own, kinds: this.#works.kinds, held: round.held })
    for (const end of works.ends) await catalog.runs.end(end)
    for (const run of works.claims) await this.#works.claim(run)
    const more = round.runs.length > 0 || round.ends.length > 0
    return more ? null : Math.min(round.nextMs, works.nextMs)
  }

  /** Keeps what a round has decided, before anything is started by it. */
  async #note({ runs, paces, ends }: Round): Promise<void> {
    const { catalog } = this.#options
    runpoint('run.plan')
    // the slots of a machine and until when they are planned go together
    const byMachine = new Map(paces.map((pace) => [`${pace.tenant} ${pace.machine}`, pace]))
    for (let from = 0; from < runs.length; from += BATCH) {
      const batch = runs.slice(from, from + BATCH)
      const own = new Set(batch.map(({ tenant, machine }) => `${tenant} ${machine}`))
      // one whose missed and due run lie in two batches is noted with the second one
      const next = runs[from + BATCH]
      if (next !== undefined) own.delete(`${next.tenant} ${next.machine}`)
      await catalog.runs.plan({ runs: batch, paces: [...own].flatMap((key) => byMachine.get(key) ?? []) })
      for (const key of own) byMachine.delete(key)
    }
    const rest = [...byMachine.values()]
    for (let from = 0; from < rest.length; from += BATCH)
      await catalog.runs.plan({ runs: [], paces: rest.slice(from, from + BATCH) })
    runpoint('run.planned')
    for (const end of ends) {
      runpoint('run.end', end.id)
      await catalog.runs.end(end)
      runpoint('run.ended', end.id)
    }
  }

  /** Learns what backups usually take of machines that have a new point and a plan by which that matters. */
  async #learn(machines: readonly PlannedMachine[], plans: ReadonlyMap<string, readonly unknown[]>): Promise<void> {
    const asked = new Map<string, PlannedMachine[]>()
    for (const machine of machines) {
      const { tenant, pointMs } = machine
      if (this.#usual.get(keyOf(machine))?.pointMs === pointMs || (plans.get(tenant)?.length ?? 0) === 0) continue
      if (pointMs === null) this.#usual.set(keyOf(machine), { pointMs, ms: 0 })
      else asked.set(tenant, [...(asked.get(tenant) ?? []), machine])
    }
    for (const [tenant, own] of asked)
      for (let from = 0; from < own.length; from += BATCH) {
        const batch = own.slice(from, from + BATCH)
        const names = batch.map(({ name }) => name)
        const found = await this.#options.catalog.runs.durations({ tenant, machines: names, limit: DURATIONS_MAX })
        for (const machine of batch)
          this.#usual.set(keyOf(machine), { pointMs: machine.pointMs, ms: usualMs(found[machine.name] ?? []) })
      }
  }

  /** Starts a backup beside the round: its agent may take its time. */
  #start(start: Start): void {
    const { log } = this.#options
    const ended = this.#started(start)
      .catch((thrown: unknown) =>
        log.error({ err: asVarveError(thrown), run: start.run }, 'a run could not be started'),
      )
      .finally(() => {
        this.#starting.delete(start.run)
        this.wake()
      })
    const { run, tenant, agent } = start
    this.#starting.set(run, { run, tenant, agent, ended })
  }

  async #started(start: Start): Promise<void> {
    const { catalog, backups, audit, clock, limits } = this.#options
    runpoint('run.start', start.run)
    try {
      const tenant = await catalog.tenants.byId({ id: start.tenant })
      if (tenant === null) return
      const machine = await catalog.machines.get({ tenant: start.tenant, name: start.machine })
      const run = { id: start.run, owner: this.#owner, limits }
      const { job } = await backups.start({
        tenant,
        machine,
        subject: SYSTEM.subject,
        full: false,
        compare: false,
        run,
      })
      runpoint('run.started', start.run)
      await audit.record({
        timeMs: clock.now(),
        tenant: start.tenant,
        ...SYSTEM,
        action: 'backup.start',
        resource: `machine=${start.machine}`,
        outcome: 'ok',
        details: { run: start.run, job },
      })
    } catch (thrown) {
      await this.#refused(start, asVarveError(thrown))
    }
  }

  /** A run that is still due after its start has failed: nobody took a job for it. One with a job is settled in a round. */
  async #refused({ run, attempts, nextSlotMs }: Start, { code, message }: VarveError): Promise<void> {
    const { catalog, clock } = this.#options
    const nowMs = clock.now()
    const end = { id: run, from: { state: 'due', attempts }, error: { code, message }, nowMs } as const
    if (isWait(code)) await catalog.runs.end({ ...end, state: 'due', nextMs: nowMs + HOLD_MS })
    else {
      const nextMs = retryAt({ code, attempts: attempts + 1, nowMs, nextSlotMs })
      const state = nextMs === null ? 'failed' : 'due'
      await catalog.runs.end({ ...end, state, nextMs, attempts: attempts + 1 })
    }
  }

  async #trim(): Promise<void> {
    const { catalog, clock } = this.#options
    if (clock.elapsed() - this.#trimmedMs < TRIM_INTERVAL_MS) return
    this.#trimmedMs = clock.elapsed()
    while ((await catalog.runs.trim({ beforeMs: clock.now() - HISTORY_MS, limit: TRIM_ROWS })) === TRIM_ROWS);
  }
}

const keyOf = ({ tenant, name }: PlannedMachine): string => `${tenant} ${name}`
