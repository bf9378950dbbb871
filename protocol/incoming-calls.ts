// The calls that the peer has made and that this side serves.
import * as v from 'valibot'
import type { Clock, Handlers, Room, ServedCall } from './call.ts'
import { Channel, type ChannelLink } from './channel.ts'
import { asVarveError, VarveError } from './errors.ts'
import { encodeFrame, errorFrame, FRAME, type FrameOf } from './frames.ts'
import { CALLS_OPEN_MAX } from './limits.ts'
import { misfit } from './misfit.ts'
import { isMethod, methodOf, type MethodName } from './methods.ts'

interface Incoming {
  readonly channel: Channel<unknown, unknown>
  readonly controller: AbortController
  /** Stops the timer of the caller's deadline. */
  stopDeadline: () => void
  answered: boolean
}

/** Least memory of a call while it is served, in bytes. */
const CALL_BYTES_MIN = 4096

/** A handler whose parameters were checked by its method's schema. */
type CheckedHandler = (params: unknown, call: ServedCall<MethodName>) => Promise<unknown>

export class IncomingCalls {
  readonly #link: ChannelLink
  readonly #clock: Clock
  readonly #handlers: Handlers
  readonly #room: Room
  readonly #calls = new Map<number, Incoming>()
  /** Handlers that have not returned, those of cancelled calls among them. */
  #running = 0
  #lastId = 0

  constructor(options: { handlers: Handlers; link: ChannelLink; clock: Clock; room: Room }) {
    this.#room = options.room
    this.#handlers = options.handlers
    this.#link = options.link
    this.#clock = options.clock
  }

  /** Whether the peer has used this id or a later one. */
  made(id: number): boolean {
    return id <= this.#lastId
  }

  channel(id: number): Channel<unknown, unknown> | undefined {
    return this.#calls.get(id)?.channel
  }

  /** Credit that the peer has not used, of all calls, in bytes. */
  get grantedBytes(): number {
    let bytes = 0
    for (const { channel } of this.#calls.values()) bytes += channel.grantedBytes
    return bytes
  }

  /** Serves a request, whose frame has so many bytes, or refuses it; ID_REUSED unless its id is later than every one before. */
  onRequest([, id, name, params, deadlineMs]: FrameOf<3>, frameBytes: number): void {
    if (this.made(id)) throw new VarveError('ID_REUSED', `id ${id} was used before`)
    this.#lastId = id
    const refuse = (error: VarveError): void => this.#link.send(encodeFrame(errorFrame(id, error)))
    if (this.#running >= CALLS_OPEN_MAX)
      return refuse(new VarveError('TOO_MANY_REQUESTS', 'too many calls are open on this connection'))
    const handler = isMethod(name) ? (this.#handlers[name] as CheckedHandler | undefined) : undefined
    if (!isMethod(name) || handler === undefined)
      return refuse(new VarveError('METHOD_UNKNOWN', `there is no method ${name.slice(0, 64)} on this side`))
    const method = methodOf(name)
    const checked = v.safeParse(method.params, params, { abortEarly: true })
    if (!checked.success)
      return refuse(new VarveError('PARAMS_INVALID', `${name}: ${misfit(method.params, checked.issues)}`))
    const release = this.#room.take(Math.max(frameBytes, CALL_BYTES_MIN))
    if (release === null)
      return refuse(
        new VarveError('TOO_MANY_REQUESTS', 'calls in progress use all the memory allowed to them: try again'),
      )
    const call: Incoming = {
      channel: new Channel(id, this.#link, method.down, method.up),
      controller: new AbortController(),
      stopDeadline: () => {},
      answered: false,
    }
    this.#calls.set(id, call)
    if (deadlineMs > 0) {
      const late = new VarveError('DEADLINE_EXCEEDED', `not done within ${deadlineMs} ms`)
      call.stopDeadline = this.#clock.after(deadlineMs, () => this.#abort(id, late))
    }
    void this.#serve(id, call, handler, checked.output).finally(release)
  }

  /** Cancels a call for the caller. */
  cancel(id: number): void {
    this.#abort(id, new VarveError('CANCELLED', 'the caller cancelled the call'))
  }

  /** Aborts every call with the reason why the connection ended; nothing is answered any more. */
  end(error: VarveError): void {
    for (const call of this.#calls.values()) {
      call.answered = true
      call.stopDeadline()
      call.channel.abort(error)
      call.controller.abort(error)
    }
    this.#calls.clear()
  }

  async #serve(id: number, call: Incoming, handler: CheckedHandler, params: unknown): Promise<void> {
    this.#running++
    try {
      const { channel } = call
      const result = await handler(params, {
        signal: call.controller.signal,
        messages: channel as AsyncIterable<never>,
        received: { [Symbol.asyncIterator]: () => channel.received() as AsyncIterator<never> },
        grant: (bytes) => channel.grant(bytes),
        send: (message) => channel.send(message, this.#room),
        sendHeld: (message) => channel.send(message),
      })
      this.#answer(id, call, { result })
    } catch (thrown) {
      this.#answer(id, call, { error: asVarveError(thrown) })
    } finally {
      this.#running--
    }
  }

  #answer(id: number, call: Incoming, outcome: { result: unknown } | { error: VarveError }): void {
    if (call.answered) return
    call.answered = true
    call.stopDeadline()
    this.#calls.delete(id)
    const error = 'error' in outcome ? outcome.error : new VarveError('CANCELLED', 'the call has ended')
    call.channel.abort(error)
    call.controller.abort(error)
    if ('error' in outcome) return this.#link.send(encodeFrame(errorFrame(id, outcome.error)))
    const frame = resultFrame(id, outcome.result)
    const sent = this.#room.take(frame.length)
    if (sent !== null) return this.#link.send(frame, sent)
    const full = new VarveError('TOO_MANY_REQUESTS', 'answers of this connection are read too slowly')
    this.#link.send(encodeFrame(errorFrame(id, full)))
  }

  #abort(id: number, error: VarveError): void {
    const call = this.#calls.get(id)
    if (call !== undefined) this.#answer(id, call, { error })
  }
}

/** The frame of a result; one that fits into no frame is this call's error, not the connection's. */
const resultFrame = (id: number, result: unknown): Uint8Array => {
  try {
    return encodeFrame([FRAME.result, id, result])
  } catch (thrown) {
    return encodeFrame(errorFrame(id, new VarveError('RESULT_INVALID', asVarveError(thrown).message)))
  }
}
