// The instant of a lease in QEMU: one transaction for all disks.
import type { ConsistencyWish } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Thawer } from '../../guest/thawer.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { LeaseRequest } from '../driver.ts'
import { takeInstant, type Instant } from '../instant.ts'
import type { QmpEntry } from './entry.ts'
import { guestAgentOf, qmpPathOf } from './keys.ts'
import type { TransactionAction } from './actions.ts'

export interface QmpInstantOptions {
  readonly client: QmpCaller
  readonly thawer: Thawer
  readonly entry: QmpEntry
  /** What is done at it, for all disks. */
  readonly actions: readonly TransactionAction[]
  readonly wish: ConsistencyWish
  readonly freezeTimeoutMs: number
  readonly onThawed?: LeaseRequest['onThawed']
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

/** Takes the instant. The guest is thawed whatever happens; LEASE_HELD when another job holds a disk. */
export const takeQmpInstant = async (options: QmpInstantOptions): Promise<Instant> => {
  const { client, thawer, entry, actions, wish, freezeTimeoutMs, onThawed } = options
  const { id: lease, machine } = entry
  const guestAgent = guestAgentOf(machine)
  const guest = guestAgent === null ? null : { guestAgent, monitor: qmpPathOf(machine) }
  const take = async (): Promise<void> => {
    try {
      await client.execute('transaction', { actions })
    } catch (error) {
      throw asLeaseError(error)
    }
  }
  return await takeInstant({ thawer, machine: machine.name, lease, guest, wish, freezeTimeoutMs, onThawed, take })
}
