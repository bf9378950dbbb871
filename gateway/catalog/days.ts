// What was on each day of a machine: its backups as facts with a time, and the same in cells of a calendar. Pure.
import type { ReadReason } from '../../protocol/backup.ts'
import type { DayCell } from '../../protocol/coverage-days.ts'
import type { SkipReason } from '../../protocol/runs.ts'

/** Facts that one call reads, but for those of its first machine: about 50 ms. */
export const DAY_FACTS_MAX = 20_000

export interface DayAsked {
  readonly tenant: string
  readonly machines: readonly string[]
  /** When each day begins, ascending, and last when the last one ends. */
  readonly bounds: readonly number[]
}

export interface MachineDays {
  readonly machine: string
  readonly cells: readonly DayCell[]
}

/** Something of a backup: a point, a job or start that failed, or a slot at which none was started. */
export type DayFact =
  | {
      readonly type: 'point'
      readonly timeMs: number
      /** Why it was read in full; null where only changes were. */
      readonly fullReason: ReadReason | null
      readonly damaged: boolean
      readonly verified: boolean
    }
  | { readonly type: 'failed'; readonly timeMs: number }
  | { readonly type: 'skipped'; readonly timeMs: number; readonly reason: SkipReason }

/** Reasons of full reads that somebody meant; any other is news. */
const MEANT: ReadonlySet<ReadReason> = new Set(['first', 'requested'])

/** The day of an instant as its index; null for none of them. */
const dayOf = (bounds: readonly number[], timeMs: number): number | null => {
  let [low, high] = [0, bounds.length]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (bounds[middle]! <= timeMs) low = middle + 1
    else high = middle
  }
  return low === 0 || low === bounds.length ? null : low - 1
}

/** Of full reads of one day the reason of one that nobody meant, or of the last one. */
const fullOf = (before: ReadReason | null, reason: ReadReason | null): ReadReason | null =>
  reason === null || (before !== null && !MEANT.has(before)) ? before : reason

const withFact = (cell: DayCell, fact: DayFact): DayCell => {
  if (fact.type === 'failed') return { ...cell, failed: cell.failed + 1 }
  if (fact.type === 'skipped') return { ...cell, skipped: cell.skipped + 1, skipReason: fact.reason }
  return {
    ...cell,
    points: cell.points + 1,
    fullReason: fullOf(cell.fullReason, fact.fullReason),
    damaged: cell.damaged + Number(fact.damaged),
    verified: cell.verified + Number(fact.verified),
  }
}

/** Cells of the days on which something was, ascending. */
export const cellsOf = (facts: readonly DayFact[], bounds: readonly number[]): DayCell[] => {
  const cells = new Map<number, DayCell>()
  for (const fact of facts) {
    const day = dayOf(bounds, fact.timeMs)
    if (day === null) continue
    const none = { day, points: 0, failed: 0, skipped: 0, skipReason: null, fullReason: null, damaged: 0, verified: 0 }
    cells.set(day, withFact(cells.get(day) ?? none, fact))
  }
  return [...cells.values()].toSorted((a, b) => a.day - b.day)
}
