// The instant of a lease: freeze, one transaction for all disks, thaw.
import type { Consistency, ConsistencyWish } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { freezeGuest, type FrozenGuest, type Thaw } from '../../guest/freezer.ts'
import type { Thawer } from '../../guest/thawer.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { QmpEntry } from './entry.ts'
import { guestAgentOf, qmpPathOf } from './keys.ts'
import { transactionActions } from './plan.ts'

/** How long a lease waits for an earlier freeze of its guest to be undone, in milliseconds. */
const EARLIER_FREEZE_WAIT_MS = 10_000

/** The requested and the reached consistency of a lease's instant. */
export interface Instant {
  readonly timeMs: number
  readonly consistency: Consistency
  readonly consistencyNote: string | null
}

export interface InstantOptions {
  readonly client: QmpCaller
  readonly thawer: Thawer
  readonly entry: QmpEntry
  readonly wish: ConsistencyWish
  readonly freezeTimeoutMs: number
}

/** FREEZE_REQUIRED for a machine that can never be frozen, before anything is made. */
export const checkWish = (wish: ConsistencyWish, guestAgent: string | null, machine: string): void => {
  if (wish === 'freeze-required' && guestAgent === null) {
    throw new VarveError(
      'FREEZE_REQUIRED',
      `machine ${machine} has no guest agent configured, and the policy requires a freeze`,
    )
  }
}

type Frozen = { readonly guest: FrozenGuest } | { readonly guest: null; readonly note: string | null }

const freeze = async ({ thawer, entry, wish, freezeTimeoutMs }: InstantOptions): Promise<Frozen> => {
  const { machine } = entry
  const guestAgent = guestAgentOf(machine)
  if (wish === 'none') return { guest: null, note: null }
  if (guestAgent === null) return { guest: null, note: 'no guest agent is configured' }
  try {
    // a guest that is still in one freeze is not frozen again
    if (!(await thawer.isClear(guestAgent, EARLIER_FREEZE_WAIT_MS))) {
      throw new VarveError(
        'GUEST_AGENT_ERROR',
        'an earlier freeze of the guest is not undone yet; the agent keeps trying',
      )
    }
    const guest = { socketPath: guestAgent, machine: machine.name, qmp: qmpPathOf(machine), lease: entry.id }
    return { guest: await freezeGuest({ ...guest, timeoutMs: freezeTimeoutMs, thawer }) }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    if (wish === 'freeze') return { guest: null, note: why }
    throw new VarveError('FREEZE_REQUIRED', `the policy requires a freeze, and the guest could not be frozen: ${why}`, {
      cause,
    })
  }
}

const asLeaseError = (error: unknown): unknown => {
  if (!(error instanceof VarveError) || error.code !== 'QMP_ERROR') return error
  const description = String(error.details['desc'])
  if (!/in use|busy/i.test(description)) return error
  return new VarveError('LEASE_HELD', `a disk is busy with another job of QEMU: ${description}`, {
    details: error.details,
    cause: error,
  })
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

/** Takes the instant. The guest is thawed whatever happens; LEASE_HELD when another job holds a disk. */
export const takeInstant = async (options: InstantOptions): Promise<Instant> => {
  const { client, entry } = options
  const frozen = await freeze(options)
  // read before the command is sent: what a guest completed before this time is in the point
  const timeMs = Date.now()
  let thaw: Thaw | null = null
  try {
    await client.execute('transaction', { actions: transactionActions(entry) })
  } catch (error) {
    throw asLeaseError(error)
  } finally {
    thaw = frozen.guest === null ? null : await frozen.guest.thaw()
  }
  return { timeMs, ...judge(thaw, frozen.guest === null ? frozen.note : null, options) }
}
