// The calls that this side has made and that are not answered yet.
import * as v from 'valibot'
import type { CallOptions, Clock, OpenCall, Room } from './call.ts'
import { Channel, type ChannelLink } from './channel.ts'
import { asVarveError, VarveError } from './errors.ts'
import { encodeFrame, FRAME } from './frames.ts'
import { CALLS_OPEN_MAX, DEADLINE_MAX_MS } from './limits.ts'
import { misfit } from './misfit.ts'
import { methodOf, type Down, type MethodName, type Asked, type Result, type Up } from './methods.ts'

type Outcome = { readonly value: unknown } | { readonly error: VarveError }

interface Outgoing {
  readonly method: MethodName
  readonly channel: Channel<unknown, unknown>
  readonly settle: (outcome: Outcome) => void
}

export class OutgoingCalls {
  readonly #link: ChannelLink
  readonly #clock: Clock
  readonly #calls = new Map<number, Outgoing>()
  readonly #room: Room
  #nextId: number

  /** Ids are `firstId` (1 or 2) and every second number after it. */
  constructor(options: { firstId: number; link: ChannelLink; clock: Clock; room: Room }) {
    this.#room = options.room
    this.#nextId = options.firstId
    this.#link = options.link
    this.#clock = options.clock
  }

  /** Whether an id is one that this side assigns. */
  owns(id: number): boolean {
    return id % 2 === this.#nextId % 2
  }

  /** Whether a call with this id of ours was ever made. */
  made(id: number): boolean {
    return id < this.#nextId
  }

  /** Credit that the peer has not used, of all calls, in bytes. */
  get grantedBytes(): number {
    let bytes = 0
    for (const { channel } of this.#calls.values()) bytes += channel.grantedBytes
    return bytes
  }

  channel(id: number): Channel<unknown, unknown> | undefined {
    return this.#calls.get(id)?.channel
  }

  /** Makes a call; TOO_MANY_REQUESTS past CALLS_OPEN_MAX or without room for it, PARAMS_INVALID when it does not fit a frame. */
  open<N extends MethodName>(name: N, params: Asked<N>, options: CallOptions): OpenCall<N> {
    if (this.#calls.size >= CALLS_OPEN_MAX)
      throw new VarveError('TOO_MANY_REQUESTS', 'too many calls are open on this connection')
    const { deadlineMs = 0, signal } = options
    const id = this.#nextId
    // before anything is set up, as parameters that cannot be sent must leave no call behind
    const request = requestFrame(id, name, params, deadlineMs)
    const sent = this.#room.take(request.length)
    if (sent === null) throw new VarveError('TOO_MANY_REQUESTS', 'the other side reads its calls too slowly')
    this.#nextId += 2
    const method = methodOf(name)
    const channel = new Channel<Up<N>, Down<N>>(id, this.#link, method.up, method.down)
    const { promise, resolve, reject } = Promise.withResolvers<Result<N>>()
    // for a caller that only reads the messages the same error must not be unhandled
    promise.catch(() => {})
    const cancel = (error: VarveError): void => {
      if (!this.#calls.has(id)) return
      this.#link.send(encodeFrame([FRAME.cancel, id]))
      settle({ error })
    }
    const late = `${name} was not answered within ${deadlineMs} ms`
    const stopDeadline =
      deadlineMs === 0
        ? () => {}
        : this.#clock.after(deadlineMs, () => cancel(new VarveError('DEADLINE_EXCEEDED', late)))
    const onAbort = (): void => {
      const reason: unknown = signal?.reason
      // the reason is the canceller's; without one only the method can be named
      const why = reason instanceof VarveError ? reason.message : `${name} was cancelled`
      cancel(new VarveError('CANCELLED', why, { cause: reason }))
    }
    const settle = (outcome: Outcome): void => {
      // a connection that ends while the request is sent has settled it already
      if (!this.#calls.delete(id)) return
      stopDeadline()
      signal?.removeEventListener('abort', onAbort)
      if ('error' in outcome) {
        channel.abort(outcome.error)
        reject(outcome.error)
      } else {
        channel.finish()
        resolve(outcome.value as Result<N>)
      }
    }
    this.#calls.set(id, { method: name, channel, settle })
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#link.send(request, sent)
    channel.open()
    if (signal?.aborted === true) onAbort()
    return {
      result: promise,
      messages: channel,
      send: (message) => channel.send(message),
      end: () => channel.end(),
      cancel: onAbort,
    }
  }

  /** A call's result; RESULT_INVALID for the caller when it does not fit the method. */
  onResult(id: number, value: unknown): void {
    const call = this.#answered(id)
    if (call === undefined) return
    const { result } = methodOf(call.method)
    const checked = v.safeParse(result, value, { abortEarly: true })
    if (checked.success) return call.settle({ value: checked.output })
    const what = `${call.method}: the answer does not fit: ${misfit(result, checked.issues)}`
    call.settle({ error: new VarveError('RESULT_INVALID', what) })
  }

  onError(id: number, error: VarveError): void {
    this.#answered(id)?.settle({ error })
  }

  /** Ends every call with the reason why the connection did. */
  end(error: VarveError): void {
    for (const call of this.#calls.values()) call.settle({ error })
  }

  /** The call that an answer is for, or undefined when it has been given up; FRAME_UNEXPECTED when it was never made. */
  #answered(id: number): Outgoing | undefined {
    if (!this.owns(id) || !this.made(id))
      throw new VarveError('FRAME_UNEXPECTED', `an answer to call ${id}, which was never made`)
    return this.#calls.get(id)
  }
}

const requestFrame = (id: number, name: MethodName, params: unknown, deadlineMs: number): Uint8Array => {
  if (!Number.isSafeInteger(deadlineMs) || deadlineMs < 0 || deadlineMs > DEADLINE_MAX_MS)
    throw new VarveError('PARAMS_INVALID', `${name}: a deadline is from 0 to ${DEADLINE_MAX_MS} ms`)
  try {
    return encodeFrame([FRAME.request, id, name, params, deadlineMs])
  } catch (thrown) {
    throw new VarveError('PARAMS_INVALID', `${name}: ${asVarveError(thrown).message}`, { cause: thrown })
  }
}
