// What a day of a machine looks like in the calendar: its worst outcome as one mark. Pure.
import type { DayCell } from '../../../protocol/coverage-days.ts'
import type { Tone } from '../parts/basics.tsx'

/**
 * Worst first: `damaged`: something of its points cannot be read. `failed`: backups failed, and no point is there. `mixed`: some
 * failed, and a point is there. `skipped`: none was started. `full`: a disk was read in full that nobody asked for. `verified`:
 * a point was verified since. `good`: a point is there. `nothing`.
 */
export const DAY_KINDS = ['damaged', 'failed', 'mixed', 'skipped', 'full', 'verified', 'good', 'nothing'] as const
export type DayKind = (typeof DAY_KINDS)[number]

export interface DayMark {
  readonly tone: Tone
  /** A path in a field of 16 × 16. */
  readonly path: string
}

export const DAY_MARKS: Readonly<Record<DayKind, DayMark>> = {
  damaged: { tone: 'bad', path: 'M8 2.5 14.5 13.5H1.5ZM8 6.5V10M8 11.6v.6' },
  failed: { tone: 'bad', path: 'M4 4 12 12M12 4 4 12' },
  mixed: { tone: 'warn', path: 'M1.5 9 4.5 12 9 5M10.5 4 14.5 8M14.5 4 10.5 8' },
  skipped: { tone: 'warn', path: 'M3 4 8 8 3 12M8 4 13 8 8 12' },
  full: { tone: 'busy', path: 'M5 13V3H11.5M5 8H10' },
  verified: { tone: 'good', path: 'M1.5 8.5 4.5 12 9 5M7.5 11 8.5 12 14 5' },
  good: { tone: 'good', path: 'M3 8.5 6.5 12 13 4.5' },
  nothing: { tone: 'quiet', path: 'M7 8H9' },
}

const MEANT: ReadonlySet<string> = new Set(['first', 'requested'])

/** The worst of a day; null stands for a day on which nothing was. */
export const dayKind = (cell: DayCell | null): DayKind => {
  if (cell === null) return 'nothing'
  const { points, failed, skipped, damaged, verified, fullReason } = cell
  if (damaged > 0) return 'damaged'
  if (failed > 0) return points > 0 ? 'mixed' : 'failed'
  if (points === 0) return skipped > 0 ? 'skipped' : 'nothing'
  if (fullReason !== null && !MEANT.has(fullReason)) return 'full'
  return verified > 0 ? 'verified' : 'good'
}

/** Cells by their day, null where nothing was. */
export const dayRow = (cells: readonly DayCell[], days: number): (DayCell | null)[] => {
  const row: (DayCell | null)[] = Array.from({ length: days }, () => null)
  for (const cell of cells) if (cell.day < days) row[cell.day] = cell
  return row
}

/** A day that is so many behind another one, such as `2026-11-29`. */
export const dayBehind = (day: string, count: number): string =>
  new Date(Date.parse(`${day}T00:00:00Z`) + count * 86_400_000).toISOString().slice(0, 10)

/** Whether a text is a day of the calendar. */
export const isDay = (text: string | undefined): text is string =>
  text !== undefined &&
  /^\d{4}-\d{2}-\d{2}$/u.test(text) &&
  !Number.isNaN(Date.parse(`${text}T00:00:00Z`)) &&
  dayBehind(text, 0) === text

const within = (value: number, count: number): number => Math.max(0, Math.min(count - 1, value))

/** Where the keys of a calendar lead: within the rows and days that there are. */
export const cellBehind = (
  key: string,
  at: { readonly row: number; readonly day: number },
  size: { readonly rows: number; readonly days: number },
): { readonly row: number; readonly day: number } | null => {
  const steps: Readonly<Record<string, readonly [row: number, day: number]>> = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    Home: [0, -size.days],
    End: [0, size.days],
    PageUp: [-10, 0],
    PageDown: [10, 0],
  }
  const step = steps[key]
  if (step === undefined) return null
  return { row: within(at.row + step[0], size.rows), day: within(at.day + step[1], size.days) }
}
