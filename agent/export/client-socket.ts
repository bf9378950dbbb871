// The socket of an NBD client at a server: its handshake, exact reads that wait, writes that nothing comes between.
import type { Socket } from 'node:net'
import { Queue } from '../../protocol/host/limiter.ts'
import {
  greeting,
  Negotiation,
  OPTION_BYTES_MAX,
  OPTION_HEADER_BYTES,
  OPTIONS_MAX,
  readOptionHeader,
  tooBig,
  type Offered,
  type Settled,
} from './negotiation.ts'

/** How long a client may take for its handshake, in milliseconds. */
const HANDSHAKE_MS = 10_000

/** How long the last bytes for a client that ends may take, in milliseconds. */
const LINGER_MS = 1000

/** Bytes that are read at once of what is skipped. */
const SKIP_BYTES = 64 * 1024

/** The client has gone, or broke the protocol. */
export class Gone extends Error {}

export class ClientSocket {
  readonly #socket: Socket
  /** Messages that must not come between each other. */
  readonly #turns = new Queue()
  /** Resolved, and replaced, whenever something has happened to the socket, or `tell` is called. */
  #news = Promise.withResolvers<void>()

  constructor(socket: Socket) {
    this.#socket = socket
    for (const event of ['readable', 'drain', 'end', 'close']) socket.on(event, () => this.tell())
    socket.on('error', () => socket.destroy())
  }

  /** Settles with the client what it wants, has it served, and lets it go once everything is sent. */
  async run<E extends Offered>(exports: readonly E[], serve: (settled: Settled<E>) => Promise<void>): Promise<void> {
    const socket = this.#socket
    const deadline = setTimeout(() => socket.destroy(), HANDSHAKE_MS)
    try {
      const settled = await this.#handshake(exports)
      clearTimeout(deadline)
      if (settled !== null) await serve(settled)
      // an answer to the last option is sent still
      socket.destroySoon()
      setTimeout(() => socket.destroy(), LINGER_MS).unref()
    } catch (thrown) {
      socket.destroy()
      if (!(thrown instanceof Gone)) throw thrown
    } finally {
      clearTimeout(deadline)
    }
  }

  /** Wakes whoever waits for `news`. */
  tell(): void {
    const { resolve } = this.#news
    this.#news = Promise.withResolvers<void>()
    resolve()
  }

  news(): Promise<void> {
    return this.#news.promise
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Does what sends one message in several parts, with nothing of another in between. */
  inTurn(send: () => Promise<void>): Promise<void> {
    return this.#turns.run(send)
  }

  /** Sends a message. */
  send(pieces: readonly Uint8Array[], onSent?: () => void): Promise<void> {
    return this.#turns.run(() => this.write(pieces, onSent))
  }

  /** Sends a part of a message; `onSent` is called when the socket does not need the bytes any more. */
  async write(pieces: readonly Uint8Array[], onSent: () => void = () => {}): Promise<void> {
    const socket = this.#socket
    if (socket.destroyed) {
      onSent()
      throw new Gone()
    }
    socket.cork()
    let room = true
    // the last one is sent, or given up, last
    for (const [at, piece] of pieces.entries())
      room = at < pieces.length - 1 ? socket.write(piece) : socket.write(piece, () => onSent())
    socket.uncork()
    while (!room && !socket.destroyed && socket.writableNeedDrain) await this.news()
  }

  /** So many bytes from the client. */
  async take(length: number): Promise<Buffer> {
    for (;;) {
      const bytes = this.#socket.read(length) as Buffer | null
      if (bytes?.length === length) return bytes
      if (bytes !== null || this.#socket.readableEnded || this.#socket.destroyed) throw new Gone()
      await this.news()
    }
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0;) left -= (await this.take(Math.min(left, SKIP_BYTES))).length
  }

  async #handshake<E extends Offered>(exports: readonly E[]): Promise<Settled<E> | null> {
    await this.send([greeting()])
    const clientFlags = (await this.take(4)).readUInt32BE(0)
    if (!Negotiation.speaks(clientFlags)) return null
    const negotiation = new Negotiation(exports, clientFlags)
    for (let options = 0; options < OPTIONS_MAX; options++) {
      const header = readOptionHeader(await this.take(OPTION_HEADER_BYTES))
      if (header === null) return null
      const { option, length } = header
      if (length > OPTION_BYTES_MAX) {
        await this.skip(length)
        await this.send([tooBig(option)])
        continue
      }
      const { replies, next } = negotiation.answer(option, length === 0 ? Buffer.alloc(0) : await this.take(length))
      await this.send(replies)
      if (next === 'end') return null
      if (next !== 'option') return next
    }
    return null
  }
}
