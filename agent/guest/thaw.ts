// Thaws a guest and makes sure of it.

import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../protocol/errors.ts'
import { GuestChannel } from './channel.ts'

/** How long a thaw is tried again before it is given up, in milliseconds. */
export const THAW_LIMIT_MS = 120_000

/** Pause between two attempts to thaw, in milliseconds. */
export const THAW_RETRY_MS = 250

/** Whether the guest's file systems are frozen now, by whomever. */
export const isFrozen = async (channel: GuestChannel): Promise<boolean> => {
  const status = await channel.execute('guest-fsfreeze-status')
  if (status === 'frozen') return true
  if (status === 'thawed') return false
  throw new VarveError('GUEST_AGENT_ERROR', 'The guest agent gave a freeze status that is not known.')
}

const thawOnce = async (channel: GuestChannel): Promise<number> => {
  const thawed = await channel.execute('guest-fsfreeze-thaw')
  if (await isFrozen(channel)) throw new VarveError('GUEST_AGENT_ERROR', 'The guest is still frozen after a thaw.')
  return typeof thawed === 'number' ? thawed : 0
}

/** Whether the machine is gone: nothing listens on its socket, so there is no guest to thaw. */
const isGone = (error: unknown): boolean =>
  error instanceof VarveError && (error.details['errno'] === 'ENOENT' || error.details['errno'] === 'ECONNREFUSED')

export interface ThawOptions {
  readonly socketPath: string
  /** A channel to a guest that is frozen, told to thaw first; it is closed here. */
  readonly channel?: GuestChannel
  readonly limitMs?: number
}

const thawWhenFrozen = async (channel: GuestChannel): Promise<number> =>
  (await isFrozen(channel)) ? await thawOnce(channel) : 0

/**
 * Thaws until the guest says that it is thawed; the number of file systems that were still frozen.
 * After `limitMs`, or when the machine is gone, the last error is thrown.
 */
export const thawVerified = async ({ socketPath, channel, limitMs = THAW_LIMIT_MS }: ThawOptions): Promise<number> => {
  const deadlineMs = performance.now() + limitMs
  let known = channel ?? null
  let open = known
  for (;;) {
    try {
      open ??= await GuestChannel.open({ socketPath })
      return known === null ? await thawWhenFrozen(open) : await thawOnce(open)
    } catch (error) {
      if (isGone(error) || performance.now() > deadlineMs) throw error
      await sleep(THAW_RETRY_MS)
    } finally {
      open?.close()
      open = null
      known = null
    }
  }
}

/** Thaws a guest that an agent left frozen; true when it was. GUEST_AGENT_UNAVAILABLE when the guest does not answer. */
export const thawIfFrozen = async (socketPath: string): Promise<boolean> => {
  const channel = await GuestChannel.open({ socketPath })
  try {
    if (!(await isFrozen(channel))) return false
    await thawVerified({ socketPath, channel })
    return true
  } finally {
    channel.close()
  }
}
