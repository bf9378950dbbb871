// Restore points as layers, the newest on top: how thick each is, how far from the next, and what it changed of a disk. Pure.
import type { ChangedRange, ChangeKind } from '../../../protocol/changes.ts'

/** Thickness of a layer in pixels: that of the least and of the most that was sent. */
const THIN = 30
const THICK = 64

/** Room between layers in pixels, for the shortest and the longest time between two. */
const NEAR = 2
const FAR = 34

/** An interval that is so many times the usual one is told as a gap; the usual one is known from so many. */
const GAP_TIMES = 2.5
const GAP_INTERVALS_MIN = 3

/** Shorter ones are none, in milliseconds, whatever is usual: somebody made several points in a row. */
const GAP_MIN_MS = 60 * 60 * 1000

export interface LayerPoint {
  readonly id: string
  readonly timeMs: number
  readonly bytesSent: number
}

export interface Layer {
  readonly id: string
  /** Pixels. */
  readonly height: number
  /** Room above it in pixels, to the next newer one. */
  readonly above: number
  /** Time to the next newer one in milliseconds, where that is unusually long; else null. */
  readonly gapMs: number | null
}

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

/** Of any number of values, which are not negative. */
const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, value), 0)

const share = (value: number, most: number): number =>
  most <= 0 ? 0 : Math.log1p(Math.max(0, value)) / Math.log1p(most)

/** The layers of points that are given newest first. */
export const strataOf = (points: readonly LayerPoint[]): Layer[] => {
  const most = largest(points.map(({ bytesSent }) => bytesSent))
  const intervals = points.slice(1).map(({ timeMs }, index) => Math.max(0, points[index]!.timeMs - timeMs))
  const usual = intervals.length >= GAP_INTERVALS_MIN ? median(intervals) : Number.POSITIVE_INFINITY
  const longest = largest(intervals)
  return points.map(({ id, bytesSent }, index) => {
    const interval = index === 0 ? null : intervals[index - 1]!
    return {
      id,
      height: Math.round(THIN + (THICK - THIN) * share(bytesSent, most)),
      above: interval === null ? 0 : Math.round(NEAR + (FAR - NEAR) * share(interval, longest)),
      gapMs: interval !== null && interval >= GAP_MIN_MS && interval > GAP_TIMES * usual ? interval : null,
    }
  })
}

/** Columns of a core: the disk from its first byte at the left to its last one at the right. */
export const CORE_COLUMNS = 240
export const CORE_HEIGHT = 12

/** How a kind is drawn, from top to bottom: each has a shape of its own, so that colour is never alone. */
const BANDS: Readonly<Record<ChangeKind, readonly (readonly [number, number])[]>> = {
  data: [[0, 12]],
  zero: [[8, 4]],
  damaged: [
    [0, 4],
    [8, 4],
  ],
}

/** Where a disk changed, as one path for each kind in a box of CORE_COLUMNS by CORE_HEIGHT; a change is never invisible. */
export const coreOf = (ranges: readonly ChangedRange[], size: number): Readonly<Record<ChangeKind, string>> => {
  const paths = { data: '', zero: '', damaged: '' }
  if (size <= 0) return paths
  const scale = CORE_COLUMNS / size
  const last: Record<ChangeKind, number> = { data: -1, zero: -1, damaged: -1 }
  for (const { offset, bytes, kind } of ranges) {
    const from = Math.max(last[kind], Math.floor(offset * scale))
    const to = Math.min(CORE_COLUMNS, Math.max(from + 1, Math.ceil((offset + bytes) * scale)))
    // its columns are drawn already
    if (Math.ceil((offset + bytes) * scale) <= last[kind] || to <= from) continue
    last[kind] = to
    for (const [y, height] of BANDS[kind]) paths[kind] += `M${from} ${y}h${to - from}v${height}h${from - to}z`
  }
  return paths
}
