// Restore points, and what a prune removes, as lines for people.
import type { PrunedPoint } from '../../protocol/maintenance.ts'
import type { Result } from '../../protocol/methods.ts'
import type { Point } from '../../protocol/schemas.ts'
import { drillText } from '../../protocol/host/drill-report.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { tableLines } from '../../protocol/host/table.ts'
import { utcText } from '../../protocol/host/instant.ts'

/** A time in UTC to the second. */
export const timeText = (ms: number | null): string => (ms === null ? '-' : utcText(ms))

/** When a point was made, with a mark if that is in the future. */
const timeOf = ({ timeMs, future }: Pick<Point, 'timeMs' | 'future'>): string =>
  `${timeText(timeMs)}${future ? ' (in the future)' : ''}`

const isLater = (ms: number | null, nowMs: number): boolean => (ms ?? 0) > nowMs

const keptText = (point: Point, nowMs: number): string => {
  const words = [
    ...(point.held ? ['held'] : []),
    ...(isLater(point.lockedUntilMs, nowMs) ? [`locked until ${timeText(point.lockedUntilMs)}`] : []),
    ...(isLater(point.usedUntilMs, nowMs) ? [`in use until ${timeText(point.usedUntilMs)}`] : []),
  ]
  return words.join(', ') || '-'
}

export const POINT_HEADING = ['POINT', 'MACHINE', 'TIME (UTC)', 'KIND', 'KEPT', 'VERIFIED (UTC)', 'DRILL', 'LOST']

export const pointCells = (point: Point, nowMs: number): string[] => [
  point.id,
  point.machine,
  timeOf(point),
  point.kind,
  keptText(point, nowMs),
  timeText(point.verifiedMs),
  drillText(point.drill),
  point.lostBytes === 0 ? '-' : sizeText(point.lostBytes),
]

/** The state of a point after it was held, locked or released. */
export const holdLine = (point: Point, nowMs: number): string => {
  const kept = keptText(point, nowMs)
  return `Restore point ${point.id} of ${point.machine} is ${kept === '-' ? 'neither held nor locked' : kept}.`
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`

const going = ({ keptBy }: PrunedPoint): boolean => keptBy.length === 0

/** A plan with a line for each point, or what was removed. */
export const pruneLines = (tenant: string, result: Result<'points.prune'>, dryRun: boolean): string[] => {
  const { points, pointCount, removed } = result
  const shown = dryRun
    ? points.toSorted((a, b) => (a.machine < b.machine ? -1 : a.machine > b.machine ? 1 : b.timeMs - a.timeMs))
    : points.filter(going)
  const rows = shown.map((point) => [
    point.machine,
    timeText(point.timeMs),
    point.point,
    going(point) ? (dryRun ? 'GOES' : 'removed') : `stays: ${point.keptBy.join(', ')}`,
  ])
  const more = (dryRun ? pointCount : removed) - shown.length
  const verb = dryRun ? 'would be removed' : 'removed'
  return [
    ...(rows.length === 0 ? [] : tableLines(['MACHINE', 'TIME (UTC)', 'POINT', ''], rows)),
    ...(more > 0 ? [`... and ${more} more`] : []),
    `${tenant}: ${removed} of ${plural(pointCount, 'restore point')} ${verb}.${removed > 0 && !dryRun ? ' To free their space: varve-gateway gc' : ''}`,
  ]
}
