// zstd with contexts that live as long as their thread, working into memory that stays: making one for each chunk, and fresh
// memory for each result, cost a third of the compressing and half of the decompressing.
import { constants, createZstdCompress, createZstdDecompress, type ZstdOptions } from 'node:zlib'
import { VarveError } from '../errors.ts'

/** What zstd may need beyond the plain length for bytes that do not compress. */
const MARGIN_BYTES = 4096

/** Largest window accepted, as a power of two; larger ones would let a small chunk claim much memory. */
const WINDOW_LOG_MAX = 23

/** What a stream of Node has below it: a context, called as often as one likes. */
interface Handle {
  onerror: (message: string) => void
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void
}

/** A stream of node:zlib with what its own synchronous calls use: `_writeState` has what is left of the output, and the input. */
interface Stream {
  readonly _handle: Handle
  readonly _writeState: Uint32Array
  close(): void
}

/** A context and the room for its results, which grows. */
class Context {
  readonly #open: () => Stream
  #stream: Stream | null = null
  #error: string | null = null
  #room: Uint8Array<ArrayBuffer> = new Uint8Array(0)

  constructor(open: () => Stream) {
    this.#open = open
  }

  /**
   * What the whole input becomes, as a view that the next call overwrites; null where that is longer than `lengthMax`. Throws
   * CHUNK_INVALID.
   */
  run(input: Uint8Array, lengthMax: number): Uint8Array<ArrayBuffer> | null {
    if (this.#room.length < lengthMax + MARGIN_BYTES) this.#room = new Uint8Array(lengthMax + MARGIN_BYTES)
    this.#stream ??= this.#begin()
    const { _handle: handle, _writeState: left } = this.#stream
    this.#error = null
    const limit = lengthMax + MARGIN_BYTES
    handle.writeSync(constants.ZSTD_e_end, input, 0, input.length, this.#room, 0, limit)
    const [outputLeft = 0, inputLeft = 0] = left
    // what is in the middle of something would be wrong for whoever comes next
    if (this.#error !== null || inputLeft > 0 || outputLeft === 0) this.#end()
    if (this.#error !== null) throw new VarveError('CHUNK_INVALID', `zstd does not take it: ${String(this.#error)}`)
    const length = limit - outputLeft
    return length > lengthMax || inputLeft > 0 ? null : this.#room.subarray(0, length)
  }

  #begin(): Stream {
    const stream = this.#open()
    stream._handle.onerror = (message) => (this.#error = message)
    return stream
  }

  #end(): void {
    this.#stream?.close()
    this.#stream = null
  }
}

const openStream = (make: (options: ZstdOptions) => object, params: Record<number, number>): (() => Stream) => {
  // the least that streams may have: they never use it
  return () => make({ params, chunkSize: 64 }) as Stream
}

const compressors = new Map<number, Context>()

/**
 * One zstd frame of this level that says its length, where that is shorter than `plain`, else null; a view that the next call of
 * this thread overwrites.
 */
export const compressed = (plain: Uint8Array, level: number): Uint8Array<ArrayBuffer> | null => {
  let context = compressors.get(level)
  if (context === undefined) {
    context = new Context(openStream(createZstdCompress, { [constants.ZSTD_c_compressionLevel]: level }))
    compressors.set(level, context)
  }
  const frame = context.run(plain, plain.length)
  return frame !== null && frame.length < plain.length ? frame : null
}

const decompressor = new Context(openStream(createZstdDecompress, { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX }))

/**
 * The content of one zstd frame, which `isOneFrame` must have found to be just that, as a view that the next call of this thread
 * overwrites; null where it is longer than `plainLength`. CHUNK_INVALID.
 */
export const decompressed = (frame: Uint8Array, plainLength: number): Uint8Array<ArrayBuffer> | null =>
  decompressor.run(frame, plainLength)
