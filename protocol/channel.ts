// One call's messages in both directions, with byte credits so that neither side can fill the other's memory.
import * as v from 'valibot'
import { VarveError } from './errors.ts'
import { encodeFrame, FRAME } from './frames.ts'
import type { Stream } from './methods.ts'

/** How a channel reaches its connection. */
export interface ChannelLink {
  send(bytes: Uint8Array): void
  /** Resolves when the socket has taken what was sent, so that a slow network slows the sender. */
  drained(): Promise<void>
}

interface Inbound {
  readonly value: unknown
  readonly bytes: number
}

interface Waiter {
  readonly frame: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: VarveError) => void
}

/** Sends `Out` messages against the peer's credit and yields checked `In` messages, granting credit as they are taken. */
export class Channel<Out, In> implements AsyncIterable<In> {
  readonly #id: number
  readonly #link: ChannelLink
  readonly #outbound: Stream | null
  readonly #inbound: Stream | null
  #credit = 0
  readonly #waiters: Waiter[] = []
  #sentEnd = false
  #granted = 0
  #taken = 0
  readonly #queue: Inbound[] = []
  #gotEnd = false
  #failure: VarveError | null = null
  #wake: (() => void) | null = null

  constructor(id: number, link: ChannelLink, outbound: Stream | null, inbound: Stream | null) {
    this.#id = id
    this.#link = link
    this.#outbound = outbound
    this.#inbound = inbound
  }

  /** Grants the first window; called once the call is open on both sides. */
  open(): void {
    if (this.#inbound !== null) this.#grant(this.#inbound.windowBytes)
  }

  /** Sends one message once the peer's credit covers its frame; messages keep their order. */
  async send(message: Out): Promise<void> {
    if (this.#failure !== null) throw this.#failure
    if (this.#outbound === null || this.#sentEnd) throw new VarveError('STREAM_INVALID', 'this side may not send')
    const frame = encodeFrame([FRAME.data, this.#id, message])
    if (frame.length > this.#outbound.windowBytes)
      throw new VarveError('STREAM_INVALID', `a message of ${frame.length} bytes is larger than the stream's window`)
    if (this.#waiters.length > 0 || this.#credit < frame.length)
      await new Promise<void>((resolve, reject) => this.#waiters.push({ frame, resolve, reject }))
    else this.#sendNow(frame)
    await this.#link.drained()
  }

  /** Says that no more messages come from this side. */
  end(): void {
    if (this.#sentEnd || this.#failure !== null) return
    this.#sentEnd = true
    this.#link.send(encodeFrame([FRAME.end, this.#id]))
  }

  /** Ends both directions: what waits and what comes later fails with this error. */
  abort(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#queue.length = 0
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
    this.#wake?.()
  }

  /** Says that no more messages will come (the call has its result); what was received can still be taken. */
  finish(): void {
    this.#gotEnd = true
    this.#wake?.()
  }

  onCredit(bytes: number): void {
    this.#credit += bytes
    if (!Number.isSafeInteger(this.#credit)) throw new VarveError('CREDIT_EXCEEDED', 'the credit granted is absurd')
    while (this.#waiters.length > 0 && this.#waiters[0]!.frame.length <= this.#credit) {
      const waiter = this.#waiters.shift()!
      // sent here and not by the waiter, which runs later: a newer message must not overtake it
      this.#sendNow(waiter.frame)
      waiter.resolve()
    }
  }

  /** Takes a received message; CREDIT_EXCEEDED when the peer had no credit for it. */
  onData(value: unknown, bytes: number): void {
    if (this.#gotEnd) throw new VarveError('FRAME_UNEXPECTED', 'a message came after the end of its stream')
    if (bytes > this.#granted) throw new VarveError('CREDIT_EXCEEDED', `${bytes} bytes came without credit`)
    this.#granted -= bytes
    if (this.#failure !== null) return
    this.#queue.push({ value, bytes })
    this.#wake?.()
  }

  onEnd(): void {
    if (this.#gotEnd) throw new VarveError('FRAME_UNEXPECTED', 'a stream ended twice')
    this.finish()
  }

  /** The messages in order until the peer's end; STREAM_INVALID when one does not fit the method. One reader at a time. */
  async *[Symbol.asyncIterator](): AsyncGenerator<In, void, undefined> {
    while (true) {
      const next = this.#queue.shift()
      if (next !== undefined) {
        const message = this.#check(next.value)
        this.#taken += next.bytes
        if (this.#taken * 2 >= this.#inbound!.windowBytes) this.#grantTaken()
        yield message
        continue
      }
      if (this.#failure !== null) throw this.#failure
      if (this.#gotEnd) return
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#wake = null
    }
  }

  #sendNow(frame: Uint8Array): void {
    this.#credit -= frame.length
    this.#link.send(frame)
  }

  #check(value: unknown): In {
    const checked = v.safeParse(this.#inbound!.message, value, { abortEarly: true })
    if (checked.success) return checked.output as In
    throw new VarveError('STREAM_INVALID', `a message does not fit its method: ${checked.issues[0].message}`)
  }

  #grantTaken(): void {
    const bytes = this.#taken
    this.#taken = 0
    if (!this.#gotEnd) this.#grant(bytes)
  }

  #grant(bytes: number): void {
    this.#granted += bytes
    this.#link.send(encodeFrame([FRAME.credit, this.#id, bytes]))
  }
}
