// zstd with contexts that live as long as their thread, working into memory that stays: making one for each chunk, and fresh
// memory for each result, cost a third of the compressing and half of the decompressing.
import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  zstdCompressSync,
  zstdDecompressSync,
  type ZstdOptions,
} from 'node:zlib'
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

/** Nobody promises what is below a stream: another Node may have something else there. */
const isStream = (made: object): made is Stream => {
  const { _handle: handle, _writeState: state } = made as Partial<Stream>
  return typeof handle?.writeSync === 'function' && state instanceof Uint32Array
}

/** The same by calls that Node promises, each with a context and memory of its own; throws what zstd says. */
type Plainly = (input: Uint8Array, lengthMax: number) => Uint8Array<ArrayBuffer>

/** A context and the room for its results, which grows. */
class Context {
  readonly #open: () => object
  readonly #plainly: Plainly
  #stream: Stream | null = null
  #error: string | null = null
  #room: Uint8Array<ArrayBuffer> = new Uint8Array(0)

  constructor(open: () => object, plainly: Plainly) {
    this.#open = open
    this.#plainly = plainly
  }

  /**
   * What the whole input becomes, as a view that the next call overwrites; null where that is longer than `lengthMax`. Throws
   * CHUNK_INVALID.
   */
  run(input: Uint8Array, lengthMax: number): Uint8Array<ArrayBuffer> | null {
    this.#stream ??= this.#begin()
    if (this.#stream === null) return this.#runPlainly(input, lengthMax)
    if (this.#room.length < lengthMax + MARGIN_BYTES) this.#room = new Uint8Array(lengthMax + MARGIN_BYTES)
    const { _handle: handle, _writeState: left } = this.#stream
    this.#error = null
    const limit = lengthMax + MARGIN_BYTES
    handle.writeSync(constants.ZSTD_e_end, input, 0, input.length, this.#room, 0, limit)
    const [outputLeft = 0, inputLeft = 0] = left
    const length = limit - outputLeft
    // what is in the middle of something would be wrong for whoever comes next
    if (this.#error !== null || inputLeft > 0 || outputLeft === 0 || length === 0) this.#end()
    if (this.#error !== null) throw new VarveError('CHUNK_INVALID', `zstd does not take it: ${String(this.#error)}`)
    return length > lengthMax || inputLeft > 0 ? null : this.#room.subarray(0, length)
  }

  #runPlainly(input: Uint8Array, lengthMax: number): Uint8Array<ArrayBuffer> | null {
    try {
      return this.#plainly(input, lengthMax)
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return null
      throw new VarveError('CHUNK_INVALID', `zstd does not take it: ${String(thrown)}`)
    }
  }

  #begin(): Stream | null {
    const stream = this.#open()
    if (!isStream(stream)) return null
    stream._handle.onerror = (message) => (this.#error = message)
    return stream
  }

  #end(): void {
    this.#stream?.close()
    this.#stream = null
  }
}

/** The least that streams may have: they never use it. */
const STREAM: ZstdOptions = { chunkSize: 64 }

/** What zstd is told to do. */
export type Compression = Readonly<Record<number, number>>

/** For a chunk that is stored alone: half of the time of a chunk goes into the tables of more. */
const ALONE: Compression = { [constants.ZSTD_c_compressionLevel]: 1 }

/** For several together: the search of level 3 in tables that fit into a core's cache. */
const TOGETHER: Compression = {
  [constants.ZSTD_c_compressionLevel]: 3,
  [constants.ZSTD_c_windowLog]: 18,
  [constants.ZSTD_c_hashLog]: 15,
  [constants.ZSTD_c_chainLog]: 15,
}

/** Plain bytes above which TOGETHER pays, in bytes. */
const ALONE_BYTES_MAX = 64 * 1024

/** How so many bytes are compressed. */
export const compressionOf = (length: number): Compression => (length > ALONE_BYTES_MAX ? TOGETHER : ALONE)

const compressors = new Map<Compression, Context>()

const compressor = (params: Compression): Context =>
  new Context(
    () => createZstdCompress({ ...STREAM, params }),
    (plain) => zstdCompressSync(plain, { params, pledgedSrcSize: plain.length }),
  )

/**
 * One zstd frame that says its length, where that is shorter than `plain`, else null; a view that the next call of this thread
 * overwrites.
 */
export const compressed = (
  plain: Uint8Array,
  compression = compressionOf(plain.length),
): Uint8Array<ArrayBuffer> | null => {
  let context = compressors.get(compression)
  if (context === undefined) compressors.set(compression, (context = compressor(compression)))
  const frame = context.run(plain, plain.length)
  return frame !== null && frame.length < plain.length ? frame : null
}

const params = { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX }

const decompressor = new Context(
  () => createZstdDecompress({ ...STREAM, params }),
  (frame, maxOutputLength) => zstdDecompressSync(frame, { params, maxOutputLength }),
)

/**
 * The content of one zstd frame, which `isOneFrame` must have found to be just that, as a view that the next call of this thread
 * overwrites; null where it is longer than `plainLength`. CHUNK_INVALID.
 */
export const decompressed = (frame: Uint8Array, plainLength: number): Uint8Array<ArrayBuffer> | null =>
  decompressor.run(frame, plainLength)
