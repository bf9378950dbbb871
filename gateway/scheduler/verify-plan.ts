// Which machines' restore points are to be verified again: those whose oldest look is near the age that their plan allows, spread
// by their names over the last quarter of it. Pure.
import type { Plan } from '../../protocol/plans.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { VerifiableMachine } from '../catalog/upkeep.ts'
import { coveringOf } from '../plans/covering.ts'
import { jitterMs } from '../plans/jitter.ts'

/** A machine is due from this part of the age on, the later ones by their names: so nothing is late and not all comes at once. */
const FIRST_PART = 0.75

/**
 * A machine's points share most of what they hold, and it is read once for all: those that were looked at before this part of the
 * age go along.
 */
const ALONG_PART = 0.5

/** A machine that is due. */
export interface DueVerification {
  readonly machine: string
  /** Its points that were not verified for so many days. */
  readonly olderThanDays: number
  readonly oldestMs: number
  /** It is older than the plan allows. */
  readonly overdue: boolean
}

/** The machines that are due, the one whose oldest look is longest ago first. */
export const dueVerifications = (
  tenant: string,
  machines: readonly VerifiableMachine[],
  plans: readonly Plan[],
  nowMs: number,
): DueVerification[] => {
  const planOf = coveringOf(plans)
  return machines
    .flatMap(({ machine, group, oldestMs }) => {
      const days = planOf({ name: machine, group })?.verifyDays ?? null
      if (days === null) return []
      const ageMs = days * DAY_MS
      const spreadMs = jitterMs({ tenant, machine, plan: 'verify' }, ageMs * (1 - FIRST_PART))
      if (oldestMs + ageMs * FIRST_PART + spreadMs > nowMs) return []
      return [{ machine, olderThanDays: days * ALONG_PART, oldestMs, overdue: oldestMs + ageMs <= nowMs }]
    })
    .sort((a, b) => a.oldestMs - b.oldestMs)
}
