// One round of the scheduler as plain data: which runs are planned, ended, tried again and started. Pure: it reads no clock and
// changes nothing but what it remembers of instants that it computed before.
import { randomUUID } from 'node:crypto'
import type { Plan } from '../../protocol/plans.ts'
import type { SkipReason } from '../../protocol/runs.ts'
import type { JobLimits } from '../catalog/jobs.ts'
import type { MachinePace, NewRun, PlannedMachine, PlannedTenant, RunEnd, RunRow } from '../catalog/runs.ts'
import { deadlineOf, GRACE_MS } from '../plans/deadline.ts'
import { isOpen, nextOpen } from '../plans/window.ts'
import { retryAt, WAIT_MS_MAX } from './retry.ts'
import { AHEAD_MS_MAX, effectiveOf, paceOf, type Effective, type Memo } from './pacing.ts'
import { COUNTED_MAX, passedSlots } from './slots.ts'
import { targetDue } from './target.ts'

const MINUTE_MS = 60_000

/** A slot that is planned so much later than it came was missed, in milliseconds: the gateway did not run or could not. */
export const MISSED_MS = 10 * MINUTE_MS

/** Slack is compared in steps of so much, in milliseconds: within one, priority decides. */
const SLACK_STEP_MS = 15 * MINUTE_MS

/** A backup that is being started, and whose job is not there yet. */
export interface Starting {
  readonly run: string
  readonly tenant: string
  readonly agent: string
}

export interface World {
  readonly tenants: readonly PlannedTenant[]
  readonly machines: readonly PlannedMachine[]
  /** Runs that are not over, of every kind. */
  readonly runs: readonly RunRow[]
  readonly starting: readonly Starting[]
  readonly online: (agent: string) => boolean
  /** What backups of a machine usually take, in milliseconds. */
  readonly usualMs: (machine: PlannedMachine) => number
  readonly limits: JobLimits
}

/** A backup to be started. */
export interface Start extends Starting {
  readonly machine: string
  readonly attempts: number
  /** The slot behind it; null for none. */
  readonly nextSlotMs: number | null
}

export interface Round {
  readonly paces: readonly MachinePace[]
  readonly runs: readonly NewRun[]
  readonly ends: readonly RunEnd[]
  /** In the order in which they are to be started. */
  readonly starts: readonly Start[]
  /** Backups are due that the limit of the gateway holds back. */
  readonly held: boolean
  /** When something changes by itself; Infinity for never. */
  readonly nextMs: number
}

/** What is known of a machine in a round. */
interface Standing {
  readonly machine: PlannedMachine
  readonly effective: Effective
  readonly offsetMs: number
  /** The newest point; null for none, and where a clock that was ahead has dated it. */
  readonly pointMs: number | null
  readonly sinceMs: number
  /** The slot behind an instant, for a plan with a schedule. */
  readonly slotAfter: (ms: number) => number | null
}

class RoundPlanner {
  readonly #world: World
  readonly #nowMs: number
  readonly #memo: Memo
  readonly #paces: MachinePace[] = []
  readonly #runs: NewRun[] = []
  readonly #ends: RunEnd[] = []
  readonly #candidates: (Start & { readonly slack: number; readonly priority: number; readonly dueMs: number })[] = []
  #nextMs = Number.POSITIVE_INFINITY

  constructor(world: World, nowMs: number, memo: Memo) {
    this.#world = world
    this.#nowMs = nowMs
    this.#memo = memo
  }

  plan(): Round {
    const open = new Map<string, RunRow[]>()
    for (const run of this.#world.runs)
      if (run.kind === 'backup' && run.by === null && run.tenant !== null) {
        const key = `${run.tenant} ${run.machine ?? ''}`
        const runs = open.get(key)
        if (runs === undefined) open.set(key, [run])
        else runs.push(run)
      }
    const coverings = new Map(this.#world.tenants.map(({ id, plans }) => [id, this.#memo.covering(plans)]))
    for (const machine of this.#world.machines) {
      const key = `${machine.tenant} ${machine.name}`
      const covering = coverings.get(machine.tenant)
      // a tenant that came since its machines were read is seen in the next round
      if (covering !== undefined) this.#machine(machine, covering(machine), open.get(key) ?? [])
      open.delete(key)
    }
    for (const runs of open.values()) for (const run of runs) if (run.state === 'due') this.#skip(run, 'gone')
    const { starts, held } = this.#limited()
    return { paces: this.#paces, runs: this.#runs, ends: this.#ends, starts, held, nextMs: this.#nextMs }
  }

  #machine(machine: PlannedMachine, plan: Plan | null, open: readonly RunRow[]): void {
    const effective = effectiveOf(machine, plan, this.#memo, this.#nowMs)
    const { excludedUntilMs } = machine
    if ('not' in effective && effective.not === 'excluded' && excludedUntilMs !== null) this.#wake(excludedUntilMs)
    const pace = paceOf(machine, effective, this.#nowMs)
    const standing = this.#standing(machine, effective, pace)
    for (const run of open) if (run.state === 'running') this.#settle(standing, run)
    const due = open.filter(({ state }) => state === 'due')
    const planned = pace === null || 'not' in effective ? null : this.#planned(standing, pace, open)
    this.#note(machine, pace, planned?.plannedMs ?? null)
    const newestMs = Math.max(planned?.dueMs ?? 0, ...due.map(({ dueMs }) => dueMs))
    for (const run of due)
      if (run.dueMs < newestMs) this.#skip(run, wasShut(plan, run.dueMs, newestMs) ? 'window' : 'superseded')
      else this.#due(standing, run)
  }

  /** Keeps a pace that is another one than before. */
  #note({ pace: before }: PlannedMachine, pace: MachinePace | null, plannedMs: number | null): void {
    if (pace === null) return
    const noted = { ...pace, plannedMs: plannedMs ?? pace.plannedMs }
    const same =
      before !== null &&
      before.plan === noted.plan &&
      before.timing === noted.timing &&
      before.sinceMs === noted.sinceMs &&
      before.plannedMs === noted.plannedMs
    if (!same) this.#paces.push(noted)
  }

  #standing(machine: PlannedMachine, effective: Effective, pace: MachinePace | null): Standing {
    const { plan } = effective
    const offsetMs = plan === null ? 0 : this.#memo.offsetMs(machine, plan)
    const slotAfter = (ms: number): number | null => {
      if (plan === null || plan.schedule === null) return null
      const slot = this.#memo.slots.after({ schedule: plan.schedule, timeZone: plan.timeZone }, ms - offsetMs)
      return slot === null ? null : slot + offsetMs
    }
    const pointMs = this.#past(machine.pointMs)
    return { machine, effective, offsetMs, pointMs, sinceMs: pace?.sinceMs ?? this.#nowMs, slotAfter }
  }

  /** What happened under a clock that was ahead is as if unknown: else nothing would be due until this one is there too. */
  #past(ms: number | null): number | null {
    return ms === null || ms > this.#nowMs + AHEAD_MS_MAX ? null : Math.min(ms, this.#nowMs)
  }

  #wake(atMs: number): void {
    if (atMs > this.#nowMs) this.#nextMs = Math.min(this.#nextMs, atMs)
  }

  #add(standing: Standing, dueMs: number, skipped: SkipReason | null, summary = ''): void {
    const { tenant, name } = standing.machine
    const plan = standing.effective.plan?.name ?? null
    this.#runs.push({ id: randomUUID(), tenant, kind: 'backup', machine: name, plan, dueMs, skipped, summary })
  }

  /** Plans what has come due; says until when slots are planned, and when the newest due run is due. */
  #planned(
    standing: Standing,
    pace: MachinePace,
    open: readonly RunRow[],
  ): { readonly plannedMs: number | null; readonly dueMs: number | null } {
    const { plan } = standing.effective
    if (plan === null || plan.schedule === null) return { plannedMs: null, dueMs: this.#target(standing, open) }
    const passed = passedSlots(standing.slotAfter, { fromMs: pace.plannedMs, toMs: this.#nowMs })
    if (passed === null) {
      this.#wake(standing.slotAfter(this.#nowMs) ?? Number.POSITIVE_INFINITY)
      return { plannedMs: null, dueMs: null }
    }
    const { newestMs, beforeMs, count } = passed
    const nextMs = standing.slotAfter(newestMs)
    this.#wake(nextMs ?? Number.POSITIVE_INFINITY)
    if (beforeMs !== null) {
      const number =
        count > COUNTED_MAX - 1 ? `${COUNTED_MAX - 1} runs or more` : count === 2 ? '1 run' : `${count - 1} runs`
      const since = new Date(standing.slotAfter(pace.plannedMs)!).toISOString()
      this.#add(standing, beforeMs, 'missed', `${number} from ${since} on could not be started in time`)
    }
    const needed = this.#nowMs - newestMs <= MISSED_MS || this.#needed(standing, newestMs, nextMs)
    this.#add(
      standing,
      newestMs,
      needed ? null : 'fresh',
      needed ? '' : 'it came while nothing ran, and the target is met',
    )
    return { plannedMs: newestMs, dueMs: needed ? newestMs : null }
  }

  /** Whether a slot that was missed is needed: without it the machine would not be fresh until the next one is done. */
  #needed({ effective, pointMs, machine }: Standing, slotMs: number, nextMs: number | null): boolean {
    if (pointMs === null) return true
    if (pointMs >= slotMs) return false
    const rpoMs = effective.plan?.rpoMs ?? null
    return rpoMs === null || nextMs === null || pointMs + rpoMs < nextMs + this.#world.usualMs(machine)
  }

  /** Plans the run of a freshness target once it is due; gives when that is, if it is planned. */
  #target(standing: Standing, open: readonly RunRow[]): number | null {
    const { machine, effective, pointMs, sinceMs, offsetMs } = standing
    const { plan } = effective
    if (plan === null || plan.rpoMs === null || open.length > 0 || machine.job !== null) return null
    const { rpoMs, window, timeZone } = plan
    const { lastDueMs } = machine
    const lastEndedMs = this.#past(machine.lastEndedMs)
    const usualMs = this.#world.usualMs(machine)
    const target = { rpoMs, window, timeZone, lastPointMs: pointMs, sinceMs, usualMs, offsetMs, lastDueMs, lastEndedMs }
    const dueMs = Math.round(targetDue(target))
    if (dueMs > this.#nowMs) {
      this.#wake(dueMs)
      return null
    }
    // a slot that there was already, as its clock was ahead, is no second one
    this.#add(standing, lastDueMs === null || dueMs > lastDueMs ? dueMs : this.#nowMs, null)
    return dueMs
  }

  #end(run: RunRow, end: Omit<RunEnd, 'id' | 'from' | 'nowMs'>): void {
    const from = run.state === 'due' ? ({ state: 'due', attempts: run.attempts } as const) : fromJob(run)
    this.#ends.push({ id: run.id, from, nowMs: this.#nowMs, ...end })
  }

  #skip(run: RunRow, skipped: SkipReason): void {
    this.#end(run, { state: 'skipped', skipped, error: run.error })
  }

  /** A planned run whose job has failed is tried again, or has failed. */
  #settle({ slotAfter }: Standing, run: RunRow): void {
    if (run.jobState === 'running' || run.jobState === 'committed') return
    const lost = { code: 'LEASE_LOST', message: 'the gateway does not know the backup any more' }
    const error = run.jobError ?? lost
    const nextSlotMs = slotAfter(run.dueMs)
    const nextMs = retryAt({ code: error.code, attempts: run.attempts, nowMs: this.#nowMs, nextSlotMs })
    if (nextMs === null) this.#end(run, { state: 'failed', error })
    else this.#end(run, { state: 'due', error, nextMs })
  }

  /** A due run: it has lost its reason, waits, or may start. */
  #due(standing: Standing, run: RunRow): void {
    const { machine, effective, pointMs, slotAfter } = standing
    const { plan } = effective
    if ('not' in effective) return this.#skip(run, effective.not)
    if (plan === null || run.plan !== plan.name) return this.#skip(run, 'moved')
    if (pointMs !== null && pointMs >= run.dueMs) return this.#skip(run, 'fresh')
    if (run.nextMs !== null && run.nextMs > this.#nowMs && run.nextMs <= this.#nowMs + WAIT_MS_MAX)
      return this.#wake(run.nextMs)
    const nextSlotMs = slotAfter(Math.max(run.dueMs, this.#nowMs))
    if (!isOpen(plan.window, plan.timeZone, this.#nowMs)) return this.#closed(run, plan, nextSlotMs)
    if (machine.job !== null || !this.#world.online(machine.agent)) return
    if (this.#world.starting.some((starting) => starting.run === run.id)) return
    this.#candidates.push(this.#candidate(standing, run, plan, nextSlotMs))
  }

  #closed(run: RunRow, plan: Plan, nextSlotMs: number | null): void {
    const opensMs = nextOpen(plan.window, plan.timeZone, this.#nowMs)
    const wasOpen = nextOpen(plan.window, plan.timeZone, run.dueMs) < this.#nowMs
    // the next run comes as soon as this one could
    if (wasOpen && nextSlotMs !== null && nextSlotMs - opensMs < GRACE_MS) this.#skip(run, 'window')
    else this.#wake(opensMs)
  }

  #candidate(standing: Standing, run: RunRow, plan: Plan, nextSlotMs: number | null) {
    const { machine, pointMs, sinceMs, offsetMs } = standing
    const usualMs = this.#world.usualMs(machine)
    const deadlineMs = deadlineOf(plan, { lastPointMs: pointMs, sinceMs, jitterMs: offsetMs, usualMs })
    const slackMs = (deadlineMs ?? run.dueMs) - usualMs - this.#nowMs
    return {
      run: run.id,
      tenant: machine.tenant,
      machine: machine.name,
      agent: machine.agent,
      attempts: run.attempts,
      nextSlotMs,
      slack: Math.floor(slackMs / SLACK_STEP_MS),
      priority: plan.priority,
      dueMs: run.dueMs,
    }
  }

  /**
   * Those that may start now by the limits, the most urgent ones first. Beyond its share of the gateway's places a tenant gets
   * only what no other one can use: whoever is always late keeps nobody else from backups.
   */
  #limited(): Pick<Round, 'starts' | 'held'> {
    const { limits, machines, starting } = this.#world
    const hosts = new Map<string, number>()
    const tenants = new Map<string, number>()
    let all = 0
    const count = (agent: string, tenant: string): void => {
      hosts.set(agent, (hosts.get(agent) ?? 0) + 1)
      tenants.set(tenant, (tenants.get(tenant) ?? 0) + 1)
      all++
    }
    for (const { job, jobAgent, agent, tenant } of machines) if (job !== null) count(jobAgent ?? agent, tenant)
    const begun = new Set(this.#world.runs.filter(({ state }) => state === 'running').map(({ id }) => id))
    for (const { run, agent, tenant } of starting) if (!begun.has(run)) count(agent, tenant)
    this.#candidates.sort(
      (a, b) => a.slack - b.slack || b.priority - a.priority || a.dueMs - b.dueMs || (a.run < b.run ? -1 : 1),
    )
    const starts: Start[] = []
    let held = false
    const asking = new Set([...tenants.keys(), ...this.#candidates.map(({ tenant }) => tenant)]).size
    const share = Math.max(1, Math.floor(limits.perGateway / Math.max(1, asking)))
    const started = new Set<string>()
    for (const perTenant of [Math.min(share, limits.perTenant), limits.perTenant])
      for (const { slack: _, priority: __, dueMs: ___, ...start } of this.#candidates) {
        if (started.has(start.run)) continue
        if (all >= limits.perGateway) held = true
        else if ((hosts.get(start.agent) ?? 0) < limits.perHost && (tenants.get(start.tenant) ?? 0) < perTenant) {
          count(start.agent, start.tenant)
          started.add(start.run)
          starts.push(start)
        }
      }
    return { starts, held }
  }
}

/** Whether a plan's window was shut from one instant to another: a run that was due then could not start. */
const wasShut = (plan: Plan | null, fromMs: number, toMs: number): boolean =>
  plan !== null && !isOpen(plan.window, plan.timeZone, fromMs) && nextOpen(plan.window, plan.timeZone, fromMs) >= toMs

const fromJob = ({ job, owner }: RunRow): RunEnd['from'] =>
  job === null ? { state: 'running', owner: owner ?? '' } : { state: 'running', job }

/** What is to be done at an instant, as the world is. */
export const planRound = (world: World, nowMs: number, memo: Memo): Round => new RoundPlanner(world, nowMs, memo).plan()
