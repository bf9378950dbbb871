// The methods about plans: which there are, what changes of them, and when they run next.
import * as v from 'valibot'
import { dryable, OWNER, PEOPLE, plain } from './method.ts'
import { plan, planChange, planDifference, planName, PLANS_MAX } from './plans.ts'
import { planTimeline, TIMELINE_STEP_MS_MAX, TIMELINE_STEP_MS_MIN } from './timeline.ts'
import * as s from './schemas.ts'

/** Runs that one answer of `plans.next` tells. */
export const UPCOMING_MAX = 100

export const PLAN_METHODS = {
  'plans.list': {
    ...plain,
    roles: PEOPLE,
    params: v.object(s.page),
    /** By name. A page ends early where its plans name very many machines. */
    result: v.object({ plans: s.rows(plan), next: s.next }),
  },
  'plans.get': {
    ...plain,
    roles: PEOPLE,
    params: v.object({ plan: planName }),
    result: v.object({ plan }),
  },
  'plans.apply': {
    ...dryable,
    roles: OWNER,
    params: v.object({
      plans: v.pipe(v.array(planChange), v.maxLength(PLANS_MAX)),
      /** What a plan does not say stays as it is; without it, it is as in the default. */
      merge: v.optional(v.boolean(), false),
      remove: v.optional(v.pipe(v.array(planName), v.maxLength(PLANS_MAX)), []),
      /** Plans that are not among `plans` are removed. */
      replace: v.optional(v.boolean(), false),
      /** Only tells what would change. */
      dryRun: v.optional(v.boolean(), false),
    }),
    result: v.object({
      changes: v.array(planDifference),
      /**
       * Sentences about restore points that the next prune removes and the plans before would have kept, and about machines,
       * groups and patterns of the changed plans that are not there (yet).
       */
      warnings: v.array(v.string()),
    }),
  },
  'plans.next': {
    ...plain,
    roles: PEOPLE,
    params: v.object({
      /** Nil where a machine is named. */
      plan: v.nullable(planName),
      machine: v.nullable(s.name),
      count: v.optional(v.pipe(s.count, v.minValue(1), v.maxValue(UPCOMING_MAX)), 10),
    }),
    result: v.object({
      /** The plan of the machine; nil where none covers it. */
      plan: v.nullable(planName),
      /** `slotMs` by the schedule; `startMs` after the machine's jitter and within the window, at the earliest. */
      runs: v.array(v.object({ slotMs: s.timeMs, startMs: s.timeMs })),
      /** Why there is none. */
      reason: v.nullable(v.string()),
    }),
  },
  /** When machines of each plan are to start, summed up in steps; a page ends early where its plans start very often. */
  'plans.timeline': {
    ...plain,
    roles: PEOPLE,
    params: v.object({
      /** Only this one, such as to go on where it ended early. */
      plan: v.optional(v.nullable(planName), null),
      fromMs: s.timeMs,
      /** At most TIMELINE_MS_MAX later. */
      untilMs: s.timeMs,
      stepMs: v.optional(v.pipe(s.count, v.minValue(TIMELINE_STEP_MS_MIN), v.maxValue(TIMELINE_STEP_MS_MAX)), 900_000),
      ...s.page,
    }),
    result: v.object({ plans: s.rows(planTimeline), next: s.next }),
  },
} as const
