// When the machines of a plan start within some days, summed up in steps: exact to the minute, bounded in work. Pure.
import type { Plan } from '../../protocol/plans.ts'
import type { PlanTimeline } from '../../protocol/timeline.ts'
import { nextRun } from './next-run.ts'
import { isOpen, lastOpen, nextOpen } from './window.ts'

const MINUTE_MS = 60_000

/** A window repeats with the week, so a slot waits no longer than that for its opening. */
const WEEK_MS = 7 * 24 * 60 * MINUTE_MS

/** What finding a slot costs of the work, next to adding up one group of machines at it. */
const SLOT_WORK = 50

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
}

const groupsOf = (machines: readonly TimedMachine[]): Group[] => {
  const groups = new Map<string, Group>()
  for (const { jitterMs, fromMs } of machines) {
    const minutes = Math.floor(jitterMs / MINUTE_MS)
    const key = `${minutes} ${fromMs}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { minutes, fromMs, count: 1, lastMinute: -1 })
    else group.count++
  }
  return [...groups.values()]
}

/** From when on slots may have a start within the time: those before a closed window opens wait for it. */
const slotsFrom = ({ plan: { window, timeZone, jitterMs }, fromMs }: TimelineAsked): number => {
  if (isOpen(window, timeZone, fromMs)) return fromMs - jitterMs
  const open = lastOpen(window, timeZone, { fromMs: fromMs - WEEK_MS, beforeMs: fromMs })
  return (open?.closesMs ?? fromMs - WEEK_MS) - jitterMs
}

/** The starts of machines in steps from `fromMs` on; those whose plan has no schedule have none. */
export const timelineOf = (asked: TimelineAsked): Timeline => {
  const { plan, machines, fromMs, untilMs, stepMs, workMax } = asked
  const { schedule, timeZone, window } = plan
  const groups = groupsOf(machines)
  const steps = new Map<number, number>()
  const opens = new Map<number, number>()
  const openMinute = (minute: number): number => {
    if (window === null) return minute
    const known = opens.get(minute)
    if (known !== undefined) return known
    const found = Math.floor(nextOpen(window, timeZone, minute * MINUTE_MS) / MINUTE_MS)
    opens.set(minute, found)
    return found
  }
  let work = 0
  let toldMs = untilMs
  let slotMs = schedule === null || groups.length === 0 ? null : nextRun(schedule, timeZone, slotsFrom(asked) - 1)
  for (; slotMs !== null && slotMs < untilMs; slotMs = nextRun(schedule!, timeZone, slotMs)) {
    work += groups.length + SLOT_WORK
    if (work > workMax) {
      toldMs = Math.max(fromMs, Math.min(untilMs, slotMs))
      break
    }
    const slotMinute = Math.floor(slotMs / MINUTE_MS)
    for (const group of groups) {
      const minute = openMinute(slotMinute + group.minutes)
      if (minute === group.lastMinute) continue
      group.lastMinute = minute
      const startMs = minute * MINUTE_MS
      if (startMs < fromMs || startMs < group.fromMs || startMs >= untilMs) continue
      const step = Math.floor((startMs - fromMs) / stepMs)
      steps.set(step, (steps.get(step) ?? 0) + group.count)
    }
  }
  const starts = [...steps]
    .map(([step, count]) => ({ atMs: fromMs + step * stepMs, machines: count }))
    .filter(({ atMs }) => atMs < toldMs)
    .sort((a, b) => a.atMs - b.atMs)
  return { starts, untilMs: toldMs, work }
}
