// Who reads one piece behind the other, and how far ahead of whom to fetch.

/** Readers that are followed at once: connections of one client read different parts. */
const READERS_MAX = 32

/** Bytes read in order after which a reader counts as a sequential one. */
const SEQUENTIAL_BYTES = 512 * 1024

interface Reader {
  /** Bytes that it has read in order. */
  readonly run: number
  /** Up to where was fetched for it. */
  readonly fetched: number
}

/** A range to fetch, in bytes. */
export interface Ahead {
  readonly offset: number
  readonly length: number
}

export class ReadAhead {
  readonly #windowBytes: number
  /** By where each reader goes on, the one that read last is the last. */
  readonly #readers = new Map<number, Reader>()

  /** Fetches at most so many bytes ahead of each reader. */
  constructor(windowBytes: number) {
    this.#windowBytes = windowBytes
  }

  /** Notes a read; what to fetch now, in steps of half a window, or null. */
  note(offset: number, length: number): Ahead | null {
    const before = this.#readers.get(offset)
    this.#readers.delete(offset)
    const end = offset + length
    const run = (before?.run ?? 0) + length
    const fetched = Math.max(before?.fetched ?? end, end)
    const wanted = run < SEQUENTIAL_BYTES ? 0 : Math.min(run, this.#windowBytes)
    const goes = wanted > 0 && fetched - end <= wanted / 2
    this.#readers.set(end, { run, fetched: goes ? end + wanted : fetched })
    if (this.#readers.size > READERS_MAX) this.#readers.delete(this.#readers.keys().next().value!)
    return goes ? { offset: fetched, length: end + wanted - fetched } : null
  }
}
