// When plans start their machines within some days, summed up in steps; as it travels.
import * as v from 'valibot'
import { planName } from './plans.ts'
import { count, timeMs } from './schemas.ts'

/** Longest time that one answer tells of, in milliseconds: 62 days. */
export const TIMELINE_MS_MAX = 62 * 24 * 3_600_000

/** Shortest and longest step, in milliseconds: five minutes and a day. */
export const TIMELINE_STEP_MS_MIN = 300_000
export const TIMELINE_STEP_MS_MAX = 24 * 3_600_000

/** Steps with starts of one plan; a narrower step over a longer time is PARAMS_INVALID. */
export const TIMELINE_STEPS_MAX = 6000

/** Steps with starts of all plans of one page. */
export const TIMELINE_ROWS_MAX = 20_000

export const planTimeline = v.object({
  plan: planName,
  /** Machines that it covers, and those of them that are excluded now. */
  machines: count,
  excluded: count,
  /** What a backup of its machines usually takes: the median over those that have had some; null without any. */
  usualMs: v.nullable(count),
  /** Why no instants can be told, as for `plans.next`. */
  reason: v.nullable(v.string()),
  /** Steps in which machines start, by time; a machine that is started twice in one counts twice. */
  starts: v.pipe(v.array(v.object({ atMs: timeMs, machines: count })), v.maxLength(TIMELINE_STEPS_MAX)),
  /** As far as `starts` goes: earlier than asked for where the plan starts too often to tell all. */
  untilMs: timeMs,
})
export type PlanTimeline = v.InferOutput<typeof planTimeline>
