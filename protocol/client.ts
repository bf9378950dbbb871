// Opens a session from the calling side over any W3C-style WebSocket: the agent's, the command line's or a browser's.
import { VarveError } from './errors.ts'
import { decodeFrame, encodeFrame, errorOfFrame, FRAME, type Welcome } from './frames.ts'
import { HELLO_TIMEOUT_MS, VERSION_MAX, VERSION_MIN } from './limits.ts'
import { freeBytes } from './memory.ts'
import { Peer, type Clock, type Handlers, type Transport } from './peer.ts'

/** The part of a WebSocket that is used; browsers and `ws` both have it. */
export interface SocketLike {
  binaryType: string
  readonly bufferedAmount: number
  readonly readyState: number
  /** A browser never calls `sent`, and leaves the bytes to its garbage collector. */
  send(data: Uint8Array<ArrayBuffer>, sent?: () => void): void
  close(code?: number, reason?: string): void
  addEventListener(type: 'open', listener: () => void): void
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void
  addEventListener(type: 'close', listener: (event: { code: number; reason: string }) => void): void
  addEventListener(type: 'error', listener: (event: unknown) => void): void
}

/** Close code of a connection that ended with an error frame; the reason is the error's code. */
export const CLOSE_ERROR = 4000

/** Close code of a connection that ended because its work was done. */
export const CLOSE_NORMAL = 1000

/** Close code of a connection that broke without a close frame. */
const CLOSE_ABNORMAL = 1006

const endText = (code: number): string =>
  code === CLOSE_ABNORMAL ? 'the connection to the gateway broke' : `the gateway ended the connection (code ${code})`

const OPEN = 1

export interface Session {
  readonly peer: Peer
  readonly welcome: Welcome
}

export interface SessionOptions {
  readonly socket: SocketLike
  readonly program: string
  /** True for an agent that serves its machines on this connection. */
  readonly serving: boolean
  /** A bearer token where the HTTP upgrade could not carry one. */
  readonly token: string | null
  /** The one-time code of a link, in place of a token. */
  readonly code?: string
  readonly handlers: Handlers
  readonly clock: Clock
}

export const socketTransport = (socket: SocketLike): Transport => ({
  send: (bytes) => {
    // views of msgpackr's buffer are plain ArrayBuffers, which is all a WebSocket takes
    if (socket.readyState === OPEN) socket.send(bytes as Uint8Array<ArrayBuffer>, () => freeBytes(bytes))
  },
  close: (error) => socket.close(error.code === 'CANCELLED' ? CLOSE_NORMAL : CLOSE_ERROR, error.code),
  get bufferedBytes() {
    return socket.bufferedAmount
  },
})

/** Bytes of a WebSocket message; FRAME_INVALID for a text message. */
export const messageBytes = (data: unknown): Uint8Array => {
  if (data instanceof Uint8Array) return data
  if (data instanceof ArrayBuffer) return new Uint8Array(data)
  throw new VarveError('FRAME_INVALID', 'a text message was received: frames are binary')
}

/** Sends hello and resolves with the gateway's welcome; rejects with the gateway's error, HELLO_TIMEOUT or CONNECTION_LOST. */
export const openSession = (options: SessionOptions): Promise<Session> => {
  const { socket, clock } = options
  socket.binaryType = 'arraybuffer'
  return new Promise((resolve, reject) => {
    let peer: Peer | null = null
    const fail = (error: VarveError): void => {
      stopTimer()
      peer?.transportClosed(error)
      reject(error)
      socket.close(CLOSE_ERROR, error.code)
    }
    const stopTimer = clock.after(HELLO_TIMEOUT_MS, () =>
      fail(new VarveError('HELLO_TIMEOUT', 'the gateway did not answer in time')),
    )
    const sayHello = (): void => {
      const { program, serving, token, code } = options
      const begun = code === undefined ? {} : { code }
      const hello = {
        versionMin: VERSION_MIN,
        versionMax: VERSION_MAX,
        features: [],
        program,
        serving,
        token,
        ...begun,
      }
      socket.send(encodeFrame([FRAME.hello, hello]) as Uint8Array<ArrayBuffer>)
    }
    const onFirst = (bytes: Uint8Array): void => {
      const frame = decodeFrame(bytes)
      if (frame[0] === FRAME.error) throw errorOfFrame(frame[2], frame[3], frame[4])
      if (frame[0] !== FRAME.welcome)
        throw new VarveError('FRAME_UNEXPECTED', "the gateway's first frame is not welcome")
      const { version } = frame[1]
      if (version < VERSION_MIN || version > VERSION_MAX)
        throw new VarveError('VERSION_UNSUPPORTED', `the gateway chose version ${version}, which was not offered`)
      stopTimer()
      peer = new Peer({ opener: true, transport: socketTransport(socket), handlers: options.handlers, clock })
      resolve({ peer, welcome: frame[1] })
    }
    if (socket.readyState === OPEN) sayHello()
    else socket.addEventListener('open', sayHello)
    socket.addEventListener('message', (event) => {
      try {
        const bytes = messageBytes(event.data)
        if (peer === null) onFirst(bytes)
        else peer.receive(bytes)
      } catch (thrown) {
        fail(thrown instanceof VarveError ? thrown : new VarveError('INTERNAL', String(thrown), { cause: thrown }))
      }
    })
    socket.addEventListener('error', () => fail(new VarveError('CONNECTION_LOST', 'the gateway cannot be reached')))
    socket.addEventListener('close', ({ code }) => fail(new VarveError('CONNECTION_LOST', endText(code))))
  })
}
