// Coverage: whether each machine is protected, as one state with its reason.
import * as v from 'valibot'
import { quotaForecast } from './forecast.ts'
import { exclusion, planName } from './plans.ts'
import { consistency, count, failure, name, readKind, readReason, timeMs, uuid } from './schemas.ts'

/**
 * `fresh`: its newest point meets the target. `unverified`: it does, but its points were not verified for as long as the plan
 * allows. `late`: it does not. `failing`: backups fail since the last good one. `never`: a plan covers it and it has no point yet
 * (`deadlineMs` says when the first is due). `uncovered`: no plan covers it, whatever points it has. `orphaned`: its agent was
 * revoked, or not heard of for long. `archived`: gone from its host, its points are kept. `excluded`: left out on purpose.
 * gateway/DESIGN.md has them with their precedence.
 */
export const MACHINE_STATES = [
  'fresh',
  'unverified',
  'late',
  'failing',
  'never',
  'uncovered',
  'orphaned',
  'archived',
  'excluded',
] as const
export type MachineState = (typeof MACHINE_STATES)[number]

/** States in which a machine is not protected as its plan says. */
export const UNPROTECTED = ['late', 'failing', 'never', 'uncovered', 'orphaned'] as const

/** Worst first: what is broken, what is too old, what nothing or nothing yet backs up, and last what is as it should be. */
export const STATES_WORST_FIRST = [
  'failing',
  'orphaned',
  'late',
  'uncovered',
  'never',
  'unverified',
  'archived',
  'excluded',
  'fresh',
] as const satisfies readonly MachineState[]

/** In which order machines come: by name, or by state, worst first, and within a state by deadline, the earliest first. */
export const COVERAGE_ORDERS = ['name', 'worst'] as const

/** A part of a machine's name. */
export const namePart = v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]{1,63}$/u, 'a part of a name'))

/** The newest point of a machine. */
export const lastPoint = v.object({
  id: uuid,
  timeMs,
  kind: readKind,
  reason: readReason,
  consistency,
  /** Bytes that the agent read of the disks, and of chunks that it sent. */
  bytesRead: count,
  bytesSent: count,
  durationMs: count,
})

export const covered = v.object({
  machine: name,
  group: v.nullable(name),
  agent: uuid,
  host: v.string(),
  online: v.boolean(),
  /** Null where no plan covers it. */
  plan: v.nullable(planName),
  state: v.picklist(MACHINE_STATES),
  /** One sentence: why, and what to do. */
  reason: v.string(),
  /** Since when it is in this state; null where that is not known. */
  sinceMs: v.nullable(timeMs),
  /** When its newest point has to be there at the latest to be fresh; null where nothing is expected. */
  deadlineMs: v.nullable(timeMs),
  /** How old the newest point may be, in milliseconds, by target or schedule; null where nothing is expected. */
  targetMs: v.nullable(count),
  lastPointMs: v.nullable(timeMs),
  /** The newest point; null for none. */
  last: v.nullable(lastPoint),
  lastVerifiedMs: v.nullable(timeMs),
  /** The error of the last backup, where that failed. */
  lastError: v.nullable(failure),
  /** The next planned backup; null where none is. */
  nextMs: v.nullable(timeMs),
  exclusion: v.nullable(exclusion),
})
export type Covered = v.InferOutput<typeof covered>

/** Machines in each state. */
export const stateCounts = v.object({
  fresh: count,
  unverified: count,
  late: count,
  failing: count,
  never: count,
  uncovered: count,
  orphaned: count,
  archived: count,
  excluded: count,
} satisfies Record<MachineState, typeof count>)
export type StateCounts = v.InferOutput<typeof stateCounts>

/** A tenant as the platform sees it: how many machines are in which state, and none of their names. */
export const coveredTenant = v.object({ tenant: name, counts: stateCounts, quota: quotaForecast })
export type CoveredTenant = v.InferOutput<typeof coveredTenant>
