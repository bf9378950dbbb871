// One call's messages in both directions, with byte credits so that neither side can fill the other's memory.
import * as v from 'valibot'
import type { Received, Room } from './call.ts'
import { asVarveError, VarveError } from './errors.ts'
import { decodeFrame, encodeFrame, FRAME } from './frames.ts'
import { MESSAGE_COST_BYTES_MIN } from './limits.ts'
import type { Stream } from './method.ts'
import { misfit } from './misfit.ts'

/** Waiting frames up to this size are copied, so that a small one keeps no large receive buffer alive; in bytes. */
const COPY_BYTES_MAX = 16 * 1024

/** How a channel reaches its connection. */
export interface ChannelLink {
  /** With `sent`, its memory counts as used until that is called. */
  send(bytes: Uint8Array, sent?: () => void): void
  /** Resolves when the socket has taken what was sent, so that a slow network slows the sender. */
  drained(): Promise<void>
}

interface Waiter {
  readonly frame: Uint8Array
  /** Releases its memory. */
  readonly release: () => void
  readonly resolve: () => void
  readonly reject: (error: VarveError) => void
}

const NOTHING = (): void => {}

/** A message's cost in its stream's credit, in bytes. */
const costOf = (frame: Uint8Array): number => Math.max(frame.length, MESSAGE_COST_BYTES_MIN)

/** Sends `Out` messages against the peer's credit and yields checked `In` messages, granting credit as they are taken. */
export class Channel<Out, In> implements AsyncIterable<In> {
  readonly #id: number
  readonly #link: ChannelLink
  readonly #outbound: Stream | null
  readonly #inbound: Stream | null
  #credit = 0
  readonly #waiters: Waiter[] = []
  #sendingEnded = false
  #opened = false
  #granted = 0
  #taken = 0
  /** Encoded frames: their memory is what the credit counts. */
  readonly #queue: Uint8Array[] = []
  #gotEnd = false
  #failure: VarveError | null = null
  #wake: (() => void) | null = null

  constructor(id: number, link: ChannelLink, outbound: Stream | null, inbound: Stream | null) {
    this.#id = id
    this.#link = link
    this.#outbound = outbound
    this.#inbound = inbound
  }

  /** Credit that the peer has not used, in bytes. */
  get grantedBytes(): number {
    return this.#granted
  }

  /** Grants the first window, unless that was done before. */
  open(): void {
    if (this.#opened || this.#inbound === null) return
    this.#opened = true
    this.grant(this.#inbound.windowBytes)
  }

  /** Grants the peer more credit. */
  grant(bytes: number): void {
    if (this.#gotEnd || this.#failure !== null) return
    this.#granted += bytes
    this.#link.send(encodeFrame([FRAME.credit, this.#id, bytes]))
  }

  /**
   * Sends one message once the peer's credit covers its cost; messages keep their order. STREAM_INVALID; TOO_MANY_REQUESTS
   * where there is no room for it.
   */
  async send(message: Out, room: Room | null = null): Promise<void> {
    if (this.#failure !== null) throw this.#failure
    if (this.#outbound === null || this.#sendingEnded) throw new VarveError('STREAM_INVALID', 'this side may not send')
    const frame = this.#dataFrame(message, this.#outbound.windowBytes)
    const release = room === null ? NOTHING : room.take(costOf(frame))
    if (release === null) throw new VarveError('TOO_MANY_REQUESTS', 'messages of this connection are read too slowly')
    if (this.#waiters.length > 0 || this.#credit < costOf(frame))
      await new Promise<void>((resolve, reject) => this.#waiters.push({ frame, release, resolve, reject }))
    else this.#sendNow(frame, release)
    await this.#link.drained()
  }

  /** Ends this side's messages, once those that wait for credit are sent. */
  end(): void {
    if (this.#sendingEnded || this.#failure !== null) return
    this.#sendingEnded = true
    if (this.#waiters.length === 0) this.#sendEnd()
  }

  /** Ends both directions: waiting and later messages fail with this error. */
  abort(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#queue.length = 0
    this.#refuseSending(error)
    this.#wake?.()
  }

  /** The call has its result: received messages can still be read, unsent ones are dropped. */
  finish(): void {
    this.#gotEnd = true
    this.#refuseSending(new VarveError('STREAM_INVALID', 'the call has ended'))
    this.#wake?.()
  }

  onCredit(bytes: number): void {
    this.#credit += bytes
    if (!Number.isSafeInteger(this.#credit))
      throw new VarveError('CREDIT_EXCEEDED', 'the credit granted is out of range')
    let next = this.#waiters[0]
    while (next !== undefined && costOf(next.frame) <= this.#credit) {
      this.#waiters.shift()
      // sent here, as the waiter runs later and a newer message must not overtake it
      this.#sendNow(next.frame, next.release)
      next.resolve()
      next = this.#waiters[0]
      if (next === undefined && this.#sendingEnded) this.#sendEnd()
    }
  }

  /** Takes a received data frame; CREDIT_EXCEEDED when the peer had no credit for it, FRAME_UNEXPECTED after its end. */
  onData(frame: Uint8Array): void {
    if (this.#gotEnd) throw new VarveError('FRAME_UNEXPECTED', 'a message came after the end of its stream')
    const cost = costOf(frame)
    if (cost > this.#granted) throw new VarveError('CREDIT_EXCEEDED', `a message of ${cost} bytes came without credit`)
    this.#granted -= cost
    if (this.#failure !== null) return
    this.#queue.push(frame.length > COPY_BYTES_MAX ? frame : new Uint8Array(frame))
    this.#wake?.()
  }

  onEnd(): void {
    if (this.#gotEnd) throw new VarveError('FRAME_UNEXPECTED', 'a stream ended twice')
    this.#gotEnd = true
    this.#wake?.()
  }

  /** The messages in order until the peer's end; STREAM_INVALID when one does not fit the method. One reader at a time. */
  async *[Symbol.asyncIterator](): AsyncGenerator<In, void, undefined> {
    this.open()
    for await (const { message, bytes } of this.received()) {
      this.#taken += bytes
      // with nothing left to read, the sender may be waiting for the credit of one large message
      if (this.#queue.length === 0 || this.#taken * 2 >= this.#inbound!.windowBytes) this.#grantTaken()
      yield message
    }
  }

  /** The same with the cost of each, which the reader grants again with `grant`. */
  async *received(): AsyncGenerator<Received<In>, void, undefined> {
    while (true) {
      const next = this.#queue.shift()
      if (next !== undefined) {
        yield { message: this.#check(next), bytes: costOf(next) }
        continue
      }
      if (this.#failure !== null) throw this.#failure
      if (this.#gotEnd) return
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#wake = null
    }
  }

  #dataFrame(message: Out, windowBytes: number): Uint8Array {
    let frame: Uint8Array
    try {
      frame = encodeFrame([FRAME.data, this.#id, message])
    } catch (thrown) {
      throw new VarveError('STREAM_INVALID', asVarveError(thrown).message, { cause: thrown })
    }
    if (frame.length <= windowBytes) return frame
    throw new VarveError('STREAM_INVALID', `a message of ${frame.length} bytes is larger than the stream's window`)
  }

  /** Its memory is released once the socket has taken it. */
  #sendNow(frame: Uint8Array, release: () => void): void {
    this.#credit -= costOf(frame)
    this.#link.send(frame, release)
  }

  #sendEnd(): void {
    this.#link.send(encodeFrame([FRAME.end, this.#id]))
  }

  #refuseSending(error: VarveError): void {
    this.#sendingEnded = true
    for (const { release, reject } of this.#waiters.splice(0)) {
      release()
      reject(error)
    }
  }

  #check(frame: Uint8Array): In {
    const { message } = this.#inbound!
    const checked = v.safeParse(message, decodeFrame(frame)[2], { abortEarly: true })
    if (checked.success) return checked.output as In
    throw new VarveError('STREAM_INVALID', `a message does not fit its method: ${misfit(message, checked.issues)}`)
  }

  #grantTaken(): void {
    const bytes = this.#taken
    this.#taken = 0
    this.grant(bytes)
  }
}
