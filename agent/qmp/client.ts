// One connection to a QMP server: greeting, commands with time limits, events.
import { createConnection, type Socket } from 'node:net'
import { VarveError, asVarveError } from '../../protocol/errors.ts'
import { LineSplitter, decodeLine, type QmpEvent, type QmpMessage, type QmpVersion } from './message.ts'

/** How long a connection waits for the greeting and the capability answer, in milliseconds. */
export const QMP_CONNECT_LIMIT_MS = 5_000

/** How long one command may take by default, in milliseconds. */
export const QMP_COMMAND_LIMIT_MS = 30_000

/** Most commands that wait for an answer on one connection, timed-out ones included. */
export const QMP_PENDING_MAX = 64

/** Longest command line sent, in bytes. */
export const QMP_COMMAND_BYTES_MAX = 1024 * 1024

export interface QmpConnectOptions {
  readonly path: string
  readonly timeoutMs?: number
}

export interface QmpExecuteOptions {
  readonly timeoutMs?: number
}

/** What users of a QMP connection need. */
export interface QmpCaller {
  readonly version: QmpVersion
  readonly closed: Promise<VarveError>
  execute(command: string, args?: Readonly<Record<string, unknown>>, options?: QmpExecuteOptions): Promise<unknown>
  subscribe(listener: (event: QmpEvent) => void): () => void
}

interface Pending {
  readonly command: string
  readonly resolve: (value: unknown) => void
  readonly reject: (error: VarveError) => void
  readonly timer: NodeJS.Timeout
}

/** Why a socket cannot be connected to and what to do, by the system's error. */
const WHY_UNAVAILABLE: Readonly<Record<string, string>> = {
  ENOENT: 'is not there: the machine is off, or "qmp" in the configuration names another path than QEMU’s "-qmp"',
  ECONNREFUSED: "has no listener: the machine is off, or this socket is another machine's",
  EACCES: 'cannot be opened by this user: run the agent as one that can, such as root or QEMU’s own user',
  EPERM: 'cannot be opened by this user: run the agent as one that can, such as root or QEMU’s own user',
  ENOTSOCK: 'is not a socket: "qmp" in the configuration names something else',
  ENOTDIR: 'cannot exist: part of its path is not a folder',
  ELOOP: 'cannot exist: symbolic links in its path form a loop',
  ENAMETOOLONG: 'has a path that is too long: a UNIX socket’s has 107 bytes at most',
  EINVAL: 'has a path that is too long: a UNIX socket’s has 107 bytes at most',
  EAGAIN: 'has too many clients waiting: QEMU is stopped or hangs, or other programs use the socket too',
  EPROTOTYPE: 'is the wrong kind of socket: "qmp" in the configuration names something else',
}

const unavailable = (path: string, cause: unknown): VarveError => {
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : null
  const why = WHY_UNAVAILABLE[code ?? ''] ?? 'does not accept a connection'
  return new VarveError('QMP_UNAVAILABLE', `QMP socket ${path} ${why}${code === null ? '' : ` (${code})`}`, {
    details: { path, errno: code },
    cause,
  })
}

/** A connected QMP client; answers are as QEMU gave them and must be checked by the caller. */
export class QmpClient implements QmpCaller, AsyncDisposable {
  readonly path: string
  readonly closed: Promise<VarveError>
  readonly #socket: Socket
  readonly #splitter = new LineSplitter()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  readonly #pending = new Map<number, Pending>()
  readonly #greeted = Promise.withResolvers<QmpVersion>()
  readonly #closing = Promise.withResolvers<VarveError>()
  #version: QmpVersion | null = null
  #failure: VarveError | null = null
  #lastId = 0

  private constructor(path: string, socket: Socket) {
    this.path = path
    this.#socket = socket
    this.closed = this.#closing.promise
    this.#greeted.promise.catch(() => undefined)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (cause) => this.#end(unavailable(path, cause)))
    socket.on('close', () => this.#end(new VarveError('QMP_UNAVAILABLE', `QEMU closed the QMP socket ${path}`)))
  }

  /**
   * Connects, waits for the greeting and leaves negotiation mode, all within `timeoutMs`.
   * QMP_UNAVAILABLE when nothing listens or another client holds the socket, QMP_PROTOCOL when it is no QMP server.
   */
  static async connect({ path, timeoutMs = QMP_CONNECT_LIMIT_MS }: QmpConnectOptions): Promise<QmpClient> {
    const client = new QmpClient(path, createConnection({ path }))
    const timer = setTimeout(() => {
      const sentence = `QMP socket ${path} sent no greeting within ${timeoutMs} ms: another client holds it; give Varve its own QMP socket`
      client.#end(new VarveError('QMP_UNAVAILABLE', sentence, { details: { path, timeoutMs, held: true } }))
    }, timeoutMs)
    try {
      client.#version = await client.#greeted.promise
      await client.execute('qmp_capabilities', {}, { timeoutMs })
      return client
    } catch (error) {
      client.close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  get version(): QmpVersion {
    if (this.#version === null) throw new VarveError('QMP_UNAVAILABLE', 'the QMP greeting has not arrived')
    return this.#version
  }

  /**
   * Runs one command. QMP_ERROR carries QEMU's class and description in its details; QMP_TIMEOUT leaves the command
   * running in QEMU, its late answer is dropped.
   */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    { timeoutMs = QMP_COMMAND_LIMIT_MS }: QmpExecuteOptions = {},
  ): Promise<unknown> {
    if (this.#failure !== null) throw this.#failure
    if (this.#pending.size >= QMP_PENDING_MAX) {
      throw new VarveError('TOO_MANY_REQUESTS', `${QMP_PENDING_MAX} QMP commands wait for an answer already`)
    }
    this.#lastId += 1
    const id = this.#lastId
    const line = `${JSON.stringify({ execute: command, arguments: args, id })}\n`
    if (Buffer.byteLength(line) > QMP_COMMAND_BYTES_MAX) {
      throw new VarveError('PARAMS_INVALID', `the QMP command ${command} is longer than ${QMP_COMMAND_BYTES_MAX} bytes`)
    }
    return await new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => {
        const sentence = `QEMU at ${this.path} did not answer ${command} within ${timeoutMs} ms`
        reject(new VarveError('QMP_TIMEOUT', sentence, { details: { command, timeoutMs } }))
      }, timeoutMs)
      this.#pending.set(id, { command, resolve, reject, timer })
      this.#socket.write(line)
    })
  }

  /** Calls `listener` for every event from now on; it must not throw. Returns a function that unsubscribes. */
  subscribe(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  close(): void {
    this.#end(new VarveError('QMP_UNAVAILABLE', `the QMP connection to ${this.path} was closed`))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close()
    return Promise.resolve()
  }

  #receive(chunk: Buffer): void {
    if (this.#failure !== null) return
    try {
      for (const line of this.#splitter.push(chunk)) {
        this.#dispatch(decodeLine(line))
      }
    } catch (error) {
      this.#end(asVarveError(error, 'QMP_PROTOCOL'))
    }
  }

  #dispatch(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#greeted.resolve(message.version)
        return
      case 'event':
        for (const listener of this.#listeners) listener(message.event)
        return
      case 'result':
        this.#take(message.id).resolve(message.value)
        return
      case 'failure': {
        const pending = this.#take(message.id)
        const details = { command: pending.command, class: message.errorClass, desc: message.description }
        pending.reject(
          new VarveError('QMP_ERROR', `QEMU refused ${pending.command}: ${message.description}`, { details }),
        )
        return
      }
    }
  }

  #take(id: number): Pending {
    const pending = this.#pending.get(id)
    if (pending === undefined)
      throw new VarveError('QMP_PROTOCOL', `the QMP socket ${this.path} answered a command that was not sent`)
    this.#pending.delete(id)
    clearTimeout(pending.timer)
    return pending
  }

  #end(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#socket.destroy()
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer)
      pending.reject(error)
    }
    this.#pending.clear()
    this.#greeted.reject(error)
    this.#closing.resolve(error)
  }
}
