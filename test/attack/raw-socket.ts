// A WebSocket by hand over a plain TCP connection: what no well-behaved library would send, or leave unread.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { decodeFrame, encodeFrame, FRAME, type Frame } from '../../protocol/frames.ts'
import { RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'

export const OPCODE = { continuation: 0, binary: 2, ping: 9 } as const

/** The header of one frame of this side with a mask of zeroes, which changes no byte. */
export const headerOf = (opcode: number, length: number, final: boolean): Buffer => {
  const first = (final ? 0x80 : 0) | opcode
  if (length < 126) return Buffer.from([first, 0x80 | length, 0, 0, 0, 0])
  if (length < 65_536) return Buffer.from([first, 0x80 | 126, length >> 8, length & 0xff, 0, 0, 0, 0])
  const header = Buffer.alloc(14)
  header.set([first, 0x80 | 127])
  header.writeBigUInt64BE(BigInt(length), 2)
  return header
}

interface OpenOptions {
  /** A bearer token in the upgrade. */
  readonly token?: string
  /** False for one that never reads after the upgrade. */
  readonly reads?: boolean
}

export class RawSocket {
  readonly closed: Promise<void>
  readonly #socket: Socket

  private constructor(socket: Socket) {
    this.#socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
  }

  /** Connects and upgrades; rejects where it is refused. */
  static async open(url: string, { token, reads = true }: OpenOptions = {}): Promise<RawSocket> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    const lines = [
      `GET ${RPC_PATH} HTTP/1.1`,
      `Host: ${hostname}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
      ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    const raw = new RawSocket(socket)
    const [answer] = (await Promise.race([once(socket, 'data'), raw.closed.then(() => [''])])) as [Buffer | string]
    if (!answer.toString().startsWith('HTTP/1.1 101')) {
      socket.destroy()
      throw new Error(`the upgrade was refused: ${answer.toString().split('\r\n', 1)[0]}`)
    }
    if (reads) socket.resume()
    else socket.pause()
    return raw
  }

  /** So many empty pings of the WebSocket. */
  static pings(count: number): Buffer {
    return Buffer.concat(Array.from({ length: count }, () => headerOf(OPCODE.ping, 0, true)))
  }

  /** Whether nothing can be sent any more. */
  get over(): boolean {
    return this.#socket.destroyed
  }

  get bytesRead(): number {
    return this.#socket.bytesRead
  }

  get bytesWritten(): number {
    return this.#socket.bytesWritten
  }

  /** Announces a binary message of so many bytes. */
  header(length: number, final = true): void {
    this.#socket.write(headerOf(OPCODE.binary, length, final))
  }

  /** One fragment of a message that goes on. */
  fragment(bytes: Uint8Array): Promise<void> {
    return this.write(Buffer.concat([headerOf(OPCODE.continuation, bytes.length, false), bytes]))
  }

  /** Resolves once the system has taken the bytes, or the connection is over. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.over) return
    await Promise.race([new Promise<void>((resolve) => this.#socket.write(bytes, () => resolve())), this.closed])
  }

  frame(...frame: Frame): Promise<void> {
    const bytes = encodeFrame(frame)
    return this.write(Buffer.concat([headerOf(OPCODE.binary, bytes.length, true), bytes]))
  }

  /** Says hello and waits for the welcome. */
  async hello(): Promise<void> {
    const answer = once(this.#socket, 'data') as Promise<[Buffer]>
    const hello = { versionMin: 1, versionMax: 1, features: [], program: 'attack', serving: false, token: null }
    await this.frame(FRAME.hello, hello)
    const first = await Promise.race([answer, this.closed.then(() => null)])
    if (first === null) throw new Error('the connection ended before its welcome')
    const [bytes] = first
    const length = bytes[1]!
    const welcome = decodeFrame(bytes.subarray(length === 126 ? 4 : 2, length === 126 ? undefined : 2 + length))
    if (welcome[0] !== FRAME.welcome) throw new Error(`not a welcome: ${JSON.stringify(welcome)}`)
  }

  request(id: number, method: string, params: unknown): Promise<void> {
    return this.frame(FRAME.request, id, method, params, 0)
  }

  credit(id: number, bytes: number): Promise<void> {
    return this.frame(FRAME.credit, id, bytes)
  }

  /** Reads nothing from now on. */
  pause(): void {
    this.#socket.pause()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}
