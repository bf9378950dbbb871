// When the machines of a plan start within some days, summed up in steps: exact to the minute, bounded in work. Pure.
import type { Plan } from '../../protocol/plans.ts'
import type { PlanTimeline } from '../../protocol/timeline.ts'
import { isInSteps, nextRun } from './next-run.ts'
import { closesAt, isOpen, lastOpen, nextOpen } from './window.ts'

const MINUTE_MS = 60_000

/** A window repeats with the week, so a slot waits no longer than that for its opening. */
const DAY_MS = 24 * 60 * MINUTE_MS
const WEEK_MS = 7 * DAY_MS

/** What finding a slot costs of the work: by the clock of a zone much more than in steps of real time. */
const SLOT_WORK = 7000
const STEP_WORK = 100

/** What looking for one opening and closing of a window costs. */
const STRETCH_WORK = 26_000

/** A machine of the plan: how far behind its slots it starts, and from when on (0, or the end of its exclusion). */
export interface TimedMachine {
  readonly jitterMs: number
  readonly fromMs: number
}

export interface TimelineAsked {
  readonly plan: Pick<Plan, 'schedule' | 'timeZone' | 'window' | 'jitterMs'>
  readonly machines: readonly TimedMachine[]
  readonly fromMs: number
  readonly untilMs: number
  readonly stepMs: number
  /** How much may be done for this plan; about 10 ns each. */
  readonly workMax: number
}

export interface Timeline extends Pick<PlanTimeline, 'starts' | 'untilMs'> {
  readonly work: number
}

/** Machines that start at the same minute behind each slot. */
interface Group {
  readonly minutes: number
  readonly fromMs: number
  count: number
  /** Minute of its newest start: slots in a closed window become one start as it opens. */
  lastMinute: number
  /** Number of the opening of the window that its newest start is in. */
  stretch: number
}

const groupsOf = (machines: readonly TimedMachine[]): Group[] => {
  const groups = new Map<string, Group>()
  for (const { jitterMs, fromMs } of machines) {
    const minutes = Math.floor(jitterMs / MINUTE_MS)
    const key = `${minutes} ${fromMs}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { minutes, fromMs, count: 1, lastMinute: -1, stretch: 0 })
    else group.count++
  }
  return [...groups.values()]
}

/** When a window is open from an instant on: stretches in order, found as far as they are asked for. */
class Openings {
  readonly #plan: TimelineAsked['plan']
  readonly #stretches: { readonly opensMs: number; readonly closesMs: number }[] = []
  #untilMs: number
  work = 0

  constructor(plan: TimelineAsked['plan'], fromMs: number) {
    this.#plan = plan
    this.#untilMs = fromMs
  }

  /** Number of the first stretch, from one that is known to be early enough on, that ends behind an instant. */
  behind(stretch: number, atMs: number): number {
    let found = stretch
    while (this.at(found).closesMs <= atMs) found++
    return found
  }

  at(stretch: number): { readonly opensMs: number; readonly closesMs: number } {
    const { window, timeZone } = this.#plan
    while (this.#stretches.length <= stretch) {
      this.work += STRETCH_WORK
      const opensMs = nextOpen(window, timeZone, this.#untilMs)
      this.#untilMs = closesAt(window, timeZone, opensMs) ?? Infinity
      this.#stretches.push({ opensMs, closesMs: this.#untilMs })
    }
    return this.#stretches[stretch]!
  }
}

/** From when on slots may have a start within the time: those before a closed window opens wait for it. */
const slotsFrom = ({ plan: { window, timeZone, jitterMs }, fromMs }: TimelineAsked): { ms: number; work: number } => {
  if (isOpen(window, timeZone, fromMs)) return { ms: fromMs - jitterMs, work: 0 }
  // most windows open each day
  for (const [days, backMs] of [DAY_MS, WEEK_MS].entries()) {
    const open = lastOpen(window, timeZone, { fromMs: fromMs - backMs, beforeMs: fromMs })
    if (open !== null) return { ms: open.closesMs - jitterMs, work: (open.looks + days) * STRETCH_WORK }
  }
  return { ms: fromMs - WEEK_MS - jitterMs, work: 2 * STRETCH_WORK }
}

/**
 * The starts of machines in steps from `fromMs` on; those whose plan has no schedule have none. It ends early where the work is
 * more than may be done, which is then passed by what one slot costs.
 */
export const timelineOf = (asked: TimelineAsked): Timeline => {
  const { plan, machines, fromMs, untilMs, stepMs, workMax } = asked
  const { schedule, timeZone, window } = plan
  const groups = groupsOf(machines)
  if (schedule === null || groups.length === 0) return { starts: [], untilMs, work: 0 }
  const steps = new Map<number, number>()
  const slotWork = groups.length + (isInSteps(schedule) ? STEP_WORK : SLOT_WORK)
  const first = slotsFrom(asked)
  let work = first.work
  let toldMs = untilMs
  let slotMs = nextRun(schedule, timeZone, first.ms - 1)
  const openings = window === null || slotMs === null ? null : new Openings(plan, slotMs - (slotMs % MINUTE_MS))
  const lastMs = Math.max(...groups.map(({ minutes }) => minutes)) * MINUTE_MS
  while (slotMs !== null && slotMs < untilMs) {
    work += slotWork
    if (work + (openings?.work ?? 0) > workMax) {
      toldMs = Math.max(fromMs, Math.min(untilMs, slotMs))
      break
    }
    const slotMinute = Math.floor(slotMs / MINUTE_MS)
    // until when slots only add to what waits for the same opening already
    let waitMs = Infinity
    for (const group of groups) {
      let minute = slotMinute + group.minutes
      if (openings !== null) {
        group.stretch = openings.behind(group.stretch, minute * MINUTE_MS)
        const { opensMs } = openings.at(group.stretch)
        waitMs = Math.min(waitMs, opensMs)
        minute = Math.max(minute, Math.floor(opensMs / MINUTE_MS))
      }
      if (minute === group.lastMinute) continue
      group.lastMinute = minute
      const startMs = minute * MINUTE_MS
      if (startMs < fromMs || startMs < group.fromMs || startMs >= untilMs) continue
      const step = Math.floor((startMs - fromMs) / stepMs)
      steps.set(step, (steps.get(step) ?? 0) + group.count)
    }
    const afterMs = openings === null ? slotMs : Math.max(slotMs, waitMs - lastMs - MINUTE_MS)
    slotMs = nextRun(schedule, timeZone, afterMs)
  }
  const starts = [...steps]
    .map(([step, count]) => ({ atMs: fromMs + step * stepMs, machines: count }))
    .filter(({ atMs }) => atMs < toldMs)
    .sort((a, b) => a.atMs - b.atMs)
  return { starts, untilMs: toldMs, work: work + (openings?.work ?? 0) }
}
