// One connection to a libvirt daemon's socket: calls and their answers, messages it sends by itself, and signs of life.
import { createConnection, type Socket } from 'node:net'
import { VarveError, asVarveError } from '../../protocol/errors.ts'
import { libvirtUnavailable, readRemoteError } from './errors.ts'
import {
  KEEPALIVE_PING,
  KEEPALIVE_PONG,
  KEEPALIVE_PROGRAM,
  MESSAGE_STATUS,
  MESSAGE_TYPES,
  MessageSplitter,
  PROGRAM_VERSION,
  REMOTE_PROGRAM,
  encodeMessage,
  type Message,
} from './message.ts'
import { XdrReader, type XdrWriter } from './xdr.ts'

/** How long one call may take by default, in milliseconds: libvirt itself waits 30 s for a machine that another call holds. */
export const LIBVIRT_CALL_LIMIT_MS = 60_000

/**
 * Calls that the daemon works on at once: it stops reading from a client with five (`max_client_requests`), and a ping behind
 * them would look like a dead daemon.
 */
export const LIBVIRT_CALLS_AT_ONCE = 4

/** Most calls that wait for an answer or their turn, timed-out ones that the daemon still works on included. */
export const LIBVIRT_PENDING_MAX = 64

/** How often the daemon is asked for a sign of life, in milliseconds, and after how many without one it counts as dead. */
export const LIBVIRT_PING_EVERY_MS = 5_000
export const LIBVIRT_PINGS_MISSED_MAX = 6

export interface RpcCall<T> {
  /** What it is in libvirt's words, for errors. */
  readonly name: string
  readonly program?: number
  readonly procedure: number
  readonly args: XdrWriter
  /** Reads the answer; what is left unread is an error, as what cannot be read is, and ends the connection. */
  readonly read: (answer: XdrReader) => T
  readonly timeoutMs?: number
}

/** A message that the daemon sent by itself. */
export interface RpcNotice {
  readonly program: number
  readonly procedure: number
  readonly payload: Buffer
}

interface Pending {
  readonly name: string
  readonly program: number
  readonly procedure: number
  readonly args: XdrWriter
  /** Reads the answer and hands it to whom called; throws when it does not read. */
  readonly accept: (answer: XdrReader) => void
  readonly reject: (error: VarveError) => void
  readonly timer: NodeJS.Timeout
}

const answers = ({ program, procedure }: Pending, { header }: Message): boolean =>
  header.program === program && header.version === PROGRAM_VERSION && header.procedure === procedure

/** Calls over one socket. */
export class RpcConnection {
  readonly path: string
  readonly closed: Promise<VarveError>
  readonly #socket: Socket
  readonly #splitter = new MessageSplitter()
  readonly #closing = Promise.withResolvers<VarveError>()
  /** What the daemon works on, by serial; one that timed out stays until its answer. */
  readonly #working = new Map<number, Pending>()
  readonly #waiting = new Set<Pending>()
  readonly #onNotice: (notice: RpcNotice) => void
  #failure: VarveError | null = null
  #lastSerial = 0
  #pinger: NodeJS.Timeout | null = null
  #heard = true
  #missed = 0

  private constructor(path: string, socket: Socket, onNotice: (notice: RpcNotice) => void) {
    this.path = path
    this.#socket = socket
    this.#onNotice = onNotice
    this.closed = this.#closing.promise
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (cause) => this.end(libvirtUnavailable(path, cause)))
    socket.on('close', () => {
      this.end(new VarveError('LIBVIRT_UNAVAILABLE', `libvirt’s daemon closed the connection at ${path}`))
    })
  }

  /** Connects; `onNotice` gets what the daemon sends by itself, and its errors end the connection. LIBVIRT_UNAVAILABLE. */
  static async connect(path: string, onNotice: (notice: RpcNotice) => void): Promise<RpcConnection> {
    const socket = createConnection({ path })
    const rpc = new RpcConnection(path, socket, onNotice)
    const connected = new Promise<null>((resolve) => void socket.once('connect', () => resolve(null)))
    const failure = await Promise.race([connected, rpc.closed])
    if (failure !== null) throw failure
    return rpc
  }

  /**
   * Calls a procedure. LIBVIRT_ERROR when the daemon refuses; LIBVIRT_TIMEOUT leaves the call running in the daemon and drops
   * its late answer.
   */
  async call<T>(call: RpcCall<T>): Promise<T> {
    if (this.#failure !== null) throw this.#failure
    if (this.#working.size + this.#waiting.size >= LIBVIRT_PENDING_MAX) {
      throw new VarveError('TOO_MANY_REQUESTS', `${LIBVIRT_PENDING_MAX} calls of libvirt wait for an answer already`)
    }
    const { name, program = REMOTE_PROGRAM, procedure, args, read, timeoutMs = LIBVIRT_CALL_LIMIT_MS } = call
    return await new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(pending)
        const sentence = `libvirt did not answer ${name} within ${timeoutMs} ms: its daemon or the machine’s QEMU hangs`
        reject(new VarveError('LIBVIRT_TIMEOUT', sentence, { details: { call: name, timeoutMs } }))
      }, timeoutMs)
      const accept = (answer: XdrReader): void => {
        const value = read(answer)
        answer.end()
        resolve(value)
      }
      const pending: Pending = { name, program, procedure, args, accept, reject, timer }
      this.#waiting.add(pending)
      this.#sendNext()
    })
  }

  /** From now on a daemon that gives no sign of life ends the connection. */
  watch({ everyMs = LIBVIRT_PING_EVERY_MS, missedMax = LIBVIRT_PINGS_MISSED_MAX } = {}): void {
    this.#pinger ??= setInterval(() => {
      this.#missed = this.#heard ? 0 : this.#missed + 1
      this.#heard = false
      if (this.#missed < missedMax) return this.#sendKeepalive(KEEPALIVE_PING)
      const sentence = `libvirt’s daemon at ${this.path} gave no sign of life for ${everyMs * missedMax} ms`
      return this.end(new VarveError('LIBVIRT_UNAVAILABLE', sentence))
    }, everyMs).unref()
  }

  close(): void {
    this.end(new VarveError('LIBVIRT_UNAVAILABLE', `the connection to libvirt at ${this.path} was closed`))
  }

  #sendNext(): void {
    for (const pending of this.#waiting) {
      if (this.#working.size >= LIBVIRT_CALLS_AT_ONCE) return
      this.#waiting.delete(pending)
      this.#lastSerial += 1
      const { program, procedure, args } = pending
      const { call: type } = MESSAGE_TYPES
      const { ok: status } = MESSAGE_STATUS
      const header = { program, version: PROGRAM_VERSION, procedure, type, serial: this.#lastSerial, status }
      this.#working.set(this.#lastSerial, pending)
      this.#socket.write(encodeMessage({ header, payload: args.bytes() }))
    }
  }

  #sendKeepalive(procedure: number): void {
    const { message: type } = MESSAGE_TYPES
    const { ok: status } = MESSAGE_STATUS
    const header = { program: KEEPALIVE_PROGRAM, version: PROGRAM_VERSION, procedure, type, serial: 0, status }
    this.#socket.write(encodeMessage({ header, payload: Buffer.alloc(0) }))
  }

  #receive(chunk: Buffer): void {
    this.#heard = true
    try {
      for (const message of this.#splitter.push(chunk)) {
        if (this.#failure !== null) return
        this.#dispatch(message)
      }
    } catch (error) {
      this.end(asVarveError(error, 'LIBVIRT_PROTOCOL'))
    }
  }

  #dispatch(message: Message): void {
    const { program, version, procedure, type, status } = message.header
    if (type === MESSAGE_TYPES.reply) return this.#settle(message)
    if (type !== MESSAGE_TYPES.message || status !== MESSAGE_STATUS.ok || version !== PROGRAM_VERSION) {
      throw this.#broken(`sent a message of type ${type} that nobody asked for`)
    }
    if (program !== KEEPALIVE_PROGRAM) return this.#onNotice({ program, procedure, payload: message.payload })
    if (procedure === KEEPALIVE_PING) return this.#sendKeepalive(KEEPALIVE_PONG)
    if (procedure !== KEEPALIVE_PONG) throw this.#broken(`sent a sign of life of unknown kind ${procedure}`)
  }

  #settle(message: Message): void {
    const { serial, status } = message.header
    const pending = this.#working.get(serial)
    if (pending === undefined) throw this.#broken('answered a call that was not made')
    const { name, accept, reject, timer } = pending
    if (!answers(pending, message)) throw this.#broken(`answered ${name} with another procedure’s answer`)
    // until it has been read it is one that fails with the connection
    if (status === MESSAGE_STATUS.ok) accept(new XdrReader(message.payload))
    else if (status === MESSAGE_STATUS.error) reject(readRemoteError(name, message.payload))
    else throw this.#broken(`answered ${name} with the unknown status ${status}`)
    this.#working.delete(serial)
    clearTimeout(timer)
    this.#sendNext()
  }

  #broken(why: string): VarveError {
    return new VarveError('LIBVIRT_PROTOCOL', `libvirt’s daemon at ${this.path} ${why}`)
  }

  /** Ends the connection, and with this error every call that waits; the first end counts. */
  end(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    if (this.#pinger !== null) clearInterval(this.#pinger)
    this.#socket.destroy()
    for (const pending of [...this.#working.values(), ...this.#waiting]) {
      clearTimeout(pending.timer)
      pending.reject(error)
    }
    this.#working.clear()
    this.#waiting.clear()
    this.#closing.resolve(error)
  }
}
