// Discards what a lease will not be asked for again, so that its scratch space becomes free and the guest's writes to it are no
// longer copied.
//
// What may go is what no later read, map or comparison of the lease can reach, also after a reconnect or a restart of the agent:
// what the gateway has durable, as an upload only ever goes on behind that, and unchanged gaps that are longer than those which
// a map of the changes around them takes in.
//
// The first piece of a disk always stays: whether it can be read shows whether the snapshot is whole.
import { isChanged, WINDOW_BYTES, type StatusSource } from './extents.ts'

/**
 * What is discarded begins and ends at a multiple of this many bytes, QEMU's unit of copying. A QEMU before 9.2 ends, and its
 * guest with it, where it is told to discard a part of one.
 */
export const DISCARD_BYTES = 65_536

interface Trimmed {
  trim(offset: number, length: number): Promise<void>
}

/** The whole pieces of a range but for the first of the disk; null where there is none. */
export const piecesOf = (from: number, end: number): { readonly offset: number; readonly length: number } | null => {
  const offset = Math.max(Math.ceil(from / DISCARD_BYTES), 1) * DISCARD_BYTES
  const length = Math.floor(end / DISCARD_BYTES) * DISCARD_BYTES - offset
  return length > 0 ? { offset, length } : null
}

/** Discards a disk from its beginning on, one request at a time. Its failures cost space and nothing else: it then stops. */
export class Discards {
  readonly #target: Trimmed
  #done = 0
  #until = 0
  /** Stays so after a failure. */
  #isWorking = false
  #working = Promise.resolve()

  constructor(target: Trimmed) {
    this.#target = target
  }

  /** Nothing before `offset` will be asked for again. */
  upTo(offset: number): void {
    this.#until = Math.max(this.#until, offset)
    if (!this.#isWorking) this.#working = this.#work()
  }

  /** Resolves when all of it is discarded. */
  async settled(): Promise<void> {
    await this.#working
  }

  async #work(): Promise<void> {
    this.#isWorking = true
    try {
      for (let next = piecesOf(this.#done, this.#until); next !== null; next = piecesOf(this.#done, this.#until)) {
        await this.#target.trim(next.offset, next.length)
        this.#done = next.offset + next.length
      }
      this.#isWorking = false
    } catch {
      // what cannot be discarded stays until the lease ends
    }
  }
}

/**
 * Discards the unchanged gaps of a disk that are longer than `bridgeBytes`. NBD_ERROR, also where the export cannot be trimmed.
 */
export const discardUnchanged = async (
  target: Trimmed,
  source: StatusSource,
  { context, size, bridgeBytes }: { readonly context: string; readonly size: number; readonly bridgeBytes: number },
): Promise<void> => {
  let gapFrom = 0
  const endGap = async (end: number): Promise<void> => {
    const pieces = end - gapFrom > bridgeBytes ? piecesOf(gapFrom, end) : null
    if (pieces !== null) await target.trim(pieces.offset, pieces.length)
  }
  for (let at = 0; at < size;) {
    const length = Math.min(WINDOW_BYTES, size - at)
    // what is not known counts as changed
    const statuses = (await source.blockStatus(at, length)).get(context) ?? []
    for (const status of statuses) {
      if (isChanged(status)) {
        await endGap(at)
        gapFrom = at + status.length
      }
      at += status.length
    }
    if (statuses.length > 0) continue
    await endGap(at)
    at += length
    gapFrom = at
  }
  await endGap(size)
}
