// Days of a calendar as instants: when each begins by the clock of a zone. Pure.
import { VarveError } from '../../protocol/errors.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import { instantOf, wallOf, zoneProblem } from './wall-clock.ts'

export interface DaysAsked {
  readonly days: number
  /** The last one, such as `2026-11-29`; null for today. */
  readonly untilDay: string | null
  /** IANA name. */
  readonly zone: string
}

export interface Days {
  /** Such as `2026-11-29`. */
  readonly firstDay: string
  /** When each day begins, and last when the last one ends. */
  readonly bounds: readonly number[]
}

const textOf = (wallMs: number): string => new Date(wallMs).toISOString().slice(0, 10)

/** The start of a day as UTC would show it. PARAMS_INVALID for one that no calendar has, such as the 30th of February. */
const wallOfDay = (day: string): number => {
  const wallMs = Date.parse(`${day}T00:00:00Z`)
  if (Number.isNaN(wallMs) || textOf(wallMs) !== day)
    throw new VarveError('PARAMS_INVALID', `untilDay: there is no day ${day}: name one such as 2026-11-29`)
  return wallMs
}

/** The days asked for, with their bounds: a day on which clocks are set is shorter or longer. PARAMS_INVALID. */
export const daysOf = ({ days, untilDay, zone }: DaysAsked, nowMs: number): Days => {
  const problem = zoneProblem(zone)
  if (problem !== null) throw new VarveError('PARAMS_INVALID', `zone: ${problem}`)
  const todayMs = wallOf(zone, nowMs)
  const lastMs = untilDay === null ? todayMs - (((todayMs % DAY_MS) + DAY_MS) % DAY_MS) : wallOfDay(untilDay)
  const firstMs = lastMs - (days - 1) * DAY_MS
  const bounds = Array.from({ length: days + 1 }, (_, index) => instantOf(zone, firstMs + index * DAY_MS))
  return { firstDay: textOf(firstMs), bounds }
}
