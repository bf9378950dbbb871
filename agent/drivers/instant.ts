// The instant of a lease, whatever its driver: freeze, one step for all disks, thaw.
import type { Consistency, ConsistencyWish } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import { freezeGuest, type FrozenGuest, type Thaw } from '../guest/freezer.ts'
import type { Thawer } from '../guest/thawer.ts'
import type { LeaseRequest } from './driver.ts'

/** How long a lease waits for an earlier freeze of its guest to be undone, in milliseconds. */
const EARLIER_FREEZE_WAIT_MS = 10_000

/** The requested and the reached consistency of a lease's instant. */
export interface Instant {
  readonly timeMs: number
  readonly consistency: Consistency
  readonly consistencyNote: string | null
}

/** A guest that can be frozen: where its agent is asked, and the monitor's socket, empty where there is none. */
export interface InstantGuest {
  readonly guestAgent: string
  readonly monitor: string
}

export interface InstantOptions {
  readonly thawer: Thawer
  readonly machine: string
  readonly lease: string
  /** Null where the machine has no guest agent. */
  readonly guest: InstantGuest | null
  readonly wish: ConsistencyWish
  readonly freezeTimeoutMs: number
  /** Told for how long the guest was frozen, in milliseconds. */
  readonly onThawed?: LeaseRequest['onThawed']
  /** Takes the instant of all disks. */
  readonly take: () => Promise<void>
}

/** FREEZE_REQUIRED for a machine that can never be frozen, before anything is made. */
export const checkWish = (wish: ConsistencyWish, hasGuestAgent: boolean, machine: string): void => {
  if (wish === 'freeze-required' && !hasGuestAgent) {
    throw new VarveError(
      'FREEZE_REQUIRED',
      `machine ${machine} has no guest agent configured, and the policy requires a freeze`,
    )
  }
}

type Frozen = { readonly guest: FrozenGuest } | { readonly guest: null; readonly note: string | null }

const freeze = async ({ thawer, machine, lease, guest, wish, freezeTimeoutMs }: InstantOptions): Promise<Frozen> => {
  if (wish === 'none') return { guest: null, note: null }
  if (guest === null) return { guest: null, note: 'no guest agent is configured' }
  try {
    // a guest that is still in one freeze is not frozen again
    if (!(await thawer.isClear(guest.guestAgent, EARLIER_FREEZE_WAIT_MS))) {
      throw new VarveError(
        'GUEST_AGENT_ERROR',
        'an earlier freeze of the guest is not undone yet; the agent keeps trying',
      )
    }
    const whose = { guestAgent: guest.guestAgent, machine, qmp: guest.monitor, lease }
    return { guest: await freezeGuest({ ...whose, timeoutMs: freezeTimeoutMs, thawer }) }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    if (wish === 'freeze') return { guest: null, note: why }
    throw new VarveError('FREEZE_REQUIRED', `the policy requires a freeze, and the guest could not be frozen: ${why}`, {
      cause,
    })
  }
}

const judge = (
  thaw: Thaw | null,
  note: string | null,
  { wish, freezeTimeoutMs }: InstantOptions,
): Omit<Instant, 'timeMs'> => {
  if (thaw === null) return { consistency: 'crash', consistencyNote: note }
  if (thaw.inTime) return { consistency: 'frozen', consistencyNote: null }
  const late = `the guest thawed before the instant was taken (limit ${freezeTimeoutMs} ms)`
  if (wish === 'freeze-required') throw new VarveError('FREEZE_TIMEOUT', late, { details: { frozenMs: thaw.frozenMs } })
  return { consistency: 'crash', consistencyNote: late }
}

/** Takes the instant. The guest is thawed whatever happens. */
export const takeInstant = async (options: InstantOptions): Promise<Instant> => {
  const frozen = await freeze(options)
  // read before the command is sent: what a guest completed before this time is in the point
  const timeMs = Date.now()
  let thaw: Thaw | null = null
  try {
    await options.take()
  } finally {
    thaw = frozen.guest === null ? null : await frozen.guest.thaw()
    if (thaw !== null) options.onThawed?.(thaw.frozenMs)
  }
  return { timeMs, ...judge(thaw, frozen.guest === null ? frozen.note : null, options) }
}
