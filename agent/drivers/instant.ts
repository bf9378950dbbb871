// The instant of a lease, whatever its driver: freeze or pause, one step for all disks, thaw.
import type { Consistency, ConsistencyWish } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import { freezeGuest, type Thaw } from '../guest/freezer.ts'
import { pausedMachine, type MachineRun } from '../guest/paused-machine.ts'
import { pauseMachine } from '../guest/pauser.ts'
import type { Thawer } from '../guest/thawer.ts'
import { StartedHooks, type HookedLease } from '../hooks/hooked.ts'
import type { LeaseRequest } from './driver.ts'

/** How long a lease waits for an earlier freeze of its guest to be undone, in milliseconds. */
const EARLIER_FREEZE_WAIT_MS = 10_000

/** The requested and the reached consistency of a lease's instant. */
export interface Instant {
  readonly timeMs: number
  readonly consistency: Consistency
  readonly consistencyNote: string | null
}

/** A guest at its instant. */
export interface InstantGuest {
  /** Where its agent is asked; null where it has none. */
  readonly guestAgent: string | null
  /** Mount points of the file systems that are frozen; absent for all. */
  readonly freezeOnly?: readonly string[] | undefined
  /** The monitor's socket, or an address as `libvirtGuest` writes it. */
  readonly monitor: string
  /** What stops the machine and continues it. */
  readonly run: MachineRun
}

export interface InstantOptions {
  readonly thawer: Thawer
  readonly machine: string
  readonly lease: string
  readonly guest: InstantGuest
  readonly wish: ConsistencyWish
  /** Longest freeze or stop, in milliseconds. */
  readonly freezeTimeoutMs: number
  /** Told for how long the guest was frozen or stopped, in milliseconds. */
  readonly onThawed?: LeaseRequest['onThawed']
  /** Commands of this host before and after the instant; null for none. */
  readonly hooks: HookedLease | null
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

/** A guest for the time of the instant: what is reached if it is still so afterwards, and how that is undone. */
interface Still {
  readonly consistency: Consistency
  readonly note: string | null
  /** Null where there is nothing to undo. */
  readonly undo: (() => Promise<Thaw>) | null
}

const asItIs = (note: string | null): Still => ({ consistency: 'crash', note, undo: null })

const whyOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** A guest that is still in one freeze is not frozen again; GUEST_AGENT_ERROR. */
const refuseUndone = async (thawer: Thawer, address: string, what: string): Promise<void> => {
  if (await thawer.isClear(address, EARLIER_FREEZE_WAIT_MS)) return
  throw new VarveError('GUEST_AGENT_ERROR', `an earlier ${what} is not undone yet; the agent keeps trying`)
}

const freeze = async ({ thawer, machine, lease, guest, wish, freezeTimeoutMs }: InstantOptions): Promise<Still> => {
  const { guestAgent, freezeOnly: mountpoints, monitor: qmp } = guest
  if (guestAgent === null) return asItIs('no guest agent is configured')
  try {
    await refuseUndone(thawer, guestAgent, 'freeze of the guest')
    const whose = { guestAgent, machine, qmp, lease, mountpoints }
    const frozen = await freezeGuest({ ...whose, timeoutMs: freezeTimeoutMs, thawer })
    const note =
      mountpoints === undefined ? null : `of the guest's file systems only ${mountpoints.join(', ')} were frozen`
    return { consistency: 'frozen', note, undo: () => frozen.thaw() }
  } catch (cause) {
    const why = whyOf(cause)
    if (wish === 'freeze') return asItIs(why)
    throw new VarveError('FREEZE_REQUIRED', `the policy requires a freeze, and the guest could not be frozen: ${why}`, {
      cause,
    })
  }
}

const stop = async ({ thawer, machine, lease, guest, freezeTimeoutMs }: InstantOptions): Promise<Still> => {
  const { monitor, run } = guest
  const address = pausedMachine(monitor)
  try {
    await refuseUndone(thawer, address, 'stop of the machine')
    const { running, state } = await run.look()
    // whoever stopped it continues it
    if (!running) return { consistency: 'paused', note: `the machine stood still already (${state})`, undo: null }
    const stopped = await pauseMachine({ address, run, machine, lease, timeoutMs: freezeTimeoutMs, thawer })
    return { consistency: 'paused', note: null, undo: () => stopped.resume() }
  } catch (cause) {
    return asItIs(whyOf(cause))
  }
}

const still = async (options: InstantOptions): Promise<Still> => {
  if (options.wish === 'none') return asItIs(null)
  return await (options.wish === 'pause' ? stop(options) : freeze(options))
}

const judge = (
  { consistency, note }: Still,
  thaw: Thaw | null,
  { wish, freezeTimeoutMs }: InstantOptions,
): Omit<Instant, 'timeMs'> => {
  if (thaw === null || thaw.inTime) return { consistency, consistencyNote: note }
  const what = wish === 'pause' ? 'the machine was continued' : 'the guest thawed'
  const late = `${what} before the instant was taken (limit ${freezeTimeoutMs} ms)`
  if (wish === 'freeze-required') throw new VarveError('FREEZE_TIMEOUT', late, { details: { frozenMs: thaw.frozenMs } })
  return { consistency: 'crash', consistencyNote: late }
}

/** The guest is thawed, the machine continued, whatever happens. */
const takeStill = async (options: InstantOptions): Promise<Instant> => {
  const held = await still(options)
  // read before the command is sent: what a guest completed before this time is in the point
  const timeMs = Date.now()
  let thaw: Thaw | null = null
  try {
    await options.take()
  } finally {
    thaw = held.undo === null ? null : await held.undo()
    if (thaw !== null) options.onThawed?.(thaw.frozenMs)
  }
  return { timeMs, ...judge(held, thaw, options) }
}

/** Longest note of an instant, in characters. */
const NOTE_CHARS_MAX = 1024

/** Takes the instant, between its hooks where it has some; the guest is thawed and the hook after it run whatever happens. */
export const takeInstant = async (options: InstantOptions): Promise<Instant> => {
  const { hooks, wish } = options
  if (hooks === null) return await takeStill(options)
  const started = await StartedHooks.begin(hooks)
  let instant: Instant | null = null
  let said = ''
  try {
    if (started.fault !== null && wish === 'freeze-required') {
      const sentence = `the policy requires a freeze, and the hook before the instant failed: ${started.fault}`
      throw new VarveError('FREEZE_REQUIRED', sentence, { details: { hook: 'before' } })
    }
    instant = await takeStill(options)
  } finally {
    said = await started.end(instant?.consistency ?? 'failed')
  }
  const note = [instant.consistencyNote, said].filter((words) => words !== null && words !== '').join('; ')
  return { ...instant, consistencyNote: note.slice(0, NOTE_CHARS_MAX) }
}
