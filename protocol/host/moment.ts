// Times in the past as a person types them, to which a restore point is looked for.
import { VarveError } from '../errors.ts'
import { durationMs } from './duration.ts'
import { instantMs } from './instant.ts'

/** What is written without milliseconds means its whole second, as points' times are shown. */
const WITHIN_SECOND_MS = 999

/** The newest one, whatever this host's clock says. */
export const NOW = 'now'

/** A time to which a point is looked for, in milliseconds since 1970. */
export type Moment = number | typeof NOW

/** The time that a text means: `now`, a date with a time, or how long ago; PARAMS_INVALID. */
export const momentOf = (text: string, nowMs = Date.now()): Moment => {
  if (text === NOW) return NOW
  if (/^\d{1,6}[smhd]$/u.test(text)) return Math.max(0, nowMs - durationMs(text))
  const ms = instantMs(text)
  if (ms === null)
    throw new VarveError(
      'PARAMS_INVALID',
      `"${text}" is not a time such as "2026-11-28 14:00" (of this host), 2026-11-28T14:00Z, 90m (ago) or ${NOW}`,
    )
  return /\.\d+/u.test(text) ? ms : ms + WITHIN_SECOND_MS
}
