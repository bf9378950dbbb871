// SIGINT, SIGTERM and SIGHUP as the end of a command's work.
import { VarveError } from '../errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A signal that aborts with CANCELLED on SIGINT (Ctrl-C), SIGTERM or SIGHUP until disposed; a second one ends the process. */
export const interruption = (controller = new AbortController()): Disposable & { readonly signal: AbortSignal } => {
  const abort = (name: NodeJS.Signals): void => controller.abort(new VarveError('CANCELLED', `interrupted by ${name}`))
  for (const name of SIGNALS) process.once(name, abort)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of SIGNALS) process.off(name, abort)
    },
  }
}
