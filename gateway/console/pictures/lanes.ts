// The next days of plans as lanes: how many machines start when, and how many backups run at once. Pure.
import type { PlanTimeline } from '../../../protocol/timeline.ts'

/** Height of a lane's box, in units of its picture. */
export const LANE_HEIGHT = 100

/** Least height of a bar, so that one machine among thousands is seen. */
const BAR_MIN = 12

export interface LanesTime {
  readonly fromMs: number
  readonly untilMs: number
  /** Of the timeline's steps, and of the bars that are drawn: a multiple of it. */
  readonly stepMs: number
  readonly barMs: number
}

type Starts = Pick<PlanTimeline, 'starts' | 'usualMs'>

const barsIn = ({ fromMs, untilMs, barMs }: LanesTime): number => Math.max(1, Math.ceil((untilMs - fromMs) / barMs))

/** The first step that begins from now on; undefined for none. */
export const nextOf = ({ starts }: Pick<Starts, 'starts'>, nowMs: number): Starts['starts'][number] | undefined =>
  starts.find(({ atMs }) => atMs >= nowMs)

/** Machines that start within each bar. */
export const startsOf = ({ starts }: Pick<Starts, 'starts'>, time: LanesTime): number[] => {
  const bars = Array.from({ length: barsIn(time) }, () => 0)
  for (const { atMs, machines } of starts) {
    const bar = Math.floor((atMs - time.fromMs) / time.barMs)
    if (bar >= 0 && bar < bars.length) bars[bar]! += machines
  }
  return bars
}

/**
 * The most backups that run at once within each bar, if each takes what those of its plan usually take, one step at least; limits
 * of the gateway, which make some wait, are not in it.
 */
export const atOnceOf = (plans: readonly Starts[], time: LanesTime): number[] => {
  const { fromMs, untilMs, stepMs, barMs } = time
  const steps = Math.max(1, Math.ceil((untilMs - fromMs) / stepMs))
  const changes = Array.from({ length: steps + 1 }, () => 0)
  for (const { starts, usualMs } of plans)
    for (const { atMs, machines } of starts) {
      const step = Math.floor((atMs - fromMs) / stepMs)
      if (step < 0 || step >= steps) continue
      changes[step]! += machines
      changes[Math.min(steps, step + Math.max(1, Math.ceil((usualMs ?? 0) / stepMs)))]! -= machines
    }
  const bars = Array.from({ length: barsIn(time) }, () => 0)
  let running = 0
  for (let step = 0; step < steps; step++) {
    running += changes[step]!
    const bar = Math.floor((step * stepMs) / barMs)
    bars[bar] = Math.max(bars[bar]!, running)
  }
  return bars
}

/** Bars as an SVG path, each one unit wide, the highest as high as the box. */
export const barsPath = (bars: readonly number[]): string => {
  const most = Math.max(1, ...bars)
  return bars
    .map((count, index) => {
      if (count === 0) return ''
      const height = Math.round(BAR_MIN + ((LANE_HEIGHT - BAR_MIN) * count) / most)
      return `M${index} ${LANE_HEIGHT}v-${height}h1v${height}z`
    })
    .join('')
}

/** Midnights of a zone within the time, as instants. */
export const midnightsOf = ({ fromMs, untilMs }: Pick<LanesTime, 'fromMs' | 'untilMs'>, zone: string): number[] => {
  const hour = new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
    timeZone: zone,
  })
  const found: number[] = []
  const quarterMs = 900_000
  for (let at = Math.ceil(fromMs / quarterMs) * quarterMs; at < untilMs; at += quarterMs)
    if (hour.format(at) === '00:00') found.push(at)
  return found
}
