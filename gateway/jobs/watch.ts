// Follows one job for who watches it, until it has ended and its machine is as it was before.
import type { Job } from '../../protocol/methods.ts'
import type { Clock, ServedCall } from '../../protocol/peer.ts'
import type { ShownJob } from '../catalog/jobs.ts'
import type { Watchers } from './watchers.ts'

/** How long watchers of an ended job wait for its agent to release the lease, in milliseconds. */
export const RELEASE_LIMIT_MS = 15_000

interface Uses {
  readonly watchers: Watchers
  /** Null where an agent is not connected. */
  readonly agents: { find(agent: string): object | null }
  readonly clock: Clock
}

/**
 * Sends the job's state now and after each change until it has ended and its lease is given back; gives the last one.
 * An agent that is away, or takes longer than RELEASE_LIMIT_MS, is not waited for.
 */
export const watchJob = async (
  { watchers, agents, clock }: Uses,
  job: string,
  call: ServedCall<'jobs.watch'>,
  look: () => Promise<{ readonly row: ShownJob; readonly view: Job }>,
): Promise<Job> => {
  let late = false
  let stopTimer: (() => void) | null = null
  try {
    while (true) {
      call.signal.throwIfAborted()
      const changed = watchers.changed(job, call.signal)
      const { row, view } = await look()
      if (view.state !== 'running') {
        if (view.released || late || agents.find(row.agent) === null) return view
        stopTimer ??= clock.after(RELEASE_LIMIT_MS, () => {
          late = true
          watchers.notify(job, 'end')
        })
      }
      await call.send(view)
      await changed
    }
  } finally {
    stopTimer?.()
  }
}
