// A connection to a libvirt daemon: who may come in, and every call that backups need.
import { VarveError } from '../../protocol/errors.ts'
import { LibvirtCalls } from './calls.ts'
import { dialFirst } from './dial.ts'
import { isLibvirtError } from './errors.ts'
import { EVENT_NUMBERS, readEvent } from './events.ts'
import { REMOTE_PROGRAM } from './message.ts'
import type { RpcCall, RpcConnection } from './rpc.ts'
import type { LibvirtCaller, LibvirtEvent } from './types.ts'
import { parseLibvirtUri } from './uri.ts'
import { XdrWriter } from './xdr.ts'

/** How long connecting may take, in milliseconds: a daemon that is started by it first looks at every emulator. */
export const LIBVIRT_CONNECT_LIMIT_MS = 30_000

/** Ways to show who calls, by their numbers, and how many a daemon may ask for. */
const AUTH_NONE = 0
const AUTH_POLKIT = 2
const AUTH_TYPES_MAX = 20

/** The number of the question whether the daemon knows signs of life; asking it makes it send them. */
const FEATURE_KEEPALIVE = 10

const nothing = (): void => undefined

export interface LibvirtOpenOptions {
  /** qemu:///system or qemu:///session, each with ?socket=/path or without. */
  readonly uri: string
  /** How long connecting may take, in milliseconds. */
  readonly timeoutMs?: number
  /** How often a sign of life is asked for, in milliseconds; six that are missed end the connection. */
  readonly pingEveryMs?: number
}

/** An open connection; see LibvirtCaller for what the calls mean and how they fail. */
export class LibvirtConnection extends LibvirtCalls implements LibvirtCaller, AsyncDisposable {
  readonly closed: Promise<VarveError>
  readonly #listeners: Set<(event: LibvirtEvent) => void>
  #version = 0

  private constructor(rpc: RpcConnection, listeners: Set<(event: LibvirtEvent) => void>) {
    super(rpc)
    this.#listeners = listeners
    this.closed = rpc.closed
  }

  /**
   * Connects to the first socket of the uri that has a listener, and asks for the events of all domains. CONFIG_INVALID for
   * a uri that cannot be, LIBVIRT_UNAVAILABLE when nothing listens, answers in time or lets this user in, LIBVIRT_ERROR when
   * the daemon does not have the hypervisor, LIBVIRT_PROTOCOL when it is none.
   */
  static async open({
    uri,
    timeoutMs = LIBVIRT_CONNECT_LIMIT_MS,
    pingEveryMs,
  }: LibvirtOpenOptions): Promise<LibvirtConnection> {
    const { name, sockets } = parseLibvirtUri(uri)
    const listeners = new Set<(event: LibvirtEvent) => void>()
    const rpc = await dialFirst(sockets, ({ program, procedure, payload }) => {
      if (program !== REMOTE_PROGRAM) {
        throw new VarveError('LIBVIRT_PROTOCOL', `libvirt sent an event of a program that was not asked, ${program}`)
      }
      const event = readEvent(procedure, payload)
      for (const listener of listeners) listener(event)
    })
    const connection = new LibvirtConnection(rpc, listeners)
    const timer = setTimeout(() => rpc.end(silent(rpc.path, timeoutMs)), timeoutMs)
    try {
      await connection.#begin(name, pingEveryMs)
      return connection
    } catch (error) {
      connection.close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  get version(): number {
    return this.#version
  }

  subscribe(listener: (event: LibvirtEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Calls a procedure that has no method of its own here. */
  call<T>(call: RpcCall<T>): Promise<T> {
    return this.rpc.call(call)
  }

  close(): void {
    this.rpc.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close()
    return Promise.resolve()
  }

  async #begin(name: string, pingEveryMs: number | undefined): Promise<void> {
    await this.#authenticate()
    const asksKeepalive = new XdrWriter().i32(FEATURE_KEEPALIVE)
    const keepalive = await this.ask('connectSupportsFeature', asksKeepalive, (reader) => reader.bool())
    if (keepalive) this.rpc.watch(pingEveryMs === undefined ? {} : { everyMs: pingEveryMs })
    await this.ask('connectOpen', new XdrWriter().optionalString(name).u32(0), nothing)
    this.#version = Number(await this.ask('connectGetLibVersion', new XdrWriter(), (reader) => reader.u64()))
    for (const event of EVENT_NUMBERS) {
      const ofAllDomains = new XdrWriter().i32(event).u32(0)
      await this.ask('connectDomainEventCallbackRegisterAny', ofAllDomains, (reader) => reader.i32())
    }
  }

  async #authenticate(): Promise<void> {
    const types = await this.ask('authList', new XdrWriter(), (reader) =>
      reader.list(AUTH_TYPES_MAX, () => reader.i32()),
    )
    const [type = AUTH_NONE] = types
    if (type === AUTH_NONE) return
    const refused = (why: string, cause?: unknown): VarveError =>
      new VarveError('LIBVIRT_UNAVAILABLE', `libvirt at ${this.rpc.path} lets this user not in: ${why}`, { cause })
    if (type !== AUTH_POLKIT) {
      throw refused(
        'it asks for a password (SASL); Varve needs auth_unix_rw = "none" or "polkit" in libvirt’s configuration',
      )
    }
    try {
      await this.ask('authPolkit', new XdrWriter(), (reader) => reader.i32())
    } catch (error) {
      if (!isLibvirtError(error)) throw error
      const why = 'polkit does not allow it; run the agent as root, or add its user to the group that may (libvirt)'
      throw refused(why, error)
    }
  }
}

const silent = (path: string, timeoutMs: number): VarveError => {
  const sentence = `libvirt’s daemon at ${path} did not answer within ${timeoutMs} ms: it hangs, or is starting`
  return new VarveError('LIBVIRT_UNAVAILABLE', sentence, { details: { path, timeoutMs } })
}
