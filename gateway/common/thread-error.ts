// An error of one of the datastore's own threads, as it crosses to the thread that asked.
import { isErrorCode, VarveError, type ErrorDetails } from '../../protocol/errors.ts'
import { ownDamage } from '../packs/damage.ts'

export interface ThreadError {
  readonly code: string
  readonly message: string
  readonly details: ErrorDetails
}

/** The error as the thread raised it; INTERNAL for a code that the table does not have. Damage that a thread of ours names is our own. */
export const errorOfThread = ({ code, message, details }: ThreadError): VarveError => {
  const error = new VarveError(isErrorCode(code) ? code : 'INTERNAL', message, { details })
  return error.code === 'DATA_DAMAGED' ? ownDamage(error) : error
}
