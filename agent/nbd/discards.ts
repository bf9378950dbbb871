// Gives up, in a writable export, what was read of it once that is durable elsewhere: the scratch space behind it is freed.
import type { NbdClient } from './client.ts'
import type { DiskExtent } from './extents.ts'

/** Longest range of one request, in bytes: what the guest waits for meanwhile stays short. */
const DISCARD_BYTES_MAX = 64 * 1024 * 1024

type Target = Pick<NbdClient, 'trim' | 'flags' | 'close'>

export class Discards implements AsyncDisposable {
  readonly #client: Target
  /** What was read and is not discarded, ascending. */
  #ranges: { readonly offset: number; readonly end: number }[] = []
  #durableBytes = 0
  #running: Promise<void> | null = null
  #over = false

  /** Takes the connection over. An export that cannot discard is left as it is. */
  constructor(client: Target) {
    this.#client = client
    this.#over = client.flags.readOnly || !client.flags.canTrim
  }

  /** The same extents, which count as read once they are durable. */
  async *watch(extents: AsyncIterable<DiskExtent>): AsyncGenerator<DiskExtent> {
    for await (const extent of extents) {
      const { offset, length, kind } = extent
      // what is unchanged is not to be touched
      if (kind !== 'keep') this.#ranges.push({ offset, end: offset + length })
      yield extent
    }
  }

  /** Everything before this offset is durable, and not read again. */
  durable(bytes: number): void {
    this.#durableBytes = Math.max(this.#durableBytes, bytes)
    this.#running ??= this.#run().finally(() => (this.#running = null))
  }

  /** Waits for what is being discarded. */
  async [Symbol.asyncDispose](): Promise<void> {
    // durable() may have begun another run in the meantime
    while (this.#running !== null) await this.#running
    this.#over = true
    await this.#client.close()
  }

  async #run(): Promise<void> {
    for (let next = this.#next(); next !== null && !this.#over; next = this.#next()) {
      try {
        await this.#client.trim(next.offset, next.end - next.offset)
      } catch {
        // it only saves space: where the export has broken, the next read says so
        this.#over = true
      }
    }
  }

  /** Takes the first durable range, or the durable part of it. */
  #next(): { readonly offset: number; readonly end: number } | null {
    const [first] = this.#ranges
    if (first === undefined || first.offset >= this.#durableBytes) return null
    const end = Math.min(first.end, this.#durableBytes, first.offset + DISCARD_BYTES_MAX)
    if (end === first.end) this.#ranges.shift()
    else this.#ranges[0] = { offset: end, end: first.end }
    return { offset: first.offset, end }
  }
}
