// Quiet hours: until when messages wait. Pure.
import type { Rule } from '../../protocol/notify.ts'
import { closesAt, isOpen, windowProblem } from '../plans/window.ts'

type Quiet = NonNullable<Rule['quiet']>

/**
 * The end of the quiet hours that an instant lies in; the instant itself outside of them, and where the zone is not known any
 * more, as after an update of its data: better told than silent.
 */
export const quietUntil = ({ window, timeZone }: Quiet, atMs: number): number => {
  try {
    return isOpen(window, timeZone, atMs) ? (closesAt(window, timeZone, atMs) ?? atMs) : atMs
  } catch {
    return atMs
  }
}

/** What is wrong with quiet hours, as a sentence; null for nothing. They have to end some time. */
export const quietProblem = ({ window, timeZone }: Quiet): string | null => {
  const problem = windowProblem(window)
  if (problem !== null) return problem
  return closesAt(window, timeZone, 0) === null ? `the quiet hours "${window}" never end` : null
}
