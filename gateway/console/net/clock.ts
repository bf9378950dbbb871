// The browser's clock.
import type { Clock } from '../../../protocol/peer.ts'

export const clock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, action) => {
    const timer = setTimeout(action, ms)
    return () => clearTimeout(timer)
  },
}
