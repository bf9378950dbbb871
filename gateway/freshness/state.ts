// The state of a machine: whether it is protected, as one of a few states with its reason. Pure.
import type { MachineState } from '../../protocol/coverage.ts'
import type { Severity } from '../../protocol/events.ts'
import { DAY_MS, durationText } from '../../protocol/host/duration.ts'
import { utcText } from '../../protocol/host/instant.ts'
import { isExcluded, type Exclusion, type PlanRules } from '../../protocol/plans.ts'
import type { JobFailure } from '../catalog/jobs.ts'
import { failureText } from './ways-out.ts'

/** How long an agent may be unheard of before its machines are orphaned, in milliseconds: a long weekend's repair is none. */
export const UNHEARD_MS = 3 * DAY_MS

/** How much later than the plan says points may be verified, in milliseconds: verification has a rate. */
export const VERIFY_MARGIN_MS = 3 * DAY_MS

/** How long a new machine may be without a plan before that is told, in milliseconds. */
export const UNCOVERED_TOLD_MS = 3_600_000

/** How far ahead of now a point may be dated, in milliseconds; one further ahead was made under a wrong clock. */
const FUTURE_MS = 3_600_000

/**
 * When an agent was heard of last, at the earliest when this gateway started: it may have served before. A note that is dated
 * later than now was made under a wrong clock and says nothing.
 */
export const heardMs = (seenMs: number, startedMs: number, nowMs: number): number =>
  seenMs > nowMs + FUTURE_MS ? startedMs : Math.max(seenMs, startedMs)

/** Since when backups of a machine fail, and how the last one did. */
export interface Failing {
  readonly sinceMs: number
  readonly error: JobFailure
  /** The run of the last one is not over: it may be tried again by itself. */
  readonly open: boolean
  /** When that is; null where that is not known. */
  readonly retryMs: number | null
}

/** All that the state of a machine depends on. */
export interface Facts {
  readonly plan: Pick<PlanRules, 'enabled' | 'schedule' | 'rpoMs' | 'verifyDays'> & { readonly name: string }
  readonly exclusion: Exclusion | null
  readonly host: string
  readonly online: boolean
  readonly revokedMs: number | null
  /** When its agent was heard of last. */
  readonly seenMs: number
  /** Since when its agent serves without announcing it; null for one that it announces. */
  readonly goneMs: number | null
  /** When it was announced first. */
  readonly createdMs: number
  readonly lastPointMs: number | null
  /** Of the oldest point that is there. */
  readonly firstPointMs: number | null
  readonly lastVerifiedMs: number | null
  /** Failures since the newest point. */
  readonly failing: Failing | null
  /** When the next point has to be there at the latest; see gateway/plans/deadline.ts. */
  readonly deadlineMs: number | null
}

/** The same of a machine that a plan may cover. */
export type MachineFacts = Omit<Facts, 'plan'> & { readonly plan: Facts['plan'] | null }

/** Whether a state is told to people: `later` where it may be over by itself, and until then what was told before stands. */
export type Telling = 'now' | 'quiet' | 'later'

export interface StateOf {
  readonly state: MachineState
  /** One sentence: why, and what to do. */
  readonly reason: string
  /** Since when; null where that is not known. */
  readonly sinceMs: number | null
  /** When the next point has to be there at the latest; null where nothing is expected. */
  readonly deadlineMs: number | null
  readonly telling: Telling
}

/** How bad a state is, where it is told. */
export const SEVERITY_OF: Readonly<Record<MachineState, Severity>> = {
  fresh: 'info',
  unverified: 'warning',
  late: 'warning',
  failing: 'error',
  never: 'warning',
  uncovered: 'warning',
  orphaned: 'error',
  archived: 'info',
  excluded: 'info',
}

const utc = (ms: number): string => `${utcText(ms)} UTC`

/** How long ago, or until when, at least a second. */
const span = (ms: number): string => durationText(Math.max(1000, ms))

const newest = (lastPointMs: number | null): string =>
  lastPointMs === null ? 'it has no restore point' : `its newest restore point is of ${utc(lastPointMs)}`

type Rule = (facts: MachineFacts, nowMs: number) => Omit<StateOf, 'deadlineMs'> | null

const excluded: Rule = ({ exclusion }, nowMs) => {
  if (exclusion === null || !isExcluded(exclusion, nowMs)) return null
  const { by, reason, sinceMs, untilMs } = exclusion
  const until = untilMs === null ? 'until somebody includes it again' : `until ${utc(untilMs)}`
  return { state: 'excluded', reason: `left out on purpose by ${by} ${until}: ${reason}`, sinceMs, telling: 'now' }
}

const archived: Rule = ({ goneMs, host, lastPointMs }) =>
  goneMs === null
    ? null
    : {
        state: 'archived',
        reason: `the agent of ${host} serves it no more since ${utc(goneMs)}; ${newest(lastPointMs)}`,
        sinceMs: goneMs,
        telling: 'now',
      }

const orphaned: Rule = ({ online, revokedMs, seenMs, host }, nowMs) => {
  const way = 'assign the machine to another agent, or exclude it'
  if (revokedMs !== null)
    return {
      state: 'orphaned',
      reason: `its agent on ${host} was revoked at ${utc(revokedMs)}: ${way}`,
      sinceMs: revokedMs,
      telling: 'now',
    }
  if (online || nowMs - seenMs <= UNHEARD_MS) return null
  const reason = `its agent on ${host} was heard of last at ${utc(seenMs)}: start varve-agent there, or ${way}`
  return { state: 'orphaned', reason, sinceMs: seenMs, telling: 'now' }
}

const uncovered: Rule = ({ plan, createdMs, lastPointMs }, nowMs) =>
  plan === null
    ? {
        state: 'uncovered',
        reason: `no plan covers it, so nothing backs it up by itself; ${newest(lastPointMs)}: add it to a plan, or exclude it`,
        sinceMs: createdMs,
        telling: nowMs - createdMs < UNCOVERED_TOLD_MS ? 'later' : 'now',
      }
    : null

/** Why nothing is expected of a plan; null for one that starts backups. */
const idle = ({ name, enabled, schedule, rpoMs }: Facts['plan']): string | null => {
  if (!enabled) return `its plan ${name} is turned off`
  return schedule === null && rpoMs === null ? `its plan ${name} has neither a schedule nor an rpo` : null
}

const unexpected: Rule = ({ plan, createdMs, lastPointMs }) => {
  const why = plan === null ? null : idle(plan)
  if (why === null) return null
  const reason = `${why}, so no backup is expected; ${newest(lastPointMs)}`
  return lastPointMs === null
    ? { state: 'never', reason, sinceMs: createdMs, telling: 'quiet' }
    : { state: 'fresh', reason, sinceMs: null, telling: 'quiet' }
}

const overdue = ({ deadlineMs }: MachineFacts, nowMs: number): boolean => deadlineMs !== null && nowMs > deadlineMs

const failing: Rule = (facts, nowMs) => {
  if (facts.failing === null) return null
  const { sinceMs, error, open, retryMs } = facts.failing
  // a machine whose agent is away is late in time, and says so then
  if (error.code === 'AGENT_OFFLINE') return null
  const again = retryMs === null ? '' : `; it is tried again at ${utc(retryMs)}`
  const reason = `backups fail since ${utc(sinceMs)}: ${failureText(error)}${again}; ${newest(facts.lastPointMs)}`
  // what may succeed by itself in time is no news
  return { state: 'failing', reason, sinceMs, telling: open && !overdue(facts, nowMs) ? 'later' : 'now' }
}

const cause = ({ online, host, seenMs }: MachineFacts): string =>
  online ? '' : `; its agent on ${host} is not connected since ${utc(seenMs)}: start varve-agent there`

const never: Rule = (facts, nowMs) => {
  const { lastPointMs, deadlineMs, createdMs } = facts
  if (lastPointMs !== null) return null
  if (!overdue(facts, nowMs)) {
    const due = deadlineMs === null ? '' : `; the first one is due by ${utc(deadlineMs)}`
    return { state: 'never', reason: `it has no restore point yet${due}`, sinceMs: createdMs, telling: 'quiet' }
  }
  const reason = `it has no restore point, and the first one was due ${span(nowMs - deadlineMs!)} ago${cause(facts)}`
  return { state: 'never', reason, sinceMs: createdMs, telling: 'now' }
}

const late: Rule = (facts, nowMs) => {
  const { lastPointMs, deadlineMs } = facts
  if (lastPointMs !== null && lastPointMs > nowMs + FUTURE_MS) {
    const reason = `its newest restore point is dated ${utc(lastPointMs)}, in the future: how old it is cannot be known`
    return { state: 'late', reason, sinceMs: null, telling: 'now' }
  }
  if (!overdue(facts, nowMs)) return null
  const by = span(nowMs - deadlineMs!)
  const reason = `late by ${by}: ${newest(lastPointMs)}, the next one was due by ${utc(deadlineMs!)}${cause(facts)}`
  return { state: 'late', reason, sinceMs: deadlineMs, telling: 'now' }
}

const unverified: Rule = ({ plan, lastVerifiedMs, firstPointMs }, nowMs) => {
  const days = plan?.verifyDays ?? null
  const fromMs = lastVerifiedMs ?? firstPointMs
  if (days === null || fromMs === null || nowMs - fromMs <= days * DAY_MS + VERIFY_MARGIN_MS) return null
  const proof =
    lastVerifiedMs === null
      ? 'none of its restore points was ever verified'
      : `its restore points were verified last at ${utc(lastVerifiedMs)}`
  const reason = `${proof}, the plan asks for it every ${span(days * DAY_MS)}: run store verify`
  return { state: 'unverified', reason, sinceMs: fromMs + days * DAY_MS, telling: 'now' }
}

const fresh: Rule = ({ lastPointMs, deadlineMs }) => ({
  state: 'fresh',
  reason: `${newest(lastPointMs)}${deadlineMs === null ? '' : `; the next one is due by ${utc(deadlineMs)}`}`,
  sinceMs: null,
  telling: 'now',
})

/** The first rule that applies says the state. */
const RULES: readonly Rule[] = [
  excluded,
  archived,
  orphaned,
  uncovered,
  unexpected,
  failing,
  never,
  late,
  unverified,
  fresh,
]

/** States in which no point is expected. */
const UNEXPECTED: ReadonlySet<MachineState> = new Set(['excluded', 'archived'])

/** The state of a machine at an instant. */
export const stateOf = (facts: MachineFacts, nowMs: number): StateOf => {
  for (const rule of RULES) {
    const found = rule(facts, nowMs)
    if (found !== null) return { ...found, deadlineMs: UNEXPECTED.has(found.state) ? null : facts.deadlineMs }
  }
  throw new Error('a machine is in one of the states')
}
