// What a simulated month has to show, computed from its facts alone: nothing here asks the scheduler how it decides.
import type { RunRow } from '../../../gateway/catalog/runs.ts'
import { jitterMs } from '../../../gateway/plans/jitter.ts'
import { nextRun } from '../../../gateway/plans/next-run.ts'
import { isOpen } from '../../../gateway/plans/window.ts'
import {
  DURATION_MS_MAX,
  HOUR_MS,
  LASTING,
  MINUTE_MS,
  START_MS,
  WAKE_MS,
  type JobFact,
  type Month,
  type SimMachine,
  type Stretch,
} from './month.ts'

/** A backup that begins at once needs so long without a break. */
const NEEDED_MS = DURATION_MS_MAX + 2 * WAKE_MS

/** And may wait so long for one of its host's places; longer where all of the host wait, as something was in their way. */
const QUEUE_MS = 70 * MINUTE_MS
const QUEUE_BEHIND_MS = 7 * HOUR_MS

/** A target is met if nothing is in the way from so long before it on. */
const AHEAD_MS = NEEDED_MS + QUEUE_MS

/** The longest wait behind a failure, and what it takes to see it. */
const AGAIN_MS = 45 * MINUTE_MS

/** Failures in a row with which a bound is still computed. */
const FAILURES_MAX = 3

/** A machine learns what its backups usually take by its first ones. */
const LEARNT = 5

export const rowsOf = async (month: Month, { tenant, name }: SimMachine): Promise<RunRow[]> => {
  const rows: RunRow[] = []
  for (let after: { dueMs: number; id: string } | null = null; ;) {
    const asked = { tenant: tenant.id, machine: name, kind: null, state: null, after, limit: 500 }
    const page: RunRow[] = await month.catalog.runs.list(asked)
    rows.push(...page)
    const last = page.at(-1)
    if (page.length < 500 || last === undefined) return rows
    after = { dueMs: last.dueMs, id: last.id }
  }
}

const at = (ms: number): string => new Date(ms).toISOString()

/** Slots by schedule, zone and jitter, from an instant (not included) to another. */
const slotsOf = ({ plan, tenant, name }: SimMachine, fromMs: number, toMs: number): number[] => {
  const { schedule, timeZone, jitterMs: width } = plan
  if (schedule === null) return []
  const offset = jitterMs({ tenant: tenant.id, machine: name, plan: plan.name }, width)
  const slots: number[] = []
  for (let slot = nextRun(schedule, timeZone, fromMs - offset); slot !== null && slot + offset <= toMs;) {
    slots.push(slot + offset)
    slot = nextRun(schedule, timeZone, slot)
  }
  return slots
}

/** The stretch of slots that a row speaks for besides its own: those that were missed before it. */
const missedBy = ({ summary, dueMs, skipped }: RunRow): { fromMs: number; toMs: number } | null => {
  const from = /from (\S+Z) on/u.exec(summary)?.[1]
  return skipped !== 'missed' || from === undefined ? null : { fromMs: Date.parse(from), toMs: dueMs }
}

/** Each slot has a row or is spoken for, each row is a slot, and each that is over says how. */
export const slotProblems = (month: Month, machine: SimMachine, rows: readonly RunRow[]): string[] => {
  const problems: string[] = []
  const wrong = (what: string): void => void problems.push(`${machine.name} in ${machine.zone}: ${what}`)
  const own = month.jobsOf(machine)
  const byDue = new Map(rows.map((row) => [row.dueMs, row]))
  const slots = slotsOf(machine, START_MS + HOUR_MS, month.clock.now() - HOUR_MS)
  const missed = rows.flatMap((row) => missedBy(row) ?? [])
  for (const slot of slots)
    if (!byDue.has(slot) && !missed.some(({ fromMs, toMs }) => fromMs <= slot && slot <= toMs))
      wrong(`the slot ${at(slot)} is lost`)
  const known = new Set(slotsOf(machine, START_MS - HOUR_MS, Math.max(...byDue.keys(), 0)))
  const newest = rows[0]?.dueMs ?? 0
  for (const row of rows) {
    if (machine.plan.schedule !== null && !known.has(row.dueMs)) wrong(`a run of ${at(row.dueMs)}, which is no slot`)
    const about = `the run of ${at(row.dueMs)}, ${row.state}`
    const jobs = own.filter(({ run }) => run === row.id)
    const done = jobs.filter(({ endMs, error }) => endMs !== null && error === null)
    if (done.length > 1) wrong(`${about}, was done ${done.length} times`)
    if ((row.state === 'done') !== (done.length === 1)) wrong(`${about}, has ${done.length} restore points`)
    if (row.state === 'failed' && row.error === null) wrong(`${about}, says no reason`)
    if (row.state === 'skipped' && row.skipped === null) wrong(`${about}, says no reason`)
    if (row.attempts > 5) wrong(`${about}, was started ${row.attempts} times`)
    if (row.state === 'due' && row.dueMs !== newest) wrong(`${about}, is left behind`)
    // one whose job has just failed is settled in the next round
    const lastMs = month.clock.elapsed() - HOUR_MS
    if (row.state === 'running' && !jobs.some(({ endMs }) => endMs === null || endMs > lastMs))
      wrong(`${about}, runs nowhere`)
  }
  return problems
}

interface Point {
  readonly startMs: number
  readonly endMs: number
}

/** What a machine could have done, by when agents, gateways and windows let it. All times by the monotonic clock. */
export class Possible {
  readonly #month: Month
  readonly #machine: SimMachine
  readonly #barred: readonly Stretch[]
  readonly #jobs: readonly JobFact[]
  /** Starts that failed. */
  readonly #failures: readonly number[]

  constructor(month: Month, machine: SimMachine) {
    this.#month = month
    this.#machine = machine
    this.#barred = [...month.down, ...month.away.get(machine.agent)!].toSorted((a, b) => a.fromMs - b.fromMs)
    this.#jobs = month.jobsOf(machine)
    this.#failures = [
      ...this.#jobs.filter(({ error }) => error !== null).map(({ startMs }) => startMs),
      ...month.refused.filter(({ machine: key }) => key === machine.key).map(({ atMs }) => atMs),
    ]
  }

  /** Its backups that were committed, in order. */
  get points(): readonly Point[] {
    return this.#jobs.flatMap(({ startMs, endMs, error }) =>
      endMs === null || error !== null ? [] : [{ startMs, endMs }],
    )
  }

  /** Whether the clock was set between two instants, or so near that it matters. */
  isStepped(fromMs: number, toMs: number): boolean {
    return this.#month.steps.some(({ atMs }) => atMs > fromMs - HOUR_MS && atMs < toMs + HOUR_MS)
  }

  /** The same for an instant by the time of day. */
  isSteppedNear(nowMs: number): boolean {
    return this.#month.steps.some((step) => Math.abs(step.nowMs - nowMs) < 40 * HOUR_MS)
  }

  /** Whether something was in the way of all of the host for so long that they wait for its places together. */
  isCrowded(fromMs: number, toMs: number): boolean {
    return this.#barred.some((one) => one.toMs - one.fromMs > HOUR_MS && one.fromMs < toMs && one.toMs > fromMs)
  }

  failures(fromMs: number, toMs: number): number {
    return this.#failures.filter((ms) => ms >= fromMs && ms <= toMs).length
  }

  /** Whether a backup failed for a reason that does not pass: it is not tried again before the next slot. */
  hasLasting(fromMs: number, toMs: number): boolean {
    const lasting: readonly string[] = LASTING
    return this.#jobs.some(
      ({ startMs, error }) => startMs >= fromMs && startMs <= toMs && lasting.includes(error ?? ''),
    )
  }

  /** The time of day at an instant of the monotonic clock. */
  nowAt(ms: number): number {
    return START_MS + ms + this.#month.steps.filter(({ atMs }) => atMs <= ms).reduce((sum, { byMs }) => sum + byMs, 0)
  }

  /** The first instant by which a backup that may begin from `fromMs` on can be done, if all that is drawn goes well. */
  doneBy(fromMs: number, neededMs = NEEDED_MS): number {
    const { window, timeZone } = this.#machine.plan
    for (let beginMs = fromMs; ; beginMs += WAKE_MS) {
      if (!isOpen(window, timeZone, this.nowAt(beginMs))) continue
      const inWay = this.#barred.find((one) => one.fromMs < beginMs + neededMs && one.toMs > beginMs)
      if (inWay === undefined) return beginMs + neededMs
      beginMs = Math.max(beginMs, inWay.toMs - WAKE_MS)
    }
  }
}

/** When a point has to be there at the latest, with failures in between. */
const boundOf = (
  possible: Possible,
  fromMs: number,
  failures: number,
  neededMs = NEEDED_MS,
): { readonly bestMs: number; readonly lastMs: number } => {
  const bestMs = possible.doneBy(fromMs, neededMs)
  let lastMs = bestMs
  for (let failure = 0; failure < failures; failure++) lastMs = possible.doneBy(lastMs + AGAIN_MS)
  return {
    bestMs,
    lastMs: lastMs + (possible.isCrowded(fromMs - QUEUE_BEHIND_MS, lastMs) ? QUEUE_BEHIND_MS : QUEUE_MS),
  }
}

export interface Freshness {
  readonly problems: string[]
  /** Bounds that were computed and compared, and those among them that were met without any allowance. */
  readonly checked: number
  readonly met: number
}

/** Points follow each other as fast as the target says, or as it was possible. */
export const targetFreshness = (month: Month, machine: SimMachine): Freshness => {
  const { rpoMs, schedule, window } = machine.plan
  const problems: string[] = []
  let [checked, met] = [0, 0]
  if (rpoMs === null || schedule !== null) return { problems, checked, met }
  const possible = new Possible(month, machine)
  const { points } = possible
  for (const [index, next] of points.entries()) {
    const point = points[index - 1]
    if (index < LEARNT || point === undefined || possible.isStepped(point.startMs, next.endMs)) continue
    const failures = possible.failures(point.startMs + 1, next.endMs)
    if (failures > (window === null ? FAILURES_MAX : 0)) continue
    const targetMs = point.startMs + rpoMs
    const { bestMs, lastMs } = boundOf(possible, targetMs - AHEAD_MS, failures, AHEAD_MS)
    // a window may close while all of the host wait for its places
    if (window !== null && possible.isCrowded(point.startMs, lastMs)) continue
    checked++
    if (next.endMs <= Math.max(targetMs, bestMs)) met++
    // whoever has the least time left goes first, and still waits for one that is running
    if (next.endMs <= Math.max(targetMs, lastMs) + DURATION_MS_MAX + WAKE_MS) continue
    const [before, came, bound] = [point.startMs, next.endMs, lastMs].map((ms) => at(possible.nowAt(ms)))
    problems.push(`${machine.name}: behind ${before} a point came at ${came}, not by ${bound} (${failures} failures)`)
  }
  return { problems, checked, met }
}

/** Each slot has its point as soon as it was possible, or before the next slot comes. */
export const slotFreshness = (month: Month, machine: SimMachine): Freshness => {
  const problems: string[] = []
  let [checked, met] = [0, 0]
  const possible = new Possible(month, machine)
  const { points } = possible
  const slots = slotsOf(machine, START_MS + HOUR_MS, month.clock.now() - 12 * HOUR_MS)
  for (const [index, slot] of slots.entries()) {
    // by the monotonic clock, as the steps so far put it
    const stepped = month.steps.filter(({ nowMs }) => nowMs <= slot).reduce((sum, { byMs }) => sum + byMs, 0)
    const fromMs = slot - START_MS - stepped
    const failures = possible.failures(fromMs, possible.doneBy(fromMs) + QUEUE_BEHIND_MS)
    if (failures > FAILURES_MAX) continue
    const { bestMs, lastMs } = boundOf(possible, fromMs, failures)
    const nextMs = slots[index + 1]
    if (lastMs > month.clock.elapsed()) continue
    if (nextMs !== undefined && fromMs + (nextMs - slot) <= lastMs) continue
    if (possible.isSteppedNear(slot) || possible.isStepped(fromMs, lastMs) || possible.hasLasting(fromMs, lastMs))
      continue
    checked++
    // one that was missed is not made up for where the target is met without it
    const sinceMs = Math.min(fromMs - MINUTE_MS, lastMs - (machine.plan.rpoMs ?? 0))
    const point = points.find(({ startMs, endMs }) => startMs >= sinceMs && endMs <= lastMs)
    if (point === undefined)
      problems.push(
        `${machine.name} in ${machine.zone}: ${at(slot)} has no point by ${at(possible.nowAt(lastMs))} (${failures} failures)`,
      )
    else if (point.endMs <= bestMs) met++
  }
  return { problems, checked, met }
}
