// The instant of a lease in QEMU: one transaction for all disks.
import { VarveError } from '../../../protocol/errors.ts'
import { qmpRun } from '../../guest/paused-machine.ts'
import type { Thawer } from '../../guest/thawer.ts'
import { hookedLease } from '../../hooks/hooked.ts'
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
  readonly request: LeaseRequest
  readonly stateFolder: string
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
  const { client, thawer, entry, actions, request, stateFolder } = options
  const { consistency: wish, freezeTimeoutMs, onThawed } = request
  const { freezeOnly } = request.machine
  const { id: lease, machine } = entry
  const guest = { guestAgent: guestAgentOf(machine), freezeOnly, monitor: qmpPathOf(machine), run: qmpRun(client) }
  const take = async (): Promise<void> => {
    try {
      await client.execute('transaction', { actions })
    } catch (error) {
      throw asLeaseError(error)
    }
  }
  const hooks = hookedLease(stateFolder, request)
  const what = { thawer, machine: machine.name, lease, guest, hooks, take }
  return await takeInstant({ ...what, wish, freezeTimeoutMs, onThawed })
}
