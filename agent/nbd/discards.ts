// Discards in a writable export what a lease will not be asked for again: the scratch space behind it becomes free, and the
// guest's writes to it are no longer copied.
//
// What may go is what no later read, map or comparison of the lease can reach, also after a reconnect or a restart of the agent:
// what was read and the gateway has durable, as an upload only ever goes on behind that, and unchanged gaps that are longer than
// those which a map of the changes around them takes in.
//
// The first piece of a disk always stays: whether it can be read shows whether the snapshot is whole.
import { isChanged, WINDOW_BYTES, type DiskExtent, type StatusSource } from './extents.ts'

/**
 * What is discarded begins and ends at a multiple of this many bytes, QEMU's unit of copying. A QEMU before 9.2 ends, and its
 * guest with it, where it is told to discard a part of one.
 */
export const DISCARD_BYTES = 65_536

/** Longest range of one request, in bytes: what the guest waits for meanwhile stays short. */
const REQUEST_BYTES_MAX = 1024 * DISCARD_BYTES

interface Trimmed {
  trim(offset: number, length: number): Promise<void>
}

interface Range {
  readonly offset: number
  readonly end: number
}

/** The whole pieces of a range but for the first of the disk; null where there is none. */
export const piecesOf = ({ offset, end }: Range, pieceBytes = DISCARD_BYTES): Range | null => {
  const first = Math.max(Math.ceil(offset / pieceBytes), 1) * pieceBytes
  const last = Math.floor(end / pieceBytes) * pieceBytes
  return first < last ? { offset: first, end: last } : null
}

const trimPieces = async (target: Trimmed, range: Range, pieceBytes = DISCARD_BYTES): Promise<void> => {
  const pieces = piecesOf(range, pieceBytes)
  const most = Math.max(REQUEST_BYTES_MAX, pieceBytes)
  for (let at = pieces?.offset ?? 0; pieces !== null && at < pieces.end; at += most)
    await target.trim(at, Math.min(most, pieces.end - at))
}

export interface DiscardsOptions {
  /** Size of a piece, a power of two, where that is not DISCARD_BYTES. */
  readonly pieceBytes?: number | undefined
  /** What is unchanged is not asked about again either. */
  readonly unchangedToo?: boolean | undefined
}

/** Discards a disk from its beginning on, one request at a time. Its failures cost space and nothing else: it then stops. */
export class Discards {
  readonly #target: Trimmed
  readonly #pieceBytes: number
  readonly #unchangedToo: boolean
  /** What was read and is not discarded, ascending; neighbours are one. */
  #ranges: Range[] = []
  #durable = 0
  /** Stays so after a failure. */
  #isWorking = false
  #working = Promise.resolve()

  constructor(target: Trimmed, { pieceBytes = DISCARD_BYTES, unchangedToo = false }: DiscardsOptions = {}) {
    this.#target = target
    this.#pieceBytes = pieceBytes
    this.#unchangedToo = unchangedToo
  }

  /** The same extents, which count as read once they are durable. */
  async *watch(extents: AsyncIterable<DiskExtent>): AsyncGenerator<DiskExtent> {
    for await (const extent of extents) {
      const { offset, length, kind } = extent
      // what is unchanged may be asked about again, until it has been compared
      if (kind !== 'keep' || this.#unchangedToo) this.#add(offset, offset + length)
      yield extent
    }
  }

  /** Nothing before `offset`, in bytes, will be asked for again. */
  upTo(offset: number): void {
    this.#durable = Math.max(this.#durable, offset)
    if (!this.#isWorking) this.#working = this.#work()
  }

  /** Resolves when all of it is discarded. */
  async settled(): Promise<void> {
    await this.#working
  }

  #add(offset: number, end: number): void {
    const last = this.#ranges.at(-1)
    if (last?.end === offset) this.#ranges[this.#ranges.length - 1] = { offset: last.offset, end }
    else this.#ranges.push({ offset, end })
  }

  /** Takes the first durable range, or the durable part of it in whole pieces. */
  #next(): Range | null {
    const [first] = this.#ranges
    if (first === undefined || first.offset >= this.#durable) return null
    if (first.end <= this.#durable) return this.#ranges.shift()!
    const end = Math.floor(this.#durable / this.#pieceBytes) * this.#pieceBytes
    if (end <= first.offset) return null
    this.#ranges[0] = { offset: end, end: first.end }
    return { offset: first.offset, end }
  }

  async #work(): Promise<void> {
    this.#isWorking = true
    try {
      for (let next = this.#next(); next !== null; next = this.#next())
        await trimPieces(this.#target, next, this.#pieceBytes)
      this.#isWorking = false
    } catch {
      // what cannot be discarded stays until the lease ends
    }
  }
}

export interface GapsOptions {
  readonly context: string
  /** Of the disk, in bytes. */
  readonly size: number
  /** The longest gap that a map of the changes around it takes in, in bytes. */
  readonly bridgeBytes: number
  /** What is read as one, in bytes: of a chunk that has changed in part all is read. */
  readonly chunkBytes: number
}

/**
 * Discards the unchanged gaps of a disk that are longer than `bridgeBytes`. NBD_ERROR, also where the export cannot be trimmed.
 */
export const discardUnchanged = async (
  target: Trimmed,
  source: StatusSource,
  { context, size, bridgeBytes, chunkBytes }: GapsOptions,
): Promise<void> => {
  const pieceBytes = Math.max(DISCARD_BYTES, chunkBytes)
  let gapFrom = 0
  const endGap = async (end: number): Promise<void> => {
    if (end - gapFrom > bridgeBytes) await trimPieces(target, { offset: gapFrom, end }, pieceBytes)
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
