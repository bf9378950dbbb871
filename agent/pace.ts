// Where the time of uploads goes: reading, hashing and compressing, waiting for what is sent, waiting for answers.
import type { Clock } from '../protocol/peer.ts'
import type { Spent } from '../protocol/steps.ts'

/**
 * At each instant an upload is in one state: its threads have work; or else something waits to be sent; or else only an answer
 * of the gateway's is to come. A slow disk or slow threads so show as work, whatever is sent beside it: nothing waits for room
 * that they do not fill.
 */
export class Pace {
  readonly #clock: Clock
  #uploads = 0
  #works = 0
  #sends = 0
  #sinceMs: number
  #workingMs = 0
  #computingMs = 0
  #sendingMs = 0
  #answersMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#sinceMs = clock.elapsed()
  }

  /** Counts the time of an upload. */
  async uploading<R>(upload: () => Promise<R>): Promise<R> {
    this.#settle()
    this.#uploads++
    try {
      return await upload()
    } finally {
      this.#settle()
      this.#uploads--
    }
  }

  /** Counts work of the upload's threads, which hashed and compressed for `computeMs` of it, on one of so many. */
  async working<R extends { readonly computeMs: number }>(threads: number, work: () => Promise<R>): Promise<R> {
    const done = await this.reading(work)
    this.#computingMs += done.computeMs / threads
    return done
  }

  /** Counts a wait for the disk. */
  async reading<R>(work: () => Promise<R>): Promise<R> {
    this.#settle()
    this.#works++
    try {
      return await work()
    } finally {
      this.#settle()
      this.#works--
    }
  }

  /** Counts a wait of what is to be sent. */
  async sending(send: () => Promise<void>): Promise<void> {
    this.#settle()
    this.#sends++
    try {
      await send()
    } finally {
      this.#settle()
      this.#sends--
    }
  }

  /** Items as they come, each of them awaited as what the disk says. */
  async *awaited<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = items[Symbol.asyncIterator]()
    try {
      for (let next = await this.reading(() => iterator.next()); next.done !== true;) {
        yield next.value
        next = await this.reading(() => iterator.next())
      }
    } finally {
      await iterator.return?.()
    }
  }

  /** What was spent since the last time; null where nothing was uploaded. */
  take(): Spent | null {
    this.#settle()
    const compressingMs = Math.min(this.#computingMs, this.#workingMs)
    const spent = {
      overMs: Math.round(this.#workingMs + this.#sendingMs + this.#answersMs),
      readingMs: Math.round(this.#workingMs - compressingMs),
      compressingMs: Math.round(compressingMs),
      sendingMs: Math.round(this.#sendingMs),
      answersMs: Math.round(this.#answersMs),
    }
    this.#workingMs = this.#computingMs = this.#sendingMs = this.#answersMs = 0
    return spent.overMs === 0 ? null : spent
  }

  #settle(): void {
    const nowMs = this.#clock.elapsed()
    const passedMs = nowMs - this.#sinceMs
    this.#sinceMs = nowMs
    if (this.#uploads === 0) return
    if (this.#works > 0) this.#workingMs += passedMs
    else if (this.#sends > 0) this.#sendingMs += passedMs
    else this.#answersMs += passedMs
  }
}
