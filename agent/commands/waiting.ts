// Reports what a command waits for, at once and periodically, and gives up after a time limit.
import { durationText } from '../../protocol/host/duration.ts'
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { Progress } from '../../protocol/host/progress.ts'

/** How often a wait is reported again, in milliseconds. */
const AGAIN_MS = 30_000

export interface WaitingOptions {
  readonly progress: Progress
  /** Longest wait for one thing, in milliseconds; null for no limit. */
  readonly limitMs: number | null
  /** Called once, when a wait exceeds the limit. */
  readonly giveUp: (error: VarveError) => void
}

interface Wait {
  readonly code: ErrorCode
  reason: string
  readonly sinceMs: number
  readonly timers: readonly NodeJS.Timeout[]
}

/** The waits under way, by what is waited for. */
export class Waiting implements Disposable {
  readonly #options: WaitingOptions
  readonly #waits = new Map<string, Wait>()

  constructor(options: WaitingOptions) {
    this.#options = options
  }

  /** Begins a wait for a reason, which is reported at once and whenever it changes. */
  begin(what: string, code: ErrorCode, reason: string): void {
    const known = this.#waits.get(what)
    if (known !== undefined) {
      if (known.reason === reason) return
      known.reason = reason
      return this.#say(what)
    }
    const again = setInterval(() => this.#say(what), AGAIN_MS)
    const { limitMs } = this.#options
    const end = limitMs === null ? [] : [setTimeout(() => this.#giveUp(what), limitMs)]
    this.#waits.set(what, { code, reason, sinceMs: performance.now(), timers: [again, ...end] })
    this.#say(what)
  }

  /** Ends a wait, and reports it where there was one. */
  end(what: string, sentence = `${what} is back`): void {
    if (this.#stop(what)) this.#options.progress.tell(sentence)
  }

  [Symbol.dispose](): void {
    for (const what of this.#waits.keys()) this.#stop(what)
  }

  #stop(what: string): boolean {
    for (const timer of this.#waits.get(what)?.timers ?? []) clearTimeout(timer)
    return this.#waits.delete(what)
  }

  #say(what: string): void {
    const { reason, sinceMs } = this.#waits.get(what)!
    const triedMs = performance.now() - sinceMs
    const tried = triedMs < 1000 ? '' : `, tried for ${durationText(triedMs)}`
    this.#options.progress.tell(`waiting for ${what}: ${reason}${tried}`)
  }

  #giveUp(what: string): void {
    const { code, reason, sinceMs } = this.#waits.get(what)!
    this.#stop(what)
    const tried = durationText(performance.now() - sinceMs)
    this.#options.giveUp(new VarveError(code, `gave up waiting for ${what} after ${tried}: ${reason}`))
  }
}
