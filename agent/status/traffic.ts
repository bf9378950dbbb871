// What the backups of this agent have read and sent since it started, and how fast they do just now.
import type { Clock } from '../../protocol/peer.ts'

/** Rates are those of the last so many whole seconds. */
export const RATE_SECONDS = 10

export interface TrafficTotals {
  readonly bytesRead: number
  readonly bytesSent: number
}

interface Second {
  /** Which second it is, by the clock that never goes back. */
  readonly at: number
  read: number
  sent: number
}

export class Traffic {
  readonly #clock: Clock
  readonly #seconds: Second[] = []
  #read = 0
  #sent = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Bytes that were read from disks, before compression. */
  read(bytes: number): void {
    this.#read += bytes
    this.#now().read += bytes
  }

  /** Bytes of chunks that were sent, compressed. */
  sent(bytes: number): void {
    this.#sent += bytes
    this.#now().sent += bytes
  }

  get totals(): TrafficTotals {
    return { bytesRead: this.#read, bytesSent: this.#sent }
  }

  /** Bytes a second over the last RATE_SECONDS. */
  get rates(): { readonly readBytesPerSecond: number; readonly sentBytesPerSecond: number } {
    const { at } = this.#now()
    const past = this.#seconds.filter((second) => second.at < at && second.at >= at - RATE_SECONDS)
    const sum = (of: 'read' | 'sent'): number => past.reduce((total, second) => total + second[of], 0)
    return {
      readBytesPerSecond: Math.round(sum('read') / RATE_SECONDS),
      sentBytesPerSecond: Math.round(sum('sent') / RATE_SECONDS),
    }
  }

  #now(): Second {
    const at = Math.floor(this.#clock.elapsed() / 1000)
    let last = this.#seconds.at(-1)
    if (last === undefined || last.at < at) {
      last = { at, read: 0, sent: 0 }
      this.#seconds.push(last)
      if (this.#seconds.length > RATE_SECONDS + 1) this.#seconds.shift()
    }
    return last
  }
}
