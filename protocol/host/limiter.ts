// Two limits for asynchronous work: a bound on its concurrency, and one at a time in order.
import { VarveError } from '../errors.ts'

interface Waiter {
  readonly weight: number
  readonly start: () => void
}

/** Bounds the total weight of work under way; callers past it wait in order, and past `waitingMax` waiters are refused. */
export class Limiter {
  readonly #weightMax: number
  readonly #waitingMax: number
  #weight = 0
  readonly #waiting: Waiter[] = []

  constructor(options: { weightMax: number; waitingMax: number }) {
    this.#weightMax = options.weightMax
    this.#waitingMax = options.waitingMax
  }

  /** Runs `work` once its weight fits (one over the bound runs alone). TOO_MANY_REQUESTS; the signal's reason until it starts. */
  async run<R>(weight: number, work: () => Promise<R>, signal?: AbortSignal): Promise<R> {
    signal?.throwIfAborted()
    const counted = Math.min(weight, this.#weightMax)
    if (this.#waiting.length > 0 || this.#weight + counted > this.#weightMax) {
      if (this.#waiting.length >= this.#waitingMax)
        throw new VarveError('TOO_MANY_REQUESTS', 'too much work is waiting for the datastore')
      await this.#wait(counted, signal)
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

  async #wait(weight: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter: Waiter = { weight, start: resolve }
    const leave = (): void => {
      const index = this.#waiting.indexOf(waiter)
      if (index === -1) return
      this.#waiting.splice(index, 1)
      reject(signal?.reason)
      // later ones may be lighter
      this.#next()
    }
    this.#waiting.push(waiter)
    signal?.addEventListener('abort', leave)
    try {
      await promise
    } finally {
      signal?.removeEventListener('abort', leave)
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

/** Runs pieces of work one at a time, in the order given. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve()

  run<R>(work: () => Promise<R>): Promise<R> {
    const result = this.#last.then(work, work)
    // the chain itself must not propagate a failure: the caller gets it
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Resolves when everything given so far has ended. */
  async idle(): Promise<void> {
    await this.#last
  }
}
