// Work that is done again and again, each time a while after it last ended.
import type { Clock } from './peer.ts'

/** Runs `work` every `intervalMs` after its last end, the first time after one interval; a failure does not end it. Disposing waits for what runs. */
export const repeat = (options: {
  readonly clock: Clock
  readonly intervalMs: number
  readonly work: () => Promise<void>
  /** Told of failures, but for those that come while it is stopped: what the work needs may be closing already. */
  readonly onError?: (error: unknown) => void
}): AsyncDisposable => {
  const { clock, intervalMs, work, onError = () => {} } = options
  let stopped = false
  let stopTimer = (): void => {}
  let running = Promise.resolve()
  const next = (): void => {
    stopTimer = clock.after(intervalMs, () => {
      running = work()
        .catch((error: unknown) => {
          if (!stopped) onError(error)
        })
        .then(() => {
          if (!stopped) next()
        })
    })
  }
  next()
  return {
    [Symbol.asyncDispose]: async () => {
      stopped = true
      stopTimer()
      await running
    },
  }
}
