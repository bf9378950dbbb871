// One side of an open connection: calls the peer's methods and serves its own. Pure logic; the socket and the clock are given.
import { BOUNDLESS, type CallOptions, type Clock, type Handlers, type OpenCall, type Room } from './call.ts'
import type { Channel } from './channel.ts'
import { asVarveError, VarveError } from './errors.ts'
import { decodeFrame, encodeFrame, errorFrame, errorOfFrame, FRAME, type Frame } from './frames.ts'
import { IncomingCalls } from './incoming-calls.ts'
import { DEADLINE_DEFAULT_MS, HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS, OUTBOUND_BYTES_MAX } from './limits.ts'
import type { MethodName, Asked, Result } from './methods.ts'
import { OutgoingCalls } from './outgoing-calls.ts'

export type { Clock, Handler, Handlers, OpenCall, Received, Room, ServedCall } from './call.ts'

/** What a peer needs of a socket. */
export interface Transport {
  /** Takes the bytes; large ones are freed once sent. With `sent`, their memory counts as used until that is called. */
  send(bytes: Uint8Array, sent?: () => void): void
  close(error: VarveError): void
  /** Bytes given to `send` that the network has not taken yet. */
  readonly bufferedBytes: number
}

/** Bytes in the socket above which a sender waits before it sends more. */
const SEND_HIGH_WATER_BYTES = 1024 * 1024
const DRAIN_POLL_MS = 2

/** How often the side that did not open the connection measures how long the other one takes to answer, in milliseconds. */
const LAG_INTERVAL_MS = 60_000

/** The error of calls on a connection that the other side ended: CONNECTION_LOST if its code could be this side's own. */
const endTold = (told: VarveError): VarveError => {
  if (told.endsConnection) return told
  const words = told.code === 'PEER_FAILED' ? told.message : `${told.code}: ${told.message}`
  return new VarveError('CONNECTION_LOST', `the other side ended the connection: ${words}`, { cause: told })
}

export class Peer {
  /** Resolves with the reason once the connection is over. */
  readonly closed: Promise<VarveError>
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #outgoing: OutgoingCalls
  readonly #incoming: IncomingCalls
  #heardMs: number
  readonly #measures: boolean
  /** The last ping: its number, and when it was sent. */
  #ping = { number: 0, sentMs: Number.NEGATIVE_INFINITY }
  #lagMs: number | null = null
  #stopHeartbeat: () => void = () => {}
  #failure: VarveError | null = null
  #reportClosed!: (error: VarveError) => void

  /** Ids of calls are odd from the side that opened the connection and even from the other, so one number names one call. */
  constructor(options: { opener: boolean; transport: Transport; handlers: Handlers; clock: Clock; room?: Room }) {
    const { opener, transport, handlers, clock, room = BOUNDLESS } = options
    this.#transport = transport
    this.#clock = clock
    this.#measures = !opener
    this.#outgoing = new OutgoingCalls({ firstId: opener ? 1 : 2, link: this.#link, clock, room })
    this.#incoming = new IncomingCalls({ handlers, link: this.#link, clock, room })
    this.#heardMs = clock.elapsed()
    this.closed = new Promise((resolve) => (this.#reportClosed = resolve))
    this.#heartbeat()
  }

  /** Whether the connection is over: a failed call may have failed because of that. */
  get isOver(): boolean {
    return this.#failure !== null
  }

  /** Calls a method without a stream and gives its result. */
  async call<N extends MethodName>(name: N, params: Asked<N>, options: CallOptions = {}): Promise<Result<N>> {
    return this.open(name, params, { deadlineMs: DEADLINE_DEFAULT_MS, ...options }).result
  }

  /** Calls a method and gives its stream besides its result. */
  open<N extends MethodName>(name: N, params: Asked<N>, options: CallOptions = {}): OpenCall<N> {
    if (this.#failure !== null) throw this.#failure
    return this.#outgoing.open(name, params, options)
  }

  /** Credit that the other side has not used, in bytes. */
  get grantedBytes(): number {
    return this.#outgoing.grantedBytes + this.#incoming.grantedBytes
  }

  /** How long the other side took to answer the last ping that it answered, in milliseconds; null where there was none. */
  get lagMs(): number | null {
    return this.#lagMs
  }

  /** When something was received last, by the clock's elapsed time in milliseconds. */
  get heardMs(): number {
    return this.#heardMs
  }

  /** Takes one received WebSocket message; anything wrong with it ends the connection with a typed error. */
  receive(bytes: Uint8Array): void {
    if (this.#failure !== null) return
    this.#heardMs = this.#clock.elapsed()
    try {
      this.#dispatch(decodeFrame(bytes), bytes)
    } catch (thrown) {
      this.close(asVarveError(thrown))
    }
  }

  /** Sends the peer the reason, ends every call and closes the socket. */
  close(error: VarveError): void {
    if (this.#failure !== null) return
    try {
      this.#transport.send(encodeFrame(errorFrame(0, error)))
    } catch {
      // the socket may be gone already; the reason still reaches our own callers
    }
    this.#end(error)
    this.#transport.close(error)
  }

  /** Called when the socket is gone. */
  transportClosed(error: VarveError): void {
    this.#end(error)
  }

  readonly #link = {
    send: (bytes: Uint8Array, sent?: () => void): void => this.#send(bytes, sent),
    drained: async (): Promise<void> => {
      while (this.#failure === null && this.#transport.bufferedBytes > SEND_HIGH_WATER_BYTES)
        await new Promise<void>((resolve) => this.#clock.after(DRAIN_POLL_MS, resolve))
    },
  }

  #send(bytes: Uint8Array, sent?: () => void): void {
    if (this.#failure !== null) return sent?.()
    this.#transport.send(bytes, sent)
    if (this.#transport.bufferedBytes <= OUTBOUND_BYTES_MAX) return
    const error = new VarveError('CONNECTION_LOST', 'the peer reads its data too slowly')
    this.#end(error)
    this.#transport.close(error)
  }

  #dispatch(frame: Frame, bytes: Uint8Array): void {
    switch (frame[0]) {
      case FRAME.request:
        if (this.#outgoing.owns(frame[1]))
          throw new VarveError('FRAME_UNEXPECTED', `id ${frame[1]} belongs to the other side`)
        return this.#incoming.onRequest(frame, bytes.length)
      case FRAME.result:
        return this.#outgoing.onResult(frame[1], frame[2])
      case FRAME.error:
        return this.#onError(frame[1], errorOfFrame(frame[2], frame[3], frame[4]))
      case FRAME.data:
        return this.#channel(frame[1])?.onData(bytes)
      case FRAME.credit:
        return this.#channel(frame[1])?.onCredit(frame[2])
      case FRAME.end:
        return this.#channel(frame[1])?.onEnd()
      case FRAME.cancel:
        this.#checkMade(frame[1])
        return this.#incoming.cancel(frame[1])
      case FRAME.ping:
        return this.#send(encodeFrame([FRAME.pong, frame[1]]))
      case FRAME.pong:
        return this.#onPong(frame[1])
      case FRAME.hello:
      case FRAME.welcome:
        throw new VarveError('FRAME_UNEXPECTED', 'the connection is open already')
    }
  }

  #onPong(number: number): void {
    if (number === this.#ping.number) this.#lagMs = Math.max(0, Math.round(this.#clock.elapsed() - this.#ping.sentMs))
  }

  #onError(id: number, error: VarveError): void {
    if (id !== 0) return this.#outgoing.onError(id, error)
    this.#end(endTold(error))
    // the other side closes the socket: its normal end is ours too
    this.#transport.close(error)
  }

  /** The channel of a frame, or undefined for a call that has ended: its last frames may have crossed its end. */
  #channel(id: number): Channel<unknown, unknown> | undefined {
    this.#checkMade(id)
    return this.#outgoing.channel(id) ?? this.#incoming.channel(id)
  }

  #checkMade(id: number): void {
    const made = this.#outgoing.owns(id) ? this.#outgoing.made(id) : this.#incoming.made(id)
    if (!made) throw new VarveError('FRAME_UNEXPECTED', `there is no call ${id}`)
  }

  #heartbeat(): void {
    this.#stopHeartbeat = this.#clock.after(HEARTBEAT_INTERVAL_MS, () => {
      if (this.#failure !== null) return
      const nowMs = this.#clock.elapsed()
      const silentMs = nowMs - this.#heardMs
      if (silentMs >= HEARTBEAT_TIMEOUT_MS)
        return this.close(new VarveError('HEARTBEAT_TIMEOUT', `nothing was received for ${Math.round(silentMs)} ms`))
      const measures = this.#measures && nowMs - this.#ping.sentMs >= LAG_INTERVAL_MS
      if (silentMs >= HEARTBEAT_INTERVAL_MS || measures) {
        this.#ping = { number: this.#ping.number + 1, sentMs: nowMs }
        this.#send(encodeFrame([FRAME.ping, this.#ping.number]))
      }
      this.#heartbeat()
    })
  }

  #end(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#stopHeartbeat()
    this.#outgoing.end(error)
    this.#incoming.end(error)
    this.#reportClosed(error)
  }
}
