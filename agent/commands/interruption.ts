// SIGINT, SIGTERM and SIGHUP as the end of a command's work.
import { asVarveError, VarveError } from '../../protocol/errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Aborts with CANCELLED on SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal was closed). */
export const onInterruption = (controller: AbortController): void => {
  for (const name of SIGNALS)
    process.once(name, () => controller.abort(new VarveError('CANCELLED', `interrupted by ${name}`)))
}

/** The same as a signal of its own, for a command that has no other way to be ended. */
export const interruption = (): AbortSignal => {
  const controller = new AbortController()
  onInterruption(controller)
  return controller.signal
}

/** The promise's value, or the reason of the signal once it aborts. */
export const orAbort = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(asVarveError(signal.reason))
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
