// Retries what failed for a transient reason, and the pauses before a connection is tried again.

import { asVarveError, type VarveError } from '../protocol/errors.ts'
import type { Clock } from '../protocol/peer.ts'

/** First and longest pause before connecting again, in milliseconds. */
const BACKOFF_FIRST_MS = 500
const BACKOFF_MAX_MS = 30_000

/** Pause before attempt `attempt` (0 first): doubles, with half of it drawn at random so that many agents spread out. */
export const backoffMs = (attempt: number, random: number): number => {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16))
  return ceiling / 2 + (ceiling / 2) * random
}

export interface RetryOptions {
  readonly triesMax: number
  /** Between two tries, in milliseconds. */
  readonly pauseMs: number
  readonly clock: Clock
  /** Whether another try may help. */
  readonly passes: (error: VarveError) => boolean
}

/** Does the work until it succeeds, a retry cannot help, or the tries are used up; throws the last failure. */
export const retry = async <R>(work: () => Promise<R>, options: RetryOptions): Promise<R> => {
  const { triesMax, pauseMs, clock, passes } = options
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (thrown) {
      if (tries === triesMax || !passes(asVarveError(thrown))) throw thrown
      await new Promise<void>((resolve) => void clock.after(pauseMs, resolve))
    }
  }
}
