// A simulated month: a real catalog and real schedulers, a clock that passes by itself, agents that come and go, backups that
// take their time and fail, and gateways that are killed. What happened is kept as facts, which checks of their own look at.
import { randomUUID } from 'node:crypto'
import type { ErrorCode } from '../../../protocol/errors.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import type { Log } from '../../../protocol/host/log.ts'
import { PLAN_RULES_DEFAULT, type Plan, type PlanRules } from '../../../protocol/plans.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { armRunpoints, RUNPOINTS } from '../../../gateway/common/runpoint.ts'
import { Events } from '../../../gateway/events/events.ts'
import type { Backups } from '../../../gateway/jobs/backups.ts'
import { LIMITS_DEFAULT } from '../../../gateway/scheduler/limits.ts'
import { Scheduler } from '../../../gateway/scheduler/scheduler.ts'
import type { Dice } from '../../support/model-dice.ts'
import { addAgent, addMachine, beginJob, finishDisk, fullDisk } from '../catalog.ts'
import { SimClock } from './sim-clock.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

/** The month has a change of the clock in each zone that has any: 10 March to 9 April 2027. */
export const START_MS = Date.UTC(2027, 2, 10)

const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'America/Santiago']
const HOSTS_PER_TENANT = 4
const MACHINES_PER_HOST = 10

/** What comes together is one look, so that a month takes seconds. */
export const WAKE_MS = 15 * MINUTE_MS

/** A backup takes so long at most. */
export const DURATION_MS_MAX = 40 * MINUTE_MS

/** What machines of each kind are called, and the rules of their plan. */
export const PLANS: Readonly<Record<string, Partial<PlanRules>>> = {
  often: { rpoMs: 6 * HOUR_MS },
  nights: { rpoMs: 24 * HOUR_MS, window: '22:00-06:00' },
  twice: { schedule: '0 */12 * * *', jitterMs: 30 * MINUTE_MS, priority: 70 },
  days: { schedule: 'every 1d', rpoMs: 36 * HOUR_MS, jitterMs: HOUR_MS },
  slow: { schedule: 'every 3d', jitterMs: 4 * HOUR_MS },
  nightly: { schedule: '30 2 * * *', jitterMs: 2 * HOUR_MS },
}

/** The kinds of a host's first machines, the first one on every second host; all others are nightly. */
const KINDS = ['often', 'nights', 'twice', 'days', 'slow', 'slow', 'slow', 'slow', 'slow']

/** Errors of backups, with how often they are drawn. */
const PASSING: readonly ErrorCode[] = ['QMP_TIMEOUT', 'CONNECTION_LOST', 'LEASE_LOST', 'STORE_FULL', 'NBD_ERROR']
export const LASTING: readonly ErrorCode[] = ['FULL_REFUSED', 'DISK_UNSUPPORTED']

export interface SimMachine {
  readonly key: string
  readonly tenant: Tenant
  readonly name: string
  readonly agent: string
  readonly zone: string
  readonly plan: Plan
}

/** A backup that was begun. Times are by the monotonic clock, but for `nowMs`, the time of day of its start. */
export interface JobFact {
  readonly machine: string
  readonly agent: string
  readonly tenant: string
  readonly run: string
  readonly startMs: number
  readonly nowMs: number
  endMs: number | null
  /** Null while it runs and where it was committed. */
  error: string | null
}

/** A stretch of time, by the monotonic clock. */
export interface Stretch {
  readonly fromMs: number
  toMs: number
}

/** One process of a gateway; once it is dead nothing of it reaches the catalog. */
interface Life {
  alive: boolean
  readonly scheduler: Scheduler
}

class Killed extends Error {}

const SILENT = { info() {}, warn() {}, error() {}, debug() {} } as unknown as Log

export class Month {
  readonly clock: SimClock
  readonly machines: SimMachine[] = []
  readonly jobs: JobFact[] = []
  /** Starts of machines that failed before they had a job. */
  readonly refused: { readonly machine: string; readonly atMs: number }[] = []
  /** When each agent was away. */
  readonly away = new Map<string, Stretch[]>()
  /** When no gateway ran. */
  readonly down: Stretch[] = []
  /** When the clock was set, and by how much. */
  readonly steps: { readonly atMs: number; readonly nowMs: number; readonly byMs: number }[] = []
  /** Limits that were passed, and other things that must not be, as sentences. */
  readonly wrong: string[] = []
  readonly kills = new Map<string, number>()
  readonly events: Events
  /** What else is to have come to rest before time passes. */
  readonly settling: (() => Promise<void>)[] = []
  readonly #catalog: Catalog
  readonly #dice: Dice
  readonly #running = new Map<string, JobFact>()
  readonly #pending = new Set<Promise<void>>()
  /** Jobs that their gateway died over before their agents had them. */
  readonly #unheard: { readonly job: string; readonly agent: string }[] = []
  readonly #jobsOf = new Map<string, JobFact[]>()
  #lives: Life[] = []
  #killAt: { readonly name: string; passes: number } | null = null

  constructor(catalog: Catalog, dice: Dice) {
    this.#catalog = catalog
    this.#dice = dice
    this.clock = new SimClock(START_MS)
    this.events = new Events({ catalog, clock: this.clock, log: SILENT })
  }

  get catalog(): Catalog {
    return this.#catalog
  }

  /** Its backups, in the order of their starts. */
  jobsOf({ key }: SimMachine): readonly JobFact[] {
    return this.#jobsOf.get(key) ?? []
  }

  /** Lives a whole month. */
  async live(days = 30): Promise<void> {
    await this.#populate()
    using _ = armRunpoints((name, subject) => this.#passed(name, subject))
    this.#open()
    this.#fates(days)
    await this.clock.run(days * DAY_MS, () => this.#idle())
    // what is left over is done by a gateway that lives
    if (this.#lives.length === 0) this.#open()
    this.#killAt = null
    await this.clock.run(days * DAY_MS + 3 * HOUR_MS, () => this.#idle())
    for (const stretch of [...this.down, ...[...this.away.values()].flat()])
      stretch.toMs = Math.min(stretch.toMs, days * DAY_MS)
    await this.#close()
    await this.events[Symbol.asyncDispose]()
  }

  isAway(agent: string): boolean {
    const atMs = this.clock.elapsed()
    return (this.away.get(agent) ?? []).some(({ fromMs, toMs }) => fromMs <= atMs && atMs < toMs)
  }

  async #populate(): Promise<void> {
    for (const [index, zone] of ZONES.entries()) {
      // jitter comes of it, and a seed has to repeat a month
      const id = `00000000-0000-4000-8000-${String(this.#dice.seed).padStart(11, '0')}${index}`
      const tenant = await this.#catalog.tenants.add({
        id,
        name: `tenant${index}`,
        idKey: new Uint8Array(32).fill(index),
        chunkBytes: 4096,
        nowMs: START_MS,
      })
      const plans = Object.entries(PLANS).map(([name, rules]): Plan => ({
        ...PLAN_RULES_DEFAULT,
        ...rules,
        name,
        timeZone: zone,
        covers: { ...PLAN_RULES_DEFAULT.covers, patterns: [`${name}-*`] },
      }))
      await this.#catalog.plans.apply({ tenant: id, plans })
      for (let host = 0; host < HOSTS_PER_TENANT; host++) {
        const agent = await addAgent(this.#catalog, tenant, `host${index}${host}`)
        this.away.set(agent, [])
        for (let number = 0; number < MACHINES_PER_HOST; number++) {
          const kind = (number === 0 && host % 2 === 0 ? undefined : KINDS[number]) ?? 'nightly'
          const name = `${kind}-${host}-${number}`
          await addMachine(this.#catalog, tenant, agent, name)
          const plan = plans.find((one) => one.name === kind)!
          this.machines.push({ key: `${id} ${name}`, tenant, name, agent, zone, plan })
        }
      }
    }
  }

  /** What befalls hosts, clocks and gateways, drawn beforehand. */
  #fates(days: number): void {
    const endMs = days * DAY_MS
    for (const stretches of this.away.values()) {
      for (let atMs = this.#dice.below(5 * DAY_MS); atMs < endMs;) {
        const lengthMs = this.#dice.chance(0.15) ? this.#dice.below(2 * DAY_MS) : this.#dice.below(2 * HOUR_MS)
        stretches.push({ fromMs: atMs, toMs: atMs + lengthMs })
        this.clock.after(atMs + lengthMs, () => this.events.wake())
        atMs += lengthMs + HOUR_MS + this.#dice.below(7 * DAY_MS)
      }
    }
    // never two together: what a step does must be told apart
    for (let day = 2; day < days - 1; day += 3) {
      const byMs = this.#dice.pick([20 * MINUTE_MS, 3 * HOUR_MS, -20 * MINUTE_MS, -2 * HOUR_MS, 30 * HOUR_MS])
      this.clock.after(day * DAY_MS + this.#dice.below(DAY_MS), () => this.#step(byMs))
    }
    for (let day = 1; day < days; day++)
      this.clock.after(day * DAY_MS + this.#dice.below(DAY_MS), () => {
        // a second gateway for a day, or the death of all that there are at one of their places
        if (this.#lives.length === 1 && this.#dice.chance(0.3)) this.#open()
        else this.#killAt = { name: this.#dice.pick(RUNPOINTS), passes: this.#dice.below(6) }
      })
    // a place that is not passed any more kills nobody: then it is power
    for (let day = 1; day < days; day += 4)
      this.clock.after(day * DAY_MS + this.#dice.below(DAY_MS), () => this.#kill('power'))
  }

  #step(byMs: number): void {
    this.steps.push({ atMs: this.clock.elapsed(), nowMs: this.clock.now(), byMs })
    this.clock.step(byMs)
  }

  #passed(name: string, subject: string): void {
    if (this.#lives.every(({ alive }) => !alive)) throw new Killed(`${name} ${subject}`)
    if (this.#killAt?.name !== name || this.#killAt.passes-- > 0) return
    this.#kill(name)
    throw new Killed(`${name} ${subject}`)
  }

  #kill(how: string): void {
    if (this.#lives.length === 0) return
    this.#killAt = null
    this.kills.set(how, (this.kills.get(how) ?? 0) + 1)
    const dead = this.#lives
    this.#lives = []
    for (const life of dead) life.alive = false
    const downMs = this.#dice.chance(0.2) ? this.#dice.below(30 * HOUR_MS) : this.#dice.below(30 * MINUTE_MS)
    this.down.push({ fromMs: this.clock.elapsed(), toMs: this.clock.elapsed() + downMs })
    this.#work(async () => {
      for (const { scheduler } of dead) await scheduler[Symbol.asyncDispose]()
    })
    this.clock.after(downMs, () => this.#open())
  }

  /** Agents come with a list of what they have: what is not in it has failed. */
  #reconcile(): void {
    for (const { job, agent } of this.#unheard.splice(0))
      this.#work(async () => {
        const failure = { code: 'LEASE_LOST', message: 'the agent came back without it', nowMs: this.clock.now() }
        await this.#catalog.jobs.fail({ job, agent, ...failure }).catch((thrown: unknown) => {
          if (asVarveError(thrown).code !== 'NOT_FOUND') throw thrown
        })
      })
  }

  #open(): void {
    this.#reconcile()
    const state = { alive: true }
    const guarded = guard(this.#catalog, state)
    const backups: Pick<Backups, 'start'> = { start: (asked) => this.#start(guarded, asked) }
    const scheduler = new Scheduler({
      catalog: guarded,
      backups,
      agents: { online: (agent) => !this.isAway(agent) },
      events: this.events,
      audit: { record: async () => {} },
      clock: this.clock,
      log: {
        ...SILENT,
        error: (of: { readonly err?: Error }, text: string) => {
          if (state.alive && !/killed/iu.test(String(of.err?.message))) this.wrong.push(`${text}: ${of.err?.message}`)
        },
      } as unknown as Log,
      limits: LIMITS_DEFAULT,
      sleepMsMax: HOUR_MS,
      wakeMs: WAKE_MS,
    })
    this.#lives.push(Object.assign(state, { scheduler }))
  }

  async #close(): Promise<void> {
    for (const { scheduler } of this.#lives) await scheduler[Symbol.asyncDispose]()
  }

  /** Waits until nothing is under way but the passing of time. */
  async #idle(): Promise<void> {
    for (;;) {
      await Promise.all(this.#pending)
      await Promise.all(this.#lives.map(({ scheduler }) => scheduler.settled()))
      await Promise.all(this.settling.map((settled) => settled()))
      if (this.#pending.size === 0) return
    }
  }

  #work(act: () => Promise<void>): void {
    const done: Promise<void> = act()
      .catch((thrown: unknown) => void this.wrong.push(asVarveError(thrown).message))
      .finally(() => void this.#pending.delete(done))
    this.#pending.add(done)
  }

  /** Stands for the real start: a job in the catalog, and an agent that ends it some time later. */
  async #start(
    catalog: Pick<Catalog, 'jobs'>,
    { tenant, machine, subject, run }: Parameters<Backups['start']>[0],
  ): Promise<{ job: string }> {
    const key = `${tenant.id} ${machine.name}`
    const atMs = this.clock.elapsed()
    if (this.isAway(machine.agent)) throw new VarveError('AGENT_OFFLINE', 'the agent is away')
    if (this.#dice.chance(0.01)) {
      this.refused.push({ machine: key, atMs })
      throw new VarveError('STORE_FULL', 'there is no room')
    }
    const job = randomUUID()
    const nowMs = this.clock.now()
    const asked = { id: job, tenant: tenant.id, machine: machine.name, agent: machine.agent, subject, nowMs }
    try {
      await catalog.jobs.start({ ...asked, full: true, compare: false, ...(run === undefined ? {} : { run }) })
    } catch (thrown) {
      // it may be there all the same, and its agent never hears of it
      if (thrown instanceof Killed) this.#unheard.push({ job, agent: machine.agent })
      throw thrown
    }
    const about = { machine: key, agent: machine.agent, tenant: tenant.id, run: run!.id, startMs: atMs, nowMs }
    const fact: JobFact = { ...about, endMs: null, error: null }
    this.jobs.push(fact)
    this.#jobsOf.set(key, [...(this.#jobsOf.get(key) ?? []), fact])
    this.#begun(job, fact)
    const lengthMs = 2 * MINUTE_MS + this.#dice.below(DURATION_MS_MAX - 2 * MINUTE_MS)
    const error = this.#dice.chance(0.06) ? this.#dice.pick(this.#dice.chance(0.8) ? PASSING : LASTING) : null
    this.clock.after(lengthMs, () => this.#ending(job, fact, tenant, error))
    return { job }
  }

  /** Looks whether all that runs may run. */
  #begun(job: string, fact: JobFact): void {
    const running = [...this.#running.values()]
    if (running.some(({ machine }) => machine === fact.machine))
      this.wrong.push(`two backups of ${fact.machine} at once`)
    this.#running.set(job, fact)
    const alike = (field: 'agent' | 'tenant'): number =>
      [...this.#running.values()].filter((one) => one[field] === fact[field]).length
    const [perHost, perTenant] = [alike('agent'), alike('tenant')]
    if (perHost > LIMITS_DEFAULT.perHost) this.wrong.push(`${perHost} backups on one host`)
    if (perTenant > LIMITS_DEFAULT.perTenant) this.wrong.push(`${perTenant} backups of one tenant`)
    if (this.#running.size > LIMITS_DEFAULT.perGateway) this.wrong.push(`${this.#running.size} backups at once`)
  }

  /** An agent ends a backup once there is a gateway to say it to, and it is there itself. */
  #ending(job: string, fact: JobFact, tenant: Tenant, error: string | null): void {
    if (this.#lives.length === 0) return void this.clock.after(WAKE_MS, () => this.#ending(job, fact, tenant, error))
    if (this.isAway(fact.agent))
      return void this.clock.after(WAKE_MS, () => this.#ending(job, fact, tenant, 'LEASE_LOST'))
    this.#work(async () => {
      const { agent } = fact
      const nowMs = this.clock.now()
      if (error === null) {
        await beginJob(this.#catalog, { id: job, agent }, [fullDisk('vda', 4096, 'requested')], { timeMs: fact.nowMs })
        await finishDisk(this.#catalog, { id: job, tenant }, 'vda')
        const manifest = new Uint8Array(32)
        await this.#catalog.jobs.commit({ job, agent, bytesRead: 1, nowMs, manifest, lockedUntilMs: null })
      } else await this.#catalog.jobs.fail({ job, agent, code: error, message: 'drawn', nowMs })
      fact.endMs = this.clock.elapsed()
      fact.error = error
      this.#running.delete(job)
      this.events.wake()
    })
  }
}

/** The catalog as long as its gateway lives: a dead one changes nothing any more. */
const guard = (catalog: Catalog, life: { readonly alive: boolean }): Catalog => {
  const guarded = (subject: object): object =>
    new Proxy(subject, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        return async (...args: unknown[]): Promise<unknown> => {
          if (!life.alive) throw new Killed('killed')
          const result: unknown = await Reflect.apply(method, target, args)
          // the change is made, and nobody learns of it
          if (!life.alive) throw new Killed('killed')
          return result
        }
      },
    })
  return new Proxy(catalog, { get: (target, name) => guarded(Reflect.get(target, name) as object) })
}
