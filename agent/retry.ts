// Retries what failed for a transient reason.

import { asVarveError, type VarveError } from '../protocol/errors.ts'
import type { Clock } from '../protocol/peer.ts'

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
