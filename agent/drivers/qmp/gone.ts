// Tells a QEMU that has ended from one that does not answer.
import { VarveError } from '../../../protocol/errors.ts'

/** Whether an error says that QEMU is gone, so that only its images remain. */
export const isGone = (error: unknown): boolean =>
  error instanceof VarveError &&
  error.code === 'QMP_UNAVAILABLE' &&
  (error.details['errno'] === 'ECONNREFUSED' || error.details['errno'] === 'ENOENT')
