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
  let stopTimer: (() => void) | null = null
  let running = Promise.resolve()
  const run = async (): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (!stopped) onError(error)
    }
    if (!stopped) next()
  }
  const next = (): void => {
    stopTimer = clock.after(intervalMs, () => {
      running = run()
    })
  }
  next()
  return {
    [Symbol.asyncDispose]: async () => {
      stopped = true
      stopTimer?.()
      await running
    },
  }
}
