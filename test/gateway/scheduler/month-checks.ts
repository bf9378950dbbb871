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
  type Month,
  type SimMachine,
  type Stretch,
} from './month.ts'

/** A backup that begins at once needs so long without a break. */
const NEEDED_MS = DURATION_MS_MAX + 2 * WAKE_MS

/** And may wait so long for one of its host's places. */
const QUEUE_MS = 70 * MINUTE_MS

/** What one failure may cost: the backup that failed, the longest wait, and again a place. */
const FAILURE_MS = 2 * HOUR_MS

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
    const jobs = month.jobs.filter(({ run }) => run === row.id)
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

/** What a machine could have done, by when agents, gateways and windows let it. All times by the monotonic clock. */
export class Possible {
  readonly #month: Month
  readonly #machine: SimMachine
  readonly #barred: readonly Stretch[]
  /** Starts that failed. */
  readonly #failures: readonly number[]

  constructor(month: Month, machine: SimMachine) {
    this.#month = month
    this.#machine = machine
    this.#barred = [...month.down, ...month.away.get(machine.agent)!].toSorted((a, b) => a.fromMs - b.fromMs)
    this.#failures = [
      ...month.jobs
        .filter(({ machine: key, error }) => key === machine.key && error !== null)
        .map(({ startMs }) => startMs),
      ...month.refused.filter(({ machine: key }) => key === machine.key).map(({ atMs }) => atMs),
    ]
  }

  /** Whether the clock was set between two instants, or so near that it matters. */
  isStepped(fromMs: number, toMs: number): boolean {
    return this.#month.steps.some(({ atMs }) => atMs > fromMs - HOUR_MS && atMs < toMs + HOUR_MS)
  }

  failures(fromMs: number, toMs: number): number {
    return this.#failures.filter((ms) => ms >= fromMs && ms <= toMs).length
  }

  /** Whether a backup failed for a reason that does not pass: it is not tried again before the next slot. */
  hasLasting(fromMs: number, toMs: number): boolean {
    return this.#month.jobs.some(
      ({ machine, startMs, error }) =>
        machine === this.#machine.key &&
        startMs >= fromMs &&
        startMs <= toMs &&
        (LASTING as readonly string[]).includes(error ?? ''),
    )
  }

  /** The time of day at an instant of the monotonic clock. */
  nowAt(ms: number): number {
    return START_MS + ms + this.#month.steps.filter(({ atMs }) => atMs <= ms).reduce((sum, { byMs }) => sum + byMs, 0)
  }

  /** The first instant by which a backup that may begin from `fromMs` on can be done, if all that is drawn goes well. */
  doneBy(fromMs: number): number {
    const { window, timeZone } = this.#machine.plan
    for (let beginMs = fromMs; ; beginMs += WAKE_MS) {
      if (!isOpen(window, timeZone, this.nowAt(beginMs))) continue
      const inWay = this.#barred.find((one) => one.fromMs < beginMs + NEEDED_MS && one.toMs > beginMs)
      if (inWay === undefined) return beginMs + NEEDED_MS
      beginMs = Math.max(beginMs, inWay.toMs - WAKE_MS)
    }
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
  const points = month.jobs.filter(
    ({ machine: key, endMs, error }) => key === machine.key && endMs !== null && error === null,
  )
  for (const [index, next] of points.entries()) {
    const point = points[index - 1]
    if (index < LEARNT || point === undefined || possible.isStepped(point.startMs, next.endMs!)) continue
    const failures = possible.failures(point.startMs + 1, next.endMs!)
    if (failures > (window === null ? FAILURES_MAX : 0)) continue
    const targetMs = point.startMs + rpoMs
    // a target that a window cannot meet is met as soon as it opens; where it can, it is met before it closes
    const boundMs = Math.max(targetMs, possible.doneBy(targetMs - NEEDED_MS - QUEUE_MS))
    checked++
    if (next.endMs! <= boundMs) met++
    if (next.endMs! > boundMs + QUEUE_MS + failures * FAILURE_MS)
      problems.push(
        `${machine.name}: the point behind ${at(possible.nowAt(point.startMs))} came at ${at(possible.nowAt(next.endMs!))}, ` +
          `and was possible at ${at(possible.nowAt(boundMs))} (${failures} failures)`,
      )
  }
  return { problems, checked, met }
}

/** Each slot has its point as soon as it was possible, or before the next slot comes. */
export const slotFreshness = (month: Month, machine: SimMachine): Freshness => {
  const problems: string[] = []
  let [checked, met] = [0, 0]
  const possible = new Possible(month, machine)
  const points = month.jobs.filter(
    ({ machine: key, endMs, error }) => key === machine.key && endMs !== null && error === null,
  )
  const slots = slotsOf(machine, START_MS + HOUR_MS, month.clock.now() - 12 * HOUR_MS)
  for (const [index, slot] of slots.entries()) {
    const nextMs = slots[index + 1]
    // by the monotonic clock, as the steps so far put it
    const fromMs =
      slot - START_MS - month.steps.filter(({ nowMs }) => nowMs <= slot).reduce((sum, { byMs }) => sum + byMs, 0)
    const doneMs = possible.doneBy(fromMs)
    const failures = possible.failures(fromMs, doneMs + QUEUE_MS + FAILURE_MS)
    const boundMs = doneMs + QUEUE_MS + failures * FAILURE_MS
    if (possible.isStepped(fromMs - 36 * HOUR_MS, boundMs) || failures > FAILURES_MAX) continue
    if (possible.hasLasting(fromMs, boundMs)) continue
    if (nextMs !== undefined && fromMs + (nextMs - slot) <= boundMs) continue
    checked++
    const point = points.find(({ startMs, endMs }) => startMs >= fromMs - MINUTE_MS && endMs! <= boundMs)
    if (point === undefined)
      problems.push(
        `${machine.name} in ${machine.zone}: the slot ${at(slot)} has no point by ${at(possible.nowAt(boundMs))} (${failures} failures)`,
      )
    else if (point.endMs! <= doneMs) met++
  }
  return { problems, checked, met }
}
