// Tells the gateway now and then what a backup does and where its time goes, for who watches it.
import { asVarveError } from '../protocol/errors.ts'
import type { Clock } from '../protocol/peer.ts'
import type { Pace } from './pace.ts'
import type { GatewayLink } from './session/link.ts'
import type { Steps } from './steps.ts'

/** How often it is told, in milliseconds. */
export const PROGRESS_MS = 2000

/** How long it waits for a gateway that is away, in milliseconds: what is told later would not be true any more. */
const AWAY_MS = 1

/** Tells it until the returned function is called. A gateway that does not know the method is told once; nothing waits for it. */
export const tellProgress = ({
  job,
  steps,
  pace,
  link,
  clock,
}: {
  readonly job: string
  readonly steps: Pick<Steps, 'current'>
  readonly pace: Pick<Pace, 'take'>
  readonly link: () => Pick<GatewayLink, 'call'>
  readonly clock: Clock
}): (() => void) => {
  const over = new AbortController()
  let stopTimer: (() => void) | null = null
  const tell = async (): Promise<void> => {
    try {
      await link().call('backup.progress', { job, step: steps.current, spent: pace.take() }, over.signal, AWAY_MS)
    } catch (thrown) {
      // an older gateway; every other failure concerns this look only
      if (asVarveError(thrown).code === 'METHOD_UNKNOWN') return
    }
    wait()
  }
  const wait = (): void => {
    if (!over.signal.aborted) stopTimer = clock.after(PROGRESS_MS, () => void tell())
  }
  wait()
  return () => {
    over.abort()
    stopTimer?.()
  }
}
