// The work on segments of one image: reads their chunks, hashes them, and compresses or proves those that are asked for.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { idAt } from '../../protocol/host/bytes.ts'
import { bundlesOf, frame, PACKING, type PlacedChunk } from '../../protocol/host/chunk-steps.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { freeBytes } from '../../protocol/memory.ts'
import { PICK, type Hashed, type Prepared } from './messages.ts'
import { SEGMENT_READ_BYTES, type ChunkRun } from './segments.ts'

/** Bytes of one read, but for the first long one. */
export const READ_BYTES = 256 * 1024

/** Reads that are under way at once: as many as QEMU works on, of at most a segment's bytes. */
export const READS_MAX = 16

/** Buffers that are kept for later segments: about as many as one upload holds. */
const SPARE_MAX = 8

export interface SegmentReaderOptions {
  /** Of the image, in bytes. */
  readonly size: number
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  /** Fills the buffer with what the image has from `offset` on. */
  readonly readInto: (offset: number, bytes: Buffer) => Promise<void>
  /** Buffers of SEGMENT_READ_BYTES that are used in turn with other readers of the same thread. */
  readonly spare?: Buffer[]
}

/** A segment that may still be asked for. */
interface Segment {
  readonly runs: readonly ChunkRun[]
  /** Ids of its chunks, and where its bytes are if they are held. */
  readonly ids: Uint8Array
  readonly buffer: Buffer | null
}

/** A range of the image, and where its bytes are or are to be. */
interface Place {
  readonly offset: number
  readonly bytes: Buffer
}

/** The places with those joined that follow one another in the image and in their buffer. */
const joined = (places: readonly Place[]): Place[] => {
  const ranges: Place[] = []
  for (const place of places) {
    const { offset, bytes } = place
    const last = ranges.at(-1)
    const { buffer, byteOffset, length } = last?.bytes ?? bytes
    if (last === undefined || last.offset + length !== offset || byteOffset + length !== bytes.byteOffset)
      ranges.push(place)
    else
      ranges[ranges.length - 1] = { offset: last.offset, bytes: Buffer.from(buffer, byteOffset, length + bytes.length) }
  }
  return ranges
}

export class SegmentReader {
  readonly #options: SegmentReaderOptions
  readonly #zeroes: Buffer
  /** Where a segment's chunks are put together. */
  readonly #packed: Uint8Array<ArrayBuffer>
  readonly #bufferBytes: number
  readonly #segments = new Map<number, Segment>()
  /** Buffers of segments that are done: fresh ones would cost page faults and wait for the garbage collector. */
  readonly #spare: Buffer[]
  #hasReadLong = false
  /** Reads that are under way, and their bytes. */
  #underWay = 0
  #bytesUnderWay = 0
  readonly #waiting: { readonly bytes: number; readonly resolve: () => void }[] = []

  constructor(options: SegmentReaderOptions) {
    const { chunkBytes, size, spare = [] } = options
    this.#options = options
    this.#zeroes = Buffer.alloc(chunkBytes)
    // an image that is smaller than a segment has but one
    this.#bufferBytes = Math.max(Math.min(SEGMENT_READ_BYTES, Math.ceil(size / chunkBytes) * chunkBytes), chunkBytes)
    this.#packed = new Uint8Array(this.#bufferBytes)
    this.#spare = this.#bufferBytes === SEGMENT_READ_BYTES ? spare : []
  }

  /** Reads and hashes a segment; its bytes are held until `drop` where `hold` says so. */
  async read(number: number, runs: readonly ChunkRun[], hold: boolean): Promise<Hashed> {
    const buffer = this.#takeBuffer()
    const chunks = this.#chunksOf(runs, buffer)
    await this.#fill(chunks)
    const beganMs = systemClock.elapsed()
    const ids = new Uint8Array(chunks.length * ID_BYTES)
    const zero = new Uint8Array(chunks.length)
    for (const [index, { bytes }] of chunks.entries()) {
      if (this.#isZero(bytes)) zero[index] = 1
      else ids.set(keyedHash(this.#options.idKey, bytes), index * ID_BYTES)
    }
    this.#segments.set(number, { runs, ids, buffer: hold ? buffer : null })
    if (!hold) this.#giveBuffer(buffer)
    return { ids, zero, computeMs: systemClock.elapsed() - beganMs }
  }

  /** Packs and proves chunks of a segment, one entry of `picks` for each; what is not held is read again. */
  async prepare(number: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Prepared> {
    const { runs, ids, buffer: held } = this.#segments.get(number)!
    const buffer = held ?? this.#takeBuffer()
    const chunks = this.#chunksOf(runs, buffer)
    if (held === null) await this.#fill(chunks.filter((_, index) => picks[index] !== PICK.none))
    const { chunkBytes } = this.#options
    const picked = (pick: number): (PlacedChunk & { readonly index: number })[] =>
      chunks.flatMap(({ offset, bytes: plain }, index) =>
        picks[index] === pick ? [{ index, id: idAt(ids, index), position: offset / chunkBytes, plain }] : [],
      )
    const beganMs = systemClock.elapsed()
    const sent = picked(PICK.send)
    const proofs = picked(PICK.prove).map(({ index, plain }) => ({ index, proof: keyedHash(proofKey, plain) }))
    const chunksSent = sent.length === 0 ? null : frame(bundlesOf(sent, chunkBytes), PACKING, this.#packed)
    const computeMs = systemClock.elapsed() - beganMs
    if (held === null) this.#giveBuffer(buffer)
    return { chunks: chunksSent, proofs, computeMs }
  }

  drop(number: number): void {
    const { buffer } = this.#segments.get(number)!
    if (buffer !== null) this.#giveBuffer(buffer)
    this.#segments.delete(number)
  }

  /** Lets go of every segment; nothing is read any more. */
  clear(): void {
    for (const number of this.#segments.keys()) this.drop(number)
  }

  #isZero(chunk: Uint8Array): boolean {
    return this.#zeroes.compare(chunk, 0, chunk.length, 0, chunk.length) === 0
  }

  #takeBuffer(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#bufferBytes)
  }

  #giveBuffer(buffer: Buffer): void {
    if (this.#spare.length < SPARE_MAX) this.#spare.push(buffer)
    else freeBytes(buffer)
  }

  /** The chunks that the runs want read, as views of a buffer that must hold them all. */
  #chunksOf(runs: readonly ChunkRun[], buffer: Buffer): Place[] {
    const { chunkBytes, size } = this.#options
    let filled = 0
    return runs.flatMap(({ kind, position, count }) => {
      if (kind !== 'read') return []
      return Array.from({ length: count }, (_, index) => {
        const offset = (position + index) * chunkBytes
        const bytes = buffer.subarray(filled, filled + Math.min(chunkBytes, size - offset))
        filled += bytes.length
        return { offset, bytes }
      })
    })
  }

  async #fill(places: readonly Place[]): Promise<void> {
    const { readInto } = this.#options
    const reads: Promise<void>[] = []
    for (const { offset, bytes } of joined(places)) {
      const readBytes = this.#requestBytes(bytes.length)
      for (let at = 0; at < bytes.length; at += readBytes) {
        const target = bytes.subarray(at, at + readBytes)
        reads.push(this.#inTurn(target.length, () => readInto(offset + at, target)))
      }
    }
    await Promise.all(reads)
  }

  /**
   * How much of a range is read at once: all of the first long one. QEMU allocates memory for each request, and its C library
   * gives what is freed back to the kernel, to be faulted in again page by page, unless more was freed at once before.
   */
  #requestBytes(length: number): number {
    if (this.#hasReadLong || length < SEGMENT_READ_BYTES) return READ_BYTES
    this.#hasReadLong = true
    return length
  }

  /** Runs one read when there is room beside those under way; scattered small chunks make many thousands of them. */
  async #inTurn(bytes: number, read: () => Promise<void>): Promise<void> {
    if (this.#waiting.length > 0 || !this.#takeTurn(bytes))
      await new Promise<void>((resolve) => this.#waiting.push({ bytes, resolve }))
    try {
      await read()
    } finally {
      this.#underWay--
      this.#bytesUnderWay -= bytes
      while (this.#waiting.length > 0 && this.#takeTurn(this.#waiting[0]!.bytes)) this.#waiting.shift()!.resolve()
    }
  }

  #takeTurn(bytes: number): boolean {
    const isFull = this.#underWay >= READS_MAX || this.#bytesUnderWay + bytes > SEGMENT_READ_BYTES
    // one has room however large it is
    if (isFull && this.#underWay > 0) return false
    this.#underWay++
    this.#bytesUnderWay += bytes
    return true
  }
}
