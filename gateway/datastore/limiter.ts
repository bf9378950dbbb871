// Two small guards for asynchronous work: a bound on what is under way at once, and one-at-a-time in order.
import { VarveError } from '../../protocol/errors.ts'

/** Bounds the total weight of work under way; callers past it wait in order, and past `waitingMax` waiters are refused. */
export class Limiter {
  readonly #weightMax: number
  readonly #waitingMax: number
  #weight = 0
  readonly #waiting: { readonly weight: number; readonly start: () => void }[] = []

  constructor(options: { weightMax: number; waitingMax: number }) {
    this.#weightMax = options.weightMax
    this.#waitingMax = options.waitingMax
  }

  /** Runs `work` once its weight fits (one piece heavier than the whole bound runs alone). TOO_MANY_REQUESTS. */
  async run<R>(weight: number, work: () => Promise<R>): Promise<R> {
    const counted = Math.min(weight, this.#weightMax)
    if (this.#waiting.length > 0 || this.#weight + counted > this.#weightMax) {
      if (this.#waiting.length >= this.#waitingMax)
        throw new VarveError('TOO_MANY_REQUESTS', 'too much work is waiting for the datastore')
      await new Promise<void>((start) => this.#waiting.push({ weight: counted, start }))
    } else {
      this.#weight += counted
    }
    try {
      return await work()
    } finally {
      this.#weight -= counted
      this.#next()
    }
  }

  #next(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#weight + first.weight > this.#weightMax) return
      this.#weight += first.weight
      this.#waiting.shift()
      first.start()
    }
  }
}

/** Runs pieces of work one after the other, in the order in which they were given. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve()

  run<R>(work: () => Promise<R>): Promise<R> {
    const result = this.#last.then(work, work)
    // the chain itself must not carry a failure on: the caller has it
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Resolves when everything given so far has ended. */
  async idle(): Promise<void> {
    await this.#last
  }
}
