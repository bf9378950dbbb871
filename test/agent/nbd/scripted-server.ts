// An NBD server for tests that says exactly what a script tells it to, honest or not.
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { tempFolder } from '../../support/temp.ts'

export const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

const OPTION_REPLY_MAGIC = Buffer.from('0003e889045565a9', 'hex')
export const GREETING = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)])
/** Has flags, flush, write zeroes, multi-conn. */
const TRANSMISSION_FLAGS = 1 | (1 << 2) | (1 << 6) | (1 << 8)

export const optionReply = (option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([OPTION_REPLY_MAGIC, u32(option), u32(type), u32(data.length), data])

export const exportInfo = (size: number | bigint, flags = TRANSMISSION_FLAGS): Buffer =>
  Buffer.concat([u16(0), u64(size), u16(flags)])

export const blockSizeInfo = (minimum: number, preferred: number, maximum: number): Buffer =>
  Buffer.concat([u16(3), u32(minimum), u32(preferred), u32(maximum)])

export const metaContext = (id: number, name: string): Buffer =>
  optionReply(10, 4, Buffer.concat([u32(id), Buffer.from(name)]))

export const simpleReply = (cookie: bigint, errno = 0): Buffer =>
  Buffer.concat([u32(0x67446698), u32(errno), u64(cookie)])

interface ChunkFields {
  readonly flags?: number
  readonly length?: number
}

/** A structured reply chunk; done unless flags say otherwise, with a true length unless one is given. */
export const chunk = (cookie: bigint, type: number, payload: Buffer, { flags = 1, length }: ChunkFields = {}): Buffer =>
  Buffer.concat([u32(0x668e33ef), u16(flags), u16(type), u64(cookie), u32(length ?? payload.length), payload])

export const dataPayload = (offset: number, data: Buffer): Buffer => Buffer.concat([u64(offset), data])
export const holePayload = (offset: number, length: number): Buffer => Buffer.concat([u64(offset), u32(length)])
export const errorPayload = (errno: number, text = ''): Buffer =>
  Buffer.concat([u32(errno), u16(Buffer.byteLength(text)), Buffer.from(text)])
export const statusPayload = (contextId: number, ...extents: readonly (readonly [number, number])[]): Buffer =>
  Buffer.concat([u32(contextId), ...extents.flatMap(([length, flags]) => [u32(length), u32(flags)])])

export interface HeardRequest {
  readonly command: number
  readonly flags: number
  readonly cookie: bigint
  readonly offset: number
  readonly length: number
}

export const decodeRequest = (bytes: Buffer): HeardRequest => {
  if (bytes.readUInt32BE(0) !== 0x25609513) throw new Error('the client sent a wrong request magic')
  return {
    flags: bytes.readUInt16BE(4),
    command: bytes.readUInt16BE(6),
    cookie: bytes.readBigUInt64BE(8),
    offset: Number(bytes.readBigUInt64BE(16)),
    length: bytes.readUInt32BE(24),
  }
}

/** The client's end as the script sees it. */
export class Peer {
  readonly socket: Socket
  #received = Buffer.alloc(0)
  #more = Promise.withResolvers<void>()

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('close', () => this.#more.resolve())
    socket.on('data', (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes as Buffer])
      this.#more.resolve()
    })
  }

  /** What came and was not yet taken, in bytes. */
  get waitingBytes(): number {
    return this.#received.length
  }

  send(...parts: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(parts))
  }

  async take(length: number): Promise<Buffer> {
    while (this.#received.length < length) {
      if (this.socket.destroyed) throw new Error('the client is gone')
      this.#more = Promise.withResolvers<void>()
      await this.#more.promise
    }
    const bytes = this.#received.subarray(0, length)
    this.#received = this.#received.subarray(length)
    return bytes
  }

  async takeRequest(): Promise<HeardRequest> {
    return decodeRequest(await this.take(28))
  }

  /** Takes one option and gives its number and data. */
  async takeOption(): Promise<{ readonly option: number; readonly data: Buffer }> {
    const header = await this.take(16)
    return { option: header.readUInt32BE(8), data: await this.take(header.readUInt32BE(12)) }
  }

  /** Plays an honest handshake up to transmission, for an export with these contexts, their ids counted from 1. */
  async shakeHands(size = 1 << 20, contexts: readonly string[] = [], flags?: number): Promise<void> {
    this.send(GREETING)
    await this.take(4)
    await this.takeOption()
    this.send(optionReply(8, 1))
    if (contexts.length > 0) {
      await this.takeOption()
      this.send(...contexts.map((name, index) => metaContext(index + 1, name)), optionReply(10, 1))
    }
    await this.takeOption()
    this.send(optionReply(7, 3, exportInfo(size, flags)), optionReply(7, 1))
  }
}

export interface ScriptedServer extends AsyncDisposable {
  readonly socketPath: string
}

/** Plays the script to every client; a script that fails because its client is gone has ended well. */
export const startScriptedServer = async (script: (peer: Peer) => Promise<void>): Promise<ScriptedServer> => {
  const folder = await tempFolder('varve-nbd')
  const socketPath = folder.join('s.sock')
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    script(new Peer(socket)).catch(() => socket.destroy())
  })
  server.listen(socketPath)
  await once(server, 'listening')
  return {
    socketPath,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
      await folder[Symbol.asyncDispose]()
    },
  }
}
