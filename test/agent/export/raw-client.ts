// An NBD client that says exactly the bytes it is told to.
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'

const uint = (value: number | bigint, bytes: 2 | 4 | 8): Buffer => {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64BE(BigInt(value))
  return buffer.subarray(8 - bytes)
}

const text = (value: string): Buffer => Buffer.concat([uint(Buffer.byteLength(value), 4), Buffer.from(value)])

/** Data of GO and INFO. */
export const named = (name: string, infos: readonly number[] = []): Buffer =>
  Buffer.concat([text(name), uint(infos.length, 2), ...infos.map((info) => uint(info, 2))])

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export const contexts = (name: string, queries: readonly string[]): Buffer =>
  Buffer.concat([text(name), uint(queries.length, 4), ...queries.map(text)])

export interface OptionReply {
  readonly type: number
  readonly data: Buffer
}

export interface Chunk {
  readonly flags: number
  readonly type: number
  readonly payload: Buffer
}

export class RawClient implements Disposable {
  readonly socket: Socket
  over = false
  #news = Promise.withResolvers<void>()

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('close', () => (this.over = true))
    for (const event of ['readable', 'end', 'close'])
      socket.on(event, () => {
        this.#news.resolve()
        this.#news = Promise.withResolvers<void>()
      })
  }

  static async open(path: string, flags = 3): Promise<RawClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    const client = new RawClient(socket)
    await client.take(18)
    socket.write(uint(flags, 4))
    return client
  }

  /** So many bytes; throws where the connection ends before. */
  async take(length: number): Promise<Buffer> {
    for (;;) {
      const bytes = this.socket.read(length) as Buffer | null
      if (bytes?.length === length) return bytes
      if (bytes !== null || this.socket.readableEnded || this.over) throw new Error('the connection ended')
      await this.#news.promise
    }
  }

  async ended(): Promise<void> {
    this.socket.resume()
    if (!this.over) await once(this.socket, 'close')
  }

  /** Sends an option and takes its replies, up to the one that ends them. */
  async option(option: number, data: Buffer = Buffer.alloc(0)): Promise<OptionReply[]> {
    this.socket.write(Buffer.concat([Buffer.from('IHAVEOPT'), uint(option, 4), uint(data.length, 4), data]))
    const replies: OptionReply[] = []
    for (;;) {
      const header = await this.take(20)
      const type = header.readUInt32BE(12)
      const length = header.readUInt32BE(16)
      replies.push({ type, data: length === 0 ? Buffer.alloc(0) : await this.take(length) })
      if (type === 1 || type >= 2 ** 31) return replies
    }
  }

  request(command: number, offset: number, length: number, flags = 0): void {
    this.socket.write(
      Buffer.concat([
        uint(0x25609513, 4),
        uint(flags, 2),
        uint(command, 2),
        uint(77, 8),
        uint(offset, 8),
        uint(length, 4),
      ]),
    )
  }

  extendedRequest(command: number, offset: number, length: number, flags = 0): void {
    this.socket.write(
      Buffer.concat([
        uint(0x21e41c71, 4),
        uint(flags, 2),
        uint(command, 2),
        uint(77, 8),
        uint(offset, 8),
        uint(length, 8),
      ]),
    )
  }

  /** The errno of a simple reply. */
  async simple(): Promise<number> {
    const header = await this.take(16)
    if (header.readUInt32BE(0) !== 0x67446698 || header.readUInt32BE(12) !== 77) throw new Error('no simple reply')
    return header.readUInt32BE(4)
  }

  /** Chunks of one reply. */
  async chunks(extended = false): Promise<Chunk[]> {
    const chunks: Chunk[] = []
    for (;;) {
      const header = await this.take(extended ? 32 : 20)
      const length = extended ? Number(header.readBigUInt64BE(24)) : header.readUInt32BE(16)
      if (header.readUInt32BE(0) !== (extended ? 0x6e8a278c : 0x668e33ef)) throw new Error('no chunk')
      const payload = length === 0 ? Buffer.alloc(0) : await this.take(length)
      chunks.push({ flags: header.readUInt16BE(4), type: header.readUInt16BE(6), payload })
      if ((header.readUInt16BE(4) & 1) !== 0) return chunks
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
