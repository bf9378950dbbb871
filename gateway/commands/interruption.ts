// SIGINT, SIGTERM and SIGHUP as the end of a command's work.
import { VarveError } from '../../protocol/errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A signal that aborts with CANCELLED on SIGINT, SIGTERM or SIGHUP (its terminal was closed), while it is not disposed of; a second one ends the process. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController()
  readonly #abort = (): void => this.#controller.abort(new VarveError('CANCELLED', 'interrupted'))

  constructor() {
    for (const name of SIGNALS) process.once(name, this.#abort)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) process.off(name, this.#abort)
  }
}
