// Rates of a job from what it had done at several instants: the curve, and when it may end. Pure.

/** What was done at an instant of this machine's clock, in bytes. */
export interface Sample {
  readonly atMs: number
  readonly doneBytes: number
  readonly sentBytes: number
}

/** Samples older than this are let go, in milliseconds. */
export const KEPT_MS = 10 * 60_000

/** How long a job must be seen before anything is said of its end, in milliseconds. */
const SEEN_MS_MIN = 10_000

/** The rates that the end is guessed from are those of so many last milliseconds, and of all. */
const RECENT_MS = 20_000

/** Guesses further apart than this, as a ratio, say nothing. */
const SPREAD_MAX = 4

/** With a new sample at the end; one with less done than before starts over. */
export const withSample = (samples: readonly Sample[], sample: Sample): readonly Sample[] => {
  const last = samples.at(-1)
  if (last !== undefined && sample.doneBytes < last.doneBytes) return [sample]
  if (last !== undefined && sample.atMs <= last.atMs) return samples
  return [...samples.filter(({ atMs }) => atMs > sample.atMs - KEPT_MS), sample]
}

export interface Rates {
  readonly atMs: number
  /** Bytes a second since the sample before. */
  readonly done: number
  readonly sent: number
}

export const ratesOf = (samples: readonly Sample[]): readonly Rates[] =>
  samples.slice(1).map((sample, index) => {
    const before = samples[index]!
    const seconds = (sample.atMs - before.atMs) / 1000
    return {
      atMs: sample.atMs,
      done: (sample.doneBytes - before.doneBytes) / seconds,
      sent: Math.max(0, sample.sentBytes - before.sentBytes) / seconds,
    }
  })

/** Points of a line in a box of this size, time to the right; empty where there is nothing to draw. */
export const curveOf = (
  rates: readonly Rates[],
  of: 'done' | 'sent',
  { width, height, most }: { readonly width: number; readonly height: number; readonly most: number },
): string => {
  const [first, last] = [rates[0], rates.at(-1)]
  if (first === undefined || last === undefined || last.atMs === first.atMs || most <= 0) return ''
  return rates
    .map((rate) => {
      const x = ((rate.atMs - first.atMs) / (last.atMs - first.atMs)) * width
      const y = height - (Math.min(rate[of], most) / most) * height
      return `${x.toFixed(1)},${y.toFixed(1)}`
    })
    .join(' ')
}

/** The largest of both rates, in bytes a second. */
export const mostOf = (rates: readonly Rates[]): number =>
  rates.reduce((most, { done, sent }) => Math.max(most, done, sent), 0)

/** How long it may take, at least and at most, in milliseconds. */
export interface Left {
  readonly leastMs: number
  readonly mostMs: number
}

const meanRate = (samples: readonly Sample[]): number => {
  const [first, last] = [samples[0], samples.at(-1)]
  if (first === undefined || last === undefined || last.atMs === first.atMs) return 0
  return ((last.doneBytes - first.doneBytes) * 1000) / (last.atMs - first.atMs)
}

/** From the rate of late and that of all samples; null where they are too few, still, or too far apart. */
export const leftOf = (samples: readonly Sample[], leftBytes: number): Left | null => {
  const [first, last] = [samples[0], samples.at(-1)]
  if (first === undefined || last === undefined || last.atMs - first.atMs < SEEN_MS_MIN) return null
  const rates = [meanRate(samples), meanRate(samples.filter(({ atMs }) => atMs >= last.atMs - RECENT_MS))]
  const [slow, fast] = [Math.min(...rates), Math.max(...rates)]
  if (slow <= 0 || fast / slow > SPREAD_MAX) return null
  return { leastMs: (leftBytes * 1000) / fast, mostMs: (leftBytes * 1000) / slow }
}
