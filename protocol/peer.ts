// One side of an open connection: calls the peer's methods and serves its own. Pure logic; the socket and the clock are given.
import * as v from 'valibot'
import { Channel } from './channel.ts'
import { asVarveError, VarveError } from './errors.ts'
import { decodeFrame, encodeFrame, errorFrame, errorOfFrame, FRAME, type Frame, type FrameOf } from './frames.ts'
import {
  CALLS_OPEN_MAX,
  DEADLINE_DEFAULT_MS,
  HEARTBEAT_INTERVAL_MS,
  HEARTBEAT_TIMEOUT_MS,
  OUTBOUND_BYTES_MAX,
} from './limits.ts'
import { isMethod, methodOf, type Down, type MethodName, type Params, type Result, type Up } from './methods.ts'

/** What a peer needs of a socket. */
export interface Transport {
  send(bytes: Uint8Array): void
  close(error: VarveError): void
  /** Bytes given to `send` that the network has not taken yet. */
  readonly bufferedBytes: number
}

/** Time as a peer needs it, given so that tests can hold it still. */
export interface Clock {
  now(): number
  /** Runs `action` after so many milliseconds unless the returned function is called first. */
  after(ms: number, action: () => void): () => void
}

/** A call that this side made and whose messages it exchanges. */
export interface OpenCall<N extends MethodName> {
  readonly result: Promise<Result<N>>
  readonly messages: AsyncIterable<Down<N>>
  send(message: Up<N>): Promise<void>
  end(): void
  cancel(): void
}

/** A call that this side serves. */
export interface ServedCall<N extends MethodName> {
  readonly signal: AbortSignal
  readonly messages: AsyncIterable<Up<N>>
  send(message: Down<N>): Promise<void>
}

export type Handler<N extends MethodName> = (params: Params<N>, call: ServedCall<N>) => Promise<Result<N>>

/** How this side serves: any of the methods; the others are METHOD_UNKNOWN to the peer. */
export type Handlers = { readonly [N in MethodName]?: Handler<N> }

interface CallOptions {
  /** 0 means none; streams default to none, others to DEADLINE_DEFAULT_MS. */
  readonly deadlineMs?: number
  readonly signal?: AbortSignal | undefined
}

interface Outgoing {
  readonly method: MethodName
  readonly channel: Channel<unknown, unknown>
  readonly settle: (outcome: { value: unknown } | { error: VarveError }) => void
}

interface Incoming {
  readonly channel: Channel<unknown, unknown>
  readonly controller: AbortController
  answered: boolean
}

/** Bytes in the socket above which a sender waits before it sends more. */
const SEND_HIGH_WATER_BYTES = 4 * 1024 * 1024
const DRAIN_POLL_MS = 2

export class Peer {
  /** Resolves with the reason once the connection is over. */
  readonly closed: Promise<VarveError>
  readonly #transport: Transport
  readonly #handlers: Handlers
  readonly #clock: Clock
  readonly #outgoing = new Map<number, Outgoing>()
  readonly #incoming = new Map<number, Incoming>()
  #running = 0
  #nextId: number
  #lastPeerId: number
  #heardMs: number
  #stopHeartbeat: () => void = () => {}
  #failure: VarveError | null = null
  #reportClosed!: (error: VarveError) => void

  /** Ids of calls are odd from the side that opened the connection and even from the other, so one number names one call. */
  constructor(options: { opener: boolean; transport: Transport; handlers: Handlers; clock: Clock }) {
    this.#transport = options.transport
    this.#handlers = options.handlers
    this.#clock = options.clock
    this.#nextId = options.opener ? 1 : 2
    this.#lastPeerId = options.opener ? 0 : -1
    this.#heardMs = options.clock.now()
    this.closed = new Promise((resolve) => (this.#reportClosed = resolve))
    this.#heartbeat()
  }

  /** Calls a method without a stream and gives its result. */
  async call<N extends MethodName>(name: N, params: Params<N>, options: CallOptions = {}): Promise<Result<N>> {
    return this.open(name, params, { deadlineMs: DEADLINE_DEFAULT_MS, ...options }).result
  }

  /** Calls a method and gives its stream besides its result. */
  open<N extends MethodName>(name: N, params: Params<N>, options: CallOptions = {}): OpenCall<N> {
    if (this.#failure !== null) throw this.#failure
    if (this.#outgoing.size >= CALLS_OPEN_MAX)
      throw new VarveError('TOO_MANY_REQUESTS', 'too many calls are open on this connection')
    const method = methodOf(name)
    const id = this.#nextId
    this.#nextId += 2
    const channel = new Channel<Up<N>, Down<N>>(id, this.#link, method.up, method.down)
    const { promise, resolve, reject } = Promise.withResolvers<Result<N>>()
    // a caller that only reads the messages must not be told of the same error as unhandled
    promise.catch(() => {})
    const deadlineMs = options.deadlineMs ?? 0
    const cancel = (error: VarveError): void => {
      if (!this.#outgoing.has(id)) return
      this.#send([FRAME.cancel, id])
      settle({ error })
    }
    const stopDeadline =
      deadlineMs === 0
        ? () => {}
        : this.#clock.after(deadlineMs, () =>
            cancel(new VarveError('DEADLINE_EXCEEDED', `${name} was not answered within ${deadlineMs} ms`)),
          )
    const onAbort = (): void => cancel(new VarveError('CANCELLED', `${name} was cancelled`))
    const settle: Outgoing['settle'] = (outcome) => {
      this.#outgoing.delete(id)
      stopDeadline()
      options.signal?.removeEventListener('abort', onAbort)
      if ('error' in outcome) {
        channel.abort(outcome.error)
        reject(outcome.error)
      } else {
        channel.finish()
        resolve(outcome.value as Result<N>)
      }
    }
    this.#outgoing.set(id, { method: name, channel: channel as Channel<unknown, unknown>, settle })
    this.#send([FRAME.request, id, name, params, deadlineMs])
    channel.open()
    if (options.signal?.aborted === true) onAbort()
    else options.signal?.addEventListener('abort', onAbort, { once: true })
    return {
      result: promise,
      messages: channel,
      send: (message) => channel.send(message),
      end: () => channel.end(),
      cancel: onAbort,
    }
  }

  /** Takes one received WebSocket message; anything wrong with it ends the connection with a typed error. */
  receive(bytes: Uint8Array): void {
    if (this.#failure !== null) return
    this.#heardMs = this.#clock.now()
    try {
      this.#dispatch(decodeFrame(bytes), bytes.length)
    } catch (thrown) {
      this.close(asVarveError(thrown))
    }
  }

  /** Tells the peer why, ends every call and closes the socket. */
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

  /** To be called when the socket is gone. */
  transportClosed(error: VarveError): void {
    this.#end(error)
  }

  readonly #link = {
    send: (bytes: Uint8Array): void => this.#sendBytes(bytes),
    drained: async (): Promise<void> => {
      while (this.#failure === null && this.#transport.bufferedBytes > SEND_HIGH_WATER_BYTES)
        await new Promise<void>((resolve) => this.#clock.after(DRAIN_POLL_MS, resolve))
    },
  }

  #send(frame: Frame): void {
    this.#sendBytes(encodeFrame(frame))
  }

  #sendBytes(bytes: Uint8Array): void {
    if (this.#failure !== null) return
    this.#transport.send(bytes)
    if (this.#transport.bufferedBytes <= OUTBOUND_BYTES_MAX) return
    const error = new VarveError('CONNECTION_LOST', 'the peer takes its data too slowly')
    this.#end(error)
    this.#transport.close(error)
  }

  #dispatch(frame: Frame, bytes: number): void {
    switch (frame[0]) {
      case FRAME.request:
        return this.#onRequest(frame)
      case FRAME.result:
        return this.#onResult(frame)
      case FRAME.error:
        return this.#onError(frame)
      case FRAME.data:
        return this.#channel(frame[1])?.onData(frame[2], bytes)
      case FRAME.credit:
        return this.#channel(frame[1])?.onCredit(frame[2])
      case FRAME.end:
        return this.#channel(frame[1])?.onEnd()
      case FRAME.cancel:
        return this.#onCancel(frame[1])
      case FRAME.ping:
        return this.#send([FRAME.pong, frame[1]])
      case FRAME.pong:
        return
      case FRAME.hello:
      case FRAME.welcome:
        throw new VarveError('FRAME_UNEXPECTED', 'the connection is open already')
    }
  }

  #onRequest([, id, name, params, deadlineMs]: FrameOf<3>): void {
    if (id % 2 === this.#nextId % 2) throw new VarveError('FRAME_UNEXPECTED', `id ${id} belongs to the other side`)
    if (id <= this.#lastPeerId) throw new VarveError('ID_REUSED', `id ${id} was used before`)
    this.#lastPeerId = id
    const refuse = (error: VarveError): void => this.#send(errorFrame(id, error))
    if (this.#running >= CALLS_OPEN_MAX)
      return refuse(new VarveError('TOO_MANY_REQUESTS', 'too many calls are open on this connection'))
    const handler = isMethod(name) ? (this.#handlers[name] as Handler<MethodName> | undefined) : undefined
    if (!isMethod(name) || handler === undefined)
      return refuse(new VarveError('METHOD_UNKNOWN', `there is no method ${name.slice(0, 64)} here`))
    const method = methodOf(name)
    const checked = v.safeParse(method.params, params, { abortEarly: true })
    if (!checked.success) {
      const path = v.getDotPath(checked.issues[0]) ?? 'parameters'
      return refuse(new VarveError('PARAMS_INVALID', `${name}: ${path}: ${checked.issues[0].message}`))
    }
    const call: Incoming = {
      channel: new Channel(id, this.#link, method.down, method.up),
      controller: new AbortController(),
      answered: false,
    }
    this.#incoming.set(id, call)
    call.channel.open()
    void this.#serve(id, call, handler, checked.output as Params<MethodName>, deadlineMs)
  }

  async #serve(
    id: number,
    call: Incoming,
    handler: Handler<MethodName>,
    params: Params<MethodName>,
    deadlineMs: number,
  ): Promise<void> {
    this.#running++
    const stopDeadline =
      deadlineMs === 0
        ? () => {}
        : this.#clock.after(deadlineMs, () =>
            this.#abortIncoming(id, new VarveError('DEADLINE_EXCEEDED', `not done within ${deadlineMs} ms`)),
          )
    try {
      const { channel } = call
      const result = await handler(params, {
        signal: call.controller.signal,
        messages: channel as AsyncIterable<never>,
        send: (message) => channel.send(message),
      })
      this.#answer(id, call, { result })
    } catch (thrown) {
      this.#answer(id, call, { error: asVarveError(thrown) })
    } finally {
      stopDeadline()
      this.#running--
    }
  }

  #answer(id: number, call: Incoming, outcome: { result: unknown } | { error: VarveError }): void {
    if (call.answered) return
    call.answered = true
    this.#incoming.delete(id)
    const error = 'error' in outcome ? outcome.error : new VarveError('CANCELLED', 'the call has ended')
    call.channel.abort(error)
    call.controller.abort(error)
    try {
      this.#send('error' in outcome ? errorFrame(id, outcome.error) : [FRAME.result, id, outcome.result])
    } catch (thrown) {
      // a result too large for a frame is this side's fault, not the connection's
      this.#send(errorFrame(id, asVarveError(thrown)))
    }
  }

  #abortIncoming(id: number, error: VarveError): void {
    const call = this.#incoming.get(id)
    if (call !== undefined) this.#answer(id, call, { error })
  }

  #onCancel(id: number): void {
    this.#known(id)
    this.#abortIncoming(id, new VarveError('CANCELLED', 'the caller cancelled the call'))
  }

  #onResult([, id, value]: FrameOf<4>): void {
    const call = this.#answered(id)
    if (call === undefined) return
    const checked = v.safeParse(methodOf(call.method).result, value, { abortEarly: true })
    if (checked.success) return call.settle({ value: checked.output })
    const error = new VarveError(
      'RESULT_INVALID',
      `${call.method}: the answer does not fit: ${checked.issues[0].message}`,
    )
    call.settle({ error })
  }

  #onError([, id, code, message, details]: FrameOf<5>): void {
    const error = errorOfFrame(code, message, details)
    if (id === 0) {
      this.#end(error)
      this.#transport.close(error)
      return
    }
    this.#answered(id)?.settle({ error })
  }

  #answered(id: number): Outgoing | undefined {
    if (id % 2 !== this.#nextId % 2 || id >= this.#nextId)
      throw new VarveError('FRAME_UNEXPECTED', `an answer to call ${id}, which was never made`)
    return this.#outgoing.get(id)
  }

  /** The channel a frame speaks of, or undefined for a call that has ended: its last frames may have crossed its end. */
  #channel(id: number): Channel<unknown, unknown> | undefined {
    this.#known(id)
    return (this.#outgoing.get(id) ?? this.#incoming.get(id))?.channel
  }

  #known(id: number): void {
    const own = id % 2 === this.#nextId % 2
    if (own ? id >= this.#nextId : id > this.#lastPeerId)
      throw new VarveError('FRAME_UNEXPECTED', `there is no call ${id}`)
  }

  #heartbeat(): void {
    this.#stopHeartbeat = this.#clock.after(HEARTBEAT_INTERVAL_MS, () => {
      if (this.#failure !== null) return
      const silentMs = this.#clock.now() - this.#heardMs
      if (silentMs >= HEARTBEAT_TIMEOUT_MS)
        return this.close(new VarveError('HEARTBEAT_TIMEOUT', `nothing was heard for ${silentMs} ms`))
      if (silentMs >= HEARTBEAT_INTERVAL_MS) this.#send([FRAME.ping, 0])
      this.#heartbeat()
    })
  }

  #end(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#stopHeartbeat()
    for (const call of [...this.#outgoing.values()]) call.settle({ error })
    for (const call of this.#incoming.values()) {
      call.answered = true
      call.channel.abort(error)
      call.controller.abort(error)
    }
    this.#incoming.clear()
    this.#reportClosed(error)
  }
}
