// A connection of the second client: hello, calls, streams with credit, and the calls that the gateway makes.
import { WebSocket } from 'ws'
import { pack, unpack, type Integers } from './msgpack.ts'

const [HELLO, WELCOME, REQUEST, RESULT, ERROR, DATA, CREDIT, END, , PING, PONG] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]

/** What a message takes of the credit at least, in bytes. */
const COST_MIN = 256

/** The window that this client grants for every stream, in bytes. */
const WINDOW = 8 * 1024 * 1024

/** A call's or the connection's error, by its code. */
export class PeerError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

type Message = readonly unknown[]

/** One call that this side made. */
export class Call {
  readonly result: Promise<Record<string, unknown>>
  readonly #connection: Connection
  readonly #id: number
  readonly #received: { message: Message; cost: number }[] = []
  readonly #settle: { resolve: (value: Record<string, unknown>) => void; reject: (error: Error) => void }
  #credit = 0
  #ended = false
  #failure: PeerError | null = null
  #wake: () => void = () => {}

  constructor(connection: Connection, id: number) {
    this.#connection = connection
    this.#id = id
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>()
    this.result = promise
    promise.catch(() => {})
    this.#settle = { resolve, reject }
    // for a call without messages down this grants what is never used
    connection.send([CREDIT, id, WINDOW])
  }

  async send(message: Message): Promise<void> {
    const bytes = this.#connection.encode([DATA, this.#id, message])
    const cost = Math.max(bytes.length, COST_MIN)
    while (this.#credit < cost) await this.#next()
    this.#credit -= cost
    this.#connection.sendBytes(bytes)
  }

  end(): void {
    this.#connection.send([END, this.#id])
  }

  /** The next message down; null once there is none any more. */
  async take(): Promise<Message | null> {
    while (this.#received.length === 0) {
      if (this.#ended) return null
      await this.#next()
    }
    const { message, cost } = this.#received.shift()!
    this.#connection.send([CREDIT, this.#id, cost])
    return message
  }

  onFrame([type, , value, ...rest]: readonly unknown[], bytes: number): void {
    if (type === CREDIT) this.#credit += value as number
    if (type === DATA) this.#received.push({ message: value as Message, cost: Math.max(bytes, COST_MIN) })
    if (type === END) this.#ended = true
    if (type === RESULT) {
      this.#ended = true
      this.#settle.resolve(value as Record<string, unknown>)
    }
    if (type === ERROR) this.fail(new PeerError(String(value), String(rest[0])))
    this.#wake()
  }

  fail(error: PeerError): void {
    this.#failure = error
    this.#settle.reject(error)
    this.#wake()
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure
  }

  async #next(): Promise<void> {
    this.#check()
    await new Promise<void>((resolve) => (this.#wake = resolve))
    this.#check()
  }
}

/** Serves a method that the gateway calls. */
export type Serve = (method: string, params: Record<string, unknown>) => Record<string, unknown>

export interface Wishes {
  readonly url: string
  readonly token: string | null
  readonly serving?: boolean
  readonly serve?: Serve
  readonly integers?: Integers
}

export class Connection {
  readonly #socket: WebSocket
  readonly #calls = new Map<number, Call>()
  readonly #integers: Integers
  readonly #serve: Serve
  /** What the gateway said first. */
  readonly welcome: Promise<Record<string, unknown>>
  /** Why the gateway ended the connection. */
  readonly ended: Promise<PeerError>
  #nextId = 1
  #end!: (error: PeerError) => void
  #refuse: (error: PeerError) => void

  constructor({ url, token, serving = false, serve, integers = 'int64' }: Wishes) {
    this.#integers = integers
    this.#serve =
      serve ??
      (() => {
        throw new PeerError('METHOD_UNKNOWN', 'nothing is served here')
      })
    this.ended = new Promise((resolve) => (this.#end = resolve))
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>()
    this.welcome = promise
    promise.catch(() => {})
    this.#socket = new WebSocket(`${url}/rpc`, 'varve.v1', { perMessageDeflate: false })
    this.#socket.on('open', () =>
      this.send([HELLO, { versionMin: 1, versionMax: 1, features: [], program: 'second', serving, token }]),
    )
    this.#socket.on('message', (data: Buffer) => {
      const frame = unpack(data) as readonly unknown[]
      if (frame[0] === WELCOME) resolve(frame[1] as Record<string, unknown>)
      else this.#onFrame(frame, data.length)
    })
    this.#socket.on('error', reject)
    this.#refuse = reject
    this.#socket.on('close', (code) => this.#fail(new PeerError('CONNECTION_LOST', `closed with ${code}`)))
  }

  encode(frame: readonly unknown[]): Uint8Array {
    return pack(frame, this.#integers)
  }

  send(frame: readonly unknown[]): void {
    this.sendBytes(this.encode(frame))
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(bytes)
  }

  open(method: string, params: Record<string, unknown>): Call {
    const id = this.#nextId
    this.#nextId += 2
    this.send([REQUEST, id, method, params, 0])
    const call = new Call(this, id)
    this.#calls.set(id, call)
    return call
  }

  async call(method: string, params: Record<string, unknown>): Promise<Record<string, unknown>> {
    return await this.open(method, params).result
  }

  /** Cuts the connection, as a network does. */
  cut(): void {
    this.#socket.terminate()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close(1000)
    await this.ended
  }

  #fail(error: PeerError): void {
    this.#end(error)
    this.#refuse(error)
    for (const call of this.#calls.values()) call.fail(error)
  }

  #onFrame(frame: readonly unknown[], bytes: number): void {
    const [type, id, text, last] = frame as [number, number, string, unknown]
    if (type === PING) this.send([PONG, id])
    else if (type === ERROR && id === 0) this.#fail(new PeerError(text, last as string))
    else if (type === REQUEST) this.#answer(id, text, last as Record<string, unknown>)
    else this.#calls.get(id)?.onFrame(frame, bytes)
  }

  #answer(id: number, method: string, params: Record<string, unknown>): void {
    try {
      this.send([RESULT, id, this.#serve(method, params)])
    } catch (thrown) {
      const { code, message } = thrown as PeerError
      this.send([ERROR, id, code, message, {}])
    }
  }
}
