// Thaws a guest, retrying until it is confirmed.

import { VarveError } from '../../protocol/errors.ts'
import { pause } from '../../protocol/host/within.ts'
import { GUEST_COMMAND_LIMIT_MS, GUEST_SYNC_LIMIT_MS } from './channel.ts'
import { openGuest, type GuestOptions, type GuestSession } from './guest.ts'

/** First and longest pause between two attempts to thaw, in milliseconds. */
export const THAW_RETRY_FIRST_MS = 250
export const THAW_RETRY_MAX_MS = 5_000

/** Longest wait for a guest in one attempt, in milliseconds: a guest may need minutes for an answer. */
export const THAW_PATIENCE_MAX_MS = 300_000

/** Whether the guest's file systems are frozen now, by any program; null where that cannot be asked. */
export const isFrozen = async (
  channel: GuestSession,
  timeoutMs: number = GUEST_COMMAND_LIMIT_MS,
): Promise<boolean | null> => {
  const status = await channel.execute('guest-fsfreeze-status', { timeoutMs })
  if (status === 'frozen') return true
  if (status === 'thawed') return false
  if (status === 'unknown') return null
  throw new VarveError('GUEST_AGENT_ERROR', 'the guest agent reported an unknown freeze status')
}

const thawOnce = async (channel: GuestSession, timeoutMs: number): Promise<number> => {
  const thawed = await channel.execute('guest-fsfreeze-thaw', { timeoutMs })
  if ((await isFrozen(channel, timeoutMs)) === true) {
    throw new VarveError('GUEST_AGENT_ERROR', 'the guest is still frozen after a thaw')
  }
  return typeof thawed === 'number' ? thawed : 0
}

/** Opens a conversation with a guest, as `openGuest` does. */
export type OpenGuest = (options: GuestOptions) => Promise<GuestSession>

/** The state of the guest behind a channel: frozen, or asked to freeze without an answer yet. */
export interface OpenFreeze {
  readonly channel: GuestSession
  readonly state: 'frozen' | 'unanswered'
}

export interface ThawOptions {
  /** Of the guest, as `openGuest` takes it. */
  readonly guestAgent: string
  /** The channel of the freeze, which is used first and closed here. */
  readonly freeze?: OpenFreeze
  /** `openGuest` unless it is said. */
  readonly open?: OpenGuest
  /** Asked before thawing a guest that another program may have frozen; false gives up. */
  readonly wanted?: () => Promise<boolean>
  readonly signal?: AbortSignal
  /** Called with the reason why an attempt failed. */
  readonly onRetry?: (error: unknown) => void
}

/** Waits on the channel of an unanswered freeze until the guest has finished it. */
const outlast = async (channel: GuestSession): Promise<void> => {
  for (let patienceMs = GUEST_SYNC_LIMIT_MS; patienceMs <= THAW_PATIENCE_MAX_MS; patienceMs *= 2) {
    if (await channel.resync(patienceMs)) return
  }
  throw new VarveError('GUEST_AGENT_UNAVAILABLE', 'the guest has not answered the freeze command')
}

const thawOpen = async ({ channel, state }: OpenFreeze): Promise<number> => {
  if (state === 'frozen') return await thawOnce(channel, GUEST_COMMAND_LIMIT_MS)
  await outlast(channel)
  return (await isFrozen(channel)) === false ? 0 : await thawOnce(channel, GUEST_COMMAND_LIMIT_MS)
}

/** Whether the guest is frozen; true also for one that cannot report it. */
const mayBeFrozen = async (channel: GuestSession, limitMs: number): Promise<boolean> => {
  try {
    return (await isFrozen(channel, limitMs)) !== false
  } catch (error) {
    if (error instanceof VarveError && error.code === 'GUEST_AGENT_ERROR') return true
    throw error
  }
}

/** One attempt on a connection of its own, in which the guest may take `patienceMs` for each answer. */
const thawFresh = async (options: ThawOptions, patienceMs: number): Promise<number> => {
  const { guestAgent, open = openGuest, wanted = () => Promise.resolve(true), signal } = options
  const channel = await open({ guestAgent, timeoutMs: patienceMs, signal })
  const limitMs = Math.max(GUEST_COMMAND_LIMIT_MS, patienceMs)
  try {
    return (await mayBeFrozen(channel, limitMs)) && (await wanted()) ? await thawOnce(channel, limitMs) : 0
  } finally {
    channel.close()
  }
}

/**
 * Thaws until the guest says that it is thawed; resolves with the number of file systems that were still frozen.
 * It never gives up: a guest that is silent, or whose socket is gone, may come back. The signal's reason is
 * thrown when it aborts.
 */
export const thawVerified = async (options: ThawOptions): Promise<number> => {
  const { freeze, signal, onRetry } = options
  let patienceMs = GUEST_SYNC_LIMIT_MS
  let pauseMs = THAW_RETRY_FIRST_MS
  const close = (): void => freeze?.channel.close()
  signal?.addEventListener('abort', close, { once: true })
  let known = freeze ?? null
  for (;;) {
    const startedMs = performance.now()
    try {
      signal?.throwIfAborted()
      return known === null ? await thawFresh(options, patienceMs) : await thawOpen(known)
    } catch (error) {
      signal?.throwIfAborted()
      onRetry?.(error)
      // after silence the next attempt waits longer, after a refusal it waits first
      if (performance.now() - startedMs >= patienceMs) patienceMs = Math.min(patienceMs * 2, THAW_PATIENCE_MAX_MS)
      await pause(pauseMs, signal)
      pauseMs = Math.min(pauseMs * 2, THAW_RETRY_MAX_MS)
    } finally {
      close()
      known = null
    }
  }
}
