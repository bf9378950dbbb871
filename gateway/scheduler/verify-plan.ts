// Which machines' restore points are to be verified again: those whose oldest look is near the age that their plan allows, spread
// by their names over the last quarter of it. Pure.
import type { Plan } from '../../protocol/plans.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { VerifiableMachine } from '../catalog/upkeep.ts'
import { coveringOf } from '../plans/covering.ts'

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
}

/** A number from 0 to 1 that a name always has (FNV-1a). */
export const partOf = (name: string): number => {
  let hash = 0x811c_9dc5
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x0100_0193)
  // the last letters alone would move only the low bits
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d)
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32
}

/** The machines that are due, the one whose oldest look is longest ago first. */
export const dueVerifications = (
  machines: readonly VerifiableMachine[],
  plans: readonly Plan[],
  nowMs: number,
): DueVerification[] => {
  const planOf = coveringOf(plans)
  return machines
    .flatMap(({ machine, group, oldestMs }) => {
      const days = planOf({ name: machine, group })?.verifyDays ?? null
      if (days === null) return []
      const part = FIRST_PART + (1 - FIRST_PART) * partOf(machine)
      return oldestMs + days * DAY_MS * part <= nowMs ? [{ machine, olderThanDays: days * ALONG_PART, oldestMs }] : []
    })
    .sort((a, b) => a.oldestMs - b.oldestMs)
}
