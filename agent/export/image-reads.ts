// One image as the gateway reads it for an export: requests at any places over one call, which is opened anew after a break.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { ASK, FOUND, type Down, type Up } from '../../protocol/methods.ts'
import type { OpenCall, Peer } from '../../protocol/peer.ts'
import { isBreak, type GatewayLink } from '../session/link.ts'

type Answer = Exclude<Down<'image.read'>, [typeof FOUND.start, unknown]>
/** What the gateway says of the image before anything else. */
export type ImageStart = Extract<Down<'image.read'>, [typeof FOUND.start, unknown]>[1]

/** Chunks as they are stored: the table of their heads, and their bytes one behind the other. */
export interface StoredChunks {
  readonly heads: Uint8Array
  readonly stored: Uint8Array
}

export interface ReadsOptions {
  readonly link: Pick<GatewayLink, 'repeat'>
  readonly point: string
  readonly disk: string
  /** How long the gateway may be away before requests fail, in milliseconds. */
  readonly reconnectMs: number
  readonly signal: AbortSignal
}

const invalid = (why: string): VarveError => new VarveError('STREAM_INVALID', `the gateway answered ${why}`)

/** One call, until it ends; every request that is not answered then fails with why it ended. */
class ReadCall {
  readonly peer: Peer
  readonly started: Promise<ImageStart>
  readonly ended: Promise<VarveError>
  over: VarveError | null = null
  readonly #call: OpenCall<'image.read'>
  readonly #pending = new Map<number, PromiseWithResolvers<Answer>>()
  readonly #start = Promise.withResolvers<ImageStart>()
  #next = 0

  constructor(peer: Peer, { point, disk, signal }: ReadsOptions) {
    this.peer = peer
    this.#call = peer.open('image.read', { point, disk }, { signal })
    this.started = this.#start.promise
    this.started.catch(() => {})
    this.ended = this.#receive()
  }

  async ask(request: (number: number) => Up<'image.read'>): Promise<Answer> {
    await this.started
    if (this.over !== null) throw this.over
    const number = this.#next++
    const answer = Promise.withResolvers<Answer>()
    // where sending fails its error comes first
    answer.promise.catch(() => {})
    this.#pending.set(number, answer)
    await this.#call.send(request(number))
    return await answer.promise
  }

  end(): void {
    this.#call.end()
  }

  async #receive(): Promise<VarveError> {
    try {
      for await (const message of this.#call.messages) this.#take(message)
      await this.#call.result
      this.over = new VarveError('CANCELLED', 'the image is not read any more')
    } catch (thrown) {
      this.#call.cancel()
      this.over = asVarveError(thrown)
    }
    this.#start.reject(this.over)
    for (const { reject } of this.#pending.values()) reject(this.over)
    this.#pending.clear()
    return this.over
  }

  #take(message: Down<'image.read'>): void {
    if (message[0] === FOUND.start) {
      const { root, idKey, size, chunkBytes } = message[1]
      return this.#start.resolve({ size, chunkBytes, root: root && ownBytes(root), idKey: ownBytes(idKey) })
    }
    const pending = this.#pending.get(message[1])
    if (pending === undefined) throw invalid('a request that was not made')
    this.#pending.delete(message[1])
    pending.resolve(message)
  }
}

export class ImageReads implements AsyncDisposable {
  readonly #options: ReadsOptions
  #call: ReadCall | null = null
  /** Since when the gateway is away, by the monotonic clock; null while it is there. */
  #awaySinceMs: number | null = null

  constructor(options: ReadsOptions) {
    this.#options = options
  }

  /** What the image is; opens the call. NOT_FOUND, and what the connection ends with. */
  start(): Promise<ImageStart> {
    return this.#with((call) => call.started)
  }

  /**
   * Those of `count` neighbouring nodes of a level, the first one over chunk `position`, that the image has. DATA_DAMAGED,
   * CONNECTION_LOST when the gateway is away for too long.
   */
  async nodes(level: number, position: number, count: number): Promise<readonly Uint8Array[]> {
    const answer = await this.#ask((number) => [ASK.nodes, number, level, position, count])
    if (answer[0] !== FOUND.nodes) throw invalid('nodes with something else')
    return answer[2]
  }

  /** Those of `count` chunks from `position` on that are not zero; the same errors. */
  async chunks(position: number, count: number): Promise<StoredChunks> {
    const answer = await this.#ask((number) => [ASK.chunks, number, position, count])
    if (answer[0] !== FOUND.chunks) throw invalid('chunks with something else')
    return { heads: answer[2], stored: answer[3] }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const call = this.#call
    if (call === null || call.over !== null) return
    call.end()
    await call.ended
  }

  async #ask(
    request: (number: number) => Up<'image.read'>,
  ): Promise<Exclude<Answer, [typeof FOUND.failed, number, unknown]>> {
    const answer = await this.#with((call) => call.ask(request))
    if (answer[0] !== FOUND.failed) return answer
    const { code, message } = answer[2]
    throw new VarveError('DATA_DAMAGED', code === 'DATA_DAMAGED' ? message : `${message} (${code})`)
  }

  /** Again on the next connection when one breaks. */
  #with<R>(work: (call: ReadCall) => Promise<R>): Promise<R> {
    const { link, signal, reconnectMs } = this.#options
    const awayMs =
      this.#awaySinceMs === null ? reconnectMs : Math.max(0, reconnectMs - (performance.now() - this.#awaySinceMs))
    return link.repeat(
      (peer) => {
        this.#awaySinceMs = null
        return work(this.#on(peer))
      },
      signal,
      awayMs,
    )
  }

  #on(peer: Peer): ReadCall {
    if (this.#call?.peer === peer && this.#call.over === null) return this.#call
    const call = new ReadCall(peer, this.#options)
    this.#call = call
    void this.#noteEnd(call)
    return call
  }

  async #noteEnd({ ended }: ReadCall): Promise<void> {
    if (isBreak(await ended)) this.#awaySinceMs ??= performance.now()
  }
}
