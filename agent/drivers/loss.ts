// The error of a failed backup, where a failed read may really be the loss of the machine.
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import type { Lease } from './driver.ts'

/** How long after a failed read the lease may take to notice that its machine is gone, in milliseconds. */
const LOSS_LIMIT_MS = 3000

/** The reason of the abort, else the error itself; that QEMU has ended says more than that a disk cannot be read. */
export const lossOf = async (
  thrown: unknown,
  lease: Pick<Lease, 'lost' | 'whyUnreadable'> | null,
  signal: AbortSignal,
): Promise<VarveError> => {
  if (signal.aborted) return asVarveError(signal.reason)
  const error = asVarveError(thrown)
  if (lease === null || !error.code.startsWith('NBD_')) return error
  return (await lease.whyUnreadable?.()) ?? (await within(lease.lost, LOSS_LIMIT_MS)) ?? error
}
