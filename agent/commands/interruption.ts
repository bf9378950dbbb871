// SIGINT, SIGTERM and SIGHUP as the end of a command's work.
import { VarveError } from '../../protocol/errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Aborts with CANCELLED on SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal was closed). */
export const onInterruption = (controller: AbortController): void => {
  for (const name of SIGNALS)
    process.once(name, () => controller.abort(new VarveError('CANCELLED', `interrupted by ${name}`)))
}
