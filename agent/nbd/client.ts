// The NBD client: one connection to one export, with many requests in flight and every answer checked.
import { VarveError } from '../../protocol/errors.ts'
import { NbdConnection, type NbdPlace } from './connection.ts'
import { handshake, type NbdExport, type Receiver } from './handshake.ts'
import { PendingRequest, type RequestBuffers, type StatusByContext } from './pending-request.ts'
import { receiveReplies } from './replies.ts'
import { RequestQueue } from './request-queue.ts'
import {
  COMMAND_FLAG_DONT_FRAGMENT,
  COMMAND_FLAG_NO_HOLE,
  encodeRequest,
  RANGE_BYTES_MAX,
  STRING_BYTES_MAX,
  type CommandName,
  type NbdRequest,
} from './wire.ts'
import type { NbdBlockSize, NbdFlags } from './option-wire.ts'

export type { StatusByContext } from './pending-request.ts'
export type { NbdBlockSize, NbdFlags } from './option-wire.ts'
export type { StatusExtent } from './wire.ts'

/** Longest silence of a server that owes an answer, and longest handshake, in milliseconds. */
export const NBD_TIMEOUT_MS = 60_000
/** Most metadata contexts of one connection. */
export const CONTEXTS_MAX = 16

export type NbdConnectOptions = NbdPlace & {
  readonly exportName: string
  /** Metadata contexts that the export must have, such as `base:allocation`. */
  readonly contexts: readonly string[]
  /** No read crosses a multiple of this many bytes; 0 or absent for no such limit. */
  readonly boundaryBytes?: number | undefined
  /** Milliseconds, NBD_TIMEOUT_MS unless given. */
  readonly timeoutMs?: number
  /** Ends the connection while it is being opened, which then fails with CANCELLED; later it does nothing. */
  readonly signal?: AbortSignal
}

const localError = (errno: string, message: string): VarveError =>
  new VarveError('NBD_ERROR', message, { details: { errno } })

const closedByUs = (): VarveError => new VarveError('CANCELLED', 'the NBD connection was closed')

const checkOptions = (options: NbdConnectOptions): void => {
  const { exportName, contexts } = options
  if ('socketPath' in options && options.socketPath === '') throw localError('EINVAL', 'an NBD socket has no path')
  if (contexts.length > CONTEXTS_MAX)
    throw localError('EINVAL', `more than ${CONTEXTS_MAX} NBD contexts were asked for`)
  for (const name of [exportName, ...contexts]) {
    if (Buffer.byteLength(name) > STRING_BYTES_MAX) throw localError('EINVAL', 'an NBD name is too long')
  }
}

type Optional<Type, Key extends keyof Type> = Omit<Type, Key> & Partial<Pick<Type, Key>>

/**
 * Errors: NBD_ERROR (the server refused, failed or went away; `details.errno` says how), NBD_PROTOCOL (the server broke
 * the protocol), TOO_MANY_REQUESTS (too many calls at once), CANCELLED (closed by us). After an error of one request
 * the connection goes on; once it has ended, every call fails with what ended it.
 */
export class NbdClient implements AsyncDisposable {
  readonly size: number
  readonly flags: NbdFlags
  readonly blockSize: NbdBlockSize
  readonly #connection: NbdConnection
  readonly #requests: RequestQueue
  readonly #hasContexts: boolean
  readonly #boundaryBytes: number
  #readsWhole: boolean

  private constructor(
    connection: NbdConnection,
    requests: RequestQueue,
    { opened, boundaryBytes = 0 }: { readonly opened: NbdExport; readonly boundaryBytes?: number | undefined },
  ) {
    this.#boundaryBytes = boundaryBytes
    this.#connection = connection
    this.#requests = requests
    this.size = opened.size
    this.flags = opened.flags
    this.blockSize = opened.blockSize
    this.#readsWhole = opened.flags.canDontFragment
    this.#hasContexts = opened.contexts.size > 0
  }

  /** Opens an export over a unix socket or TCP; connection and handshake have `timeoutMs` in all. */
  static async connect(options: NbdConnectOptions): Promise<NbdClient> {
    checkOptions(options)
    const { exportName, contexts, timeoutMs = NBD_TIMEOUT_MS, signal } = options
    const opened = Promise.withResolvers<NbdExport>()
    let shaking = true
    const requests = new RequestQueue((bytes, payload) => connection.send(bytes, payload))
    function* converse(): Receiver<never> {
      const nbdExport = yield* handshake({ exportName, contexts, send: (bytes) => connection.send(bytes) })
      opened.resolve(nbdExport)
      return yield* receiveReplies(requests, nbdExport.contexts)
    }
    const connection = new NbdConnection({
      place: options,
      timeoutMs,
      receiver: converse(),
      isWaiting: () => shaking || requests.inFlightCount > 0,
      onEnd: (error) => {
        requests.end(error)
        opened.reject(error)
      },
    })
    // the silence timer alone would let a server drip-feed its handshake forever
    const deadline = setTimeout(() => {
      connection.end(localError('ETIMEDOUT', `the NBD handshake took longer than ${timeoutMs} ms`))
    }, timeoutMs)
    const onAbort = (): void => connection.end(closedByUs())
    signal?.addEventListener('abort', onAbort)
    try {
      return new NbdClient(connection, requests, { opened: await opened.promise, boundaryBytes: options.boundaryBytes })
    } finally {
      shaking = false
      clearTimeout(deadline)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /**
   * Fills `target` with the bytes from `offset`; longer reads than the server takes are split.
   * The target belongs to the client until it settles; after an error its content is undefined.
   */
  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.#checkRange('read', offset, target.length)
    if (this.#boundaryBytes > 0) return await this.#readWithin(offset, target, this.#boundaryBytes)
    for (let at = 0; at < target.length; at += this.blockSize.maximum) {
      await this.#readPiece(offset + at, target.subarray(at, at + this.blockSize.maximum))
    }
  }

  /**
   * The map of every context from `offset` on. Each is at least one extent and at most `length` bytes long, often
   * shorter than requested, and the contexts' maps may differ in length.
   */
  async blockStatus(offset: number, length: number): Promise<StatusByContext> {
    this.#checkRange('blockStatus', offset, length)
    if (!this.#hasContexts) throw localError('EINVAL', 'the NBD connection has no context to ask for a map')
    if (length === 0) throw localError('EINVAL', 'a map of no bytes was asked for')
    return this.#submit({ command: 'blockStatus', offset, length: Math.min(length, RANGE_BYTES_MAX) })
  }

  /** Writes `bytes` at `offset`; they must not change until it settles. Durable only after a flush. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#checkWrite('write', offset, bytes.length)
    for (let at = 0; at < bytes.length; at += this.blockSize.maximum) {
      const payload = bytes.subarray(at, at + this.blockSize.maximum)
      await this.#submit({ command: 'write', offset: offset + at, length: payload.length }, { payload })
    }
  }

  /** Zeroes a range; with `mayTrim` the server may free its space. NBD_ERROR with ENOTSUP where the export cannot. */
  async writeZeroes(offset: number, length: number, { mayTrim }: { readonly mayTrim: boolean }): Promise<void> {
    this.#checkWrite('writeZeroes', offset, length)
    if (!this.flags.canWriteZeroes) throw localError('ENOTSUP', 'the NBD export cannot write zeroes')
    const flags = mayTrim ? 0 : COMMAND_FLAG_NO_HOLE
    for (let at = 0; at < length; at += RANGE_BYTES_MAX) {
      const pieceLength = Math.min(RANGE_BYTES_MAX, length - at)
      await this.#submit({ command: 'writeZeroes', flags, offset: offset + at, length: pieceLength })
    }
  }

  /** Gives up the content of a range, whose space the server may free. NBD_ERROR with ENOTSUP where the export cannot. */
  async trim(offset: number, length: number): Promise<void> {
    this.#checkWrite('trim', offset, length)
    if (!this.flags.canTrim) throw localError('ENOTSUP', 'the NBD export cannot discard')
    for (let at = 0; at < length; at += RANGE_BYTES_MAX) {
      const pieceLength = Math.min(RANGE_BYTES_MAX, length - at)
      await this.#submit({ command: 'trim', offset: offset + at, length: pieceLength })
    }
  }

  /** Makes all writes answered before the call durable, on every connection of a multi-connection export. */
  async flush(): Promise<void> {
    if (!this.flags.canFlush) throw localError('ENOTSUP', 'the NBD export cannot flush')
    await this.#submit({ command: 'flush', offset: 0, length: 0 })
  }

  /** Disconnects cleanly; calls that still wait fail with CANCELLED. */
  close(): Promise<void> {
    const farewell = encodeRequest({ command: 'disconnect', flags: 0, offset: 0, length: 0 }, 0)
    return this.#connection.close(farewell, closedByUs())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #readWithin(offset: number, target: Uint8Array, boundaryBytes: number): Promise<void> {
    const pieces: Promise<void>[] = []
    for (let at = 0; at < target.length;) {
      const bytes = Math.min(boundaryBytes - ((offset + at) % boundaryBytes), this.blockSize.maximum)
      pieces.push(this.#readPiece(offset + at, target.subarray(at, at + bytes)))
      at += bytes
    }
    // none may be written into once this has settled
    await Promise.allSettled(pieces)
    await Promise.all(pieces)
  }

  async #readPiece(offset: number, target: Uint8Array): Promise<void> {
    const request = { command: 'read', offset, length: target.length } as const
    if (this.#readsWhole) {
      // QEMU drops the connection when a disk fails in the middle of a sparse answer; otherwise it sends an error
      try {
        await this.#submit({ ...request, flags: COMMAND_FLAG_DONT_FRAGMENT }, { target })
        return
      } catch (error) {
        if (!(error instanceof VarveError) || error.details['errno'] !== 'EOVERFLOW') throw error
        this.#readsWhole = false
      }
    }
    await this.#submit(request, { target })
  }

  #submit(request: Optional<NbdRequest, 'flags'>, buffers: RequestBuffers = {}): Promise<StatusByContext> {
    return this.#requests.submit(new PendingRequest({ flags: 0, ...request }, buffers))
  }

  #checkRange(command: CommandName, offset: number, length: number): void {
    const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length)
    if (!whole || offset < 0 || length < 0 || length > this.size - offset) {
      const message = `NBD ${command} of ${length} bytes at ${offset} is outside the export of ${this.size} bytes`
      throw localError('EINVAL', message)
    }
  }

  #checkWrite(command: CommandName, offset: number, length: number): void {
    if (this.flags.readOnly) throw localError('EPERM', 'the NBD export is read-only')
    this.#checkRange(command, offset, length)
  }
}
