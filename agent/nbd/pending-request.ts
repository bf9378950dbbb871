// One unanswered request: checks and collects the chunks of its answer, and ends with a result or an error.
import { VarveError } from '../../protocol/errors.ts'
import { Coverage } from './coverage.ts'
import { errnoName, protocolError, type NbdRequest, type StatusExtent } from './wire.ts'

/** Most error chunks in the answer to one request. */
const ERROR_CHUNKS_MAX = 64
/** Longest part of a server's error text that is repeated, in characters. */
const ERROR_TEXT_CHARS_MAX = 256

export type StatusByContext = ReadonlyMap<string, readonly StatusExtent[]>

export interface RequestBuffers {
  /** Where a read's bytes go. */
  readonly target?: Uint8Array
  /** Payload that a write sends after its request. */
  readonly payload?: Uint8Array
}

/** The failure of one request, as the server reported it; the connection stays open. */
const serverError = (request: NbdRequest, errno: number, text: string): VarveError => {
  const name = errnoName(errno)
  const { command, offset, length } = request
  const reason = text === '' ? '' : ` (${text.slice(0, ERROR_TEXT_CHARS_MAX)})`
  return new VarveError(
    'NBD_ERROR',
    `the NBD server failed ${command} of ${length} bytes at ${offset}: ${name}${reason}`,
    {
      details: { errno: name, errnoNumber: errno, command, offset, length },
    },
  )
}

/** Every method throws NBD_PROTOCOL where the answer does not fit the request. */
export class PendingRequest {
  readonly request: NbdRequest
  readonly payload: Uint8Array | undefined
  readonly #target: Uint8Array | undefined
  readonly #coverage: Coverage | null
  readonly #status = new Map<string, readonly StatusExtent[]>()
  readonly #outcome = Promise.withResolvers<StatusByContext>()
  #failure: VarveError | null = null
  #errorChunks = 0

  constructor(request: NbdRequest, buffers: RequestBuffers = {}) {
    this.request = request
    this.payload = buffers.payload
    this.#target = buffers.target
    this.#coverage = buffers.target === undefined ? null : new Coverage(request.offset, request.length)
  }

  /** Resolves when the whole answer has been received and checked; with the maps, for a block status. */
  get outcome(): Promise<StatusByContext> {
    return this.#outcome.promise
  }

  /** The place for `length` bytes of data that the server announces for `offset`. */
  place(offset: number, length: number): Buffer {
    if (this.#coverage === null || this.#target === undefined) {
      throw protocolError(`${this.request.command} was answered with data`)
    }
    this.#coverage.add(offset, length)
    const at = this.#target.byteOffset + (offset - this.request.offset)
    return Buffer.from(this.#target.buffer, at, length)
  }

  /** `length` bytes at `offset` are zero. */
  hole(offset: number, length: number): void {
    this.place(offset, length).fill(0)
  }

  status(context: string, extents: readonly StatusExtent[]): void {
    if (this.#status.has(context)) throw protocolError(`the context ${context} was answered twice`)
    this.#status.set(context, extents)
  }

  /** An error of the server; the first one counts, and the answer may continue. */
  fail(errno: number, text: string): void {
    this.#errorChunks += 1
    if (this.#errorChunks > ERROR_CHUNKS_MAX) throw protocolError('a request was answered with too many errors')
    this.#failure ??= serverError(this.request, errno, text)
  }

  /** The answer is complete. `contextCount` maps belong to a block status. */
  finish(contextCount: number): void {
    if (this.#failure === null) {
      if (this.#coverage?.complete === false) throw protocolError('the answer to a read has gaps')
      if (this.request.command === 'blockStatus' && this.#status.size !== contextCount) {
        throw protocolError('a block status was answered without all its contexts')
      }
      this.#outcome.resolve(this.#status)
    } else {
      this.#outcome.reject(this.#failure)
    }
  }

  /** The connection ended before the answer. */
  abandon(error: VarveError): void {
    this.#outcome.reject(error)
  }
}
