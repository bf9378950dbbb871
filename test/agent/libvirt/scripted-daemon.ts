// A daemon that says what a test tells it to, well or badly formed.
import { createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { encodeMessage, MessageSplitter, type Message, type MessageHeader } from '../../../agent/libvirt/message.ts'
import { XdrWriter } from '../../../agent/libvirt/xdr.ts'

/** What a daemon gets and may say. */
export interface ScriptedClient {
  readonly socket: Socket
  /** Answers a call as it should be, but for what is given otherwise. */
  answer(call: Message, payload: Buffer, other?: Partial<MessageHeader>): void
  /** Sends any message. */
  send(message: Message): void
}

export interface ScriptedDaemon extends AsyncDisposable {
  readonly path: string
  /** Everything that clients sent. */
  readonly received: readonly Message[]
}

const NOTHING = Buffer.alloc(0)

/** Answers of a daemon that lets everyone in, by procedure. */
export const HANDSHAKE: ReadonlyMap<number, Buffer> = new Map([
  [66, new XdrWriter().u32(1).i32(0).bytes()], // no proof of who it is
  [60, new XdrWriter().i32(1).bytes()], // knows signs of life
  [1, NOTHING],
  [157, new XdrWriter().u64(9_000_000n).bytes()],
  [316, new XdrWriter().i32(1).bytes()],
])

/** Listens at a path and gives `onMessage` every call and every other message. */
export const startDaemon = async (
  path: string,
  onMessage: (message: Message, client: ScriptedClient) => void,
): Promise<ScriptedDaemon> => {
  const received: Message[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    const splitter = new MessageSplitter()
    const send = (message: Message): void => void socket.write(encodeMessage(message))
    const answer = (call: Message, payload: Buffer, other: Partial<MessageHeader> = {}): void =>
      send({ header: { ...call.header, type: 1, ...other }, payload })
    socket.on('data', (chunk: Buffer) => {
      for (const message of splitter.push(chunk)) {
        received.push({ header: message.header, payload: Buffer.from(message.payload) })
        onMessage(message, { socket, answer, send })
      }
    })
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    path,
    received,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A refusal as it stands in an answer. */
export const refusal = (code: number, words: string | Buffer): Buffer => {
  const message =
    typeof words === 'string'
      ? new XdrWriter().optionalString(words).bytes()
      : Buffer.concat([new XdrWriter().u32(1).u32(words.length).bytes(), words, Buffer.alloc(-words.length & 3)])
  const after = new XdrWriter().i32(2).u32(1).string('db1').fixed(Buffer.alloc(16)).i32(1)
  after.optionalString(words.toString()).optionalString(null).optionalString('x').i32(0).i32(-1).u32(0)
  return Buffer.concat([new XdrWriter().i32(code).i32(10).bytes(), message, after.bytes()])
}
