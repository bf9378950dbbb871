// What a backup failed with, where reading a disk and losing its machine are two sides of one thing.
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import type { Lease } from './driver.ts'

/** How long it may take until the lease knows that its machine is gone, once reading has failed with it, in milliseconds. */
const LOSS_LIMIT_MS = 3000

/** Why work was given up, else what it failed with; a disk that cannot be read any more says less than that its QEMU has ended. */
export const lossOf = async (
  thrown: unknown,
  lease: Pick<Lease, 'lost'> | null,
  signal: AbortSignal,
): Promise<VarveError> => {
  if (signal.aborted) return asVarveError(signal.reason)
  const error = asVarveError(thrown)
  if (lease === null || !error.code.startsWith('NBD_')) return error
  return (await within(lease.lost, LOSS_LIMIT_MS)) ?? error
}
