// The agent's permanent connection to its gateway: reconnects, renews its session, and retries calls across breaks.
import { ASSERTION_LIFE_S } from '../../protocol/claims.ts'
import { asVarveError, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { MethodsServedBy, Asked, Result } from '../../protocol/methods.ts'
import type { Clock, Peer } from '../../protocol/peer.ts'
import { backoffMs } from '../retry.ts'

/** A session is renewed after this share of an assertion's life. */
const RENEW_MS = (ASSERTION_LIFE_S * 1000) / 2

/** How long a connection may take to report its end after a call has failed with it, in milliseconds. */
const BREAK_GRACE_MS = 1000

/** Errors after which reconnecting cannot help: a person must act. */
const FATAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'AGENT_REVOKED',
  'TOKEN_KEY_UNKNOWN',
  'TOKEN_SIGNATURE',
  'TOKEN_AUDIENCE',
  'REPLACED',
  'VERSION_UNSUPPORTED',
  'NOT_ENROLLED',
])

/** Whether an error is about the connection, so that the same call may be made again on the next one. */
export const isBreak = (error: VarveError): boolean => error.endsConnection && !FATAL.has(error.code)

export interface LinkOptions {
  /** Opens one connection. */
  readonly connect: () => Promise<Peer>
  /** A fresh assertion for a session's renewal; null for sessions that end with their token. */
  readonly assertion: (() => Promise<string>) | null
  /** Further errors after which reconnecting cannot help. */
  readonly isFatal?: (error: VarveError) => boolean
  /** Runs on each new connection before anything else uses it; a failure ends the connection. */
  readonly onOpen: (peer: Peer) => Promise<void>
  readonly onState: (state: { up: true } | { up: false; error: VarveError; retryMs: number }) => void
  readonly clock: Clock
  readonly random: () => number
}

/** The end of a connection whose session could not be renewed: a break for the calls under way, not their own failure. */
const renewalError = (thrown: unknown): VarveError => {
  const error = asVarveError(thrown)
  if (error.endsConnection) return error
  return new VarveError('CONNECTION_LOST', `the session could not be renewed: ${error.message}`, { cause: error })
}

/** Calls `session.renew` while the peer lives. */
export const keepRenewed = (peer: Peer, assertion: () => Promise<string>, clock: Clock): void => {
  let over = false
  let stopTimer: (() => void) | null = null
  const wait = (): void => {
    if (!over) stopTimer = clock.after(RENEW_MS, () => void renew())
  }
  const renew = async (): Promise<void> => {
    try {
      await peer.call('session.renew', { token: await assertion() })
      wait()
    } catch (thrown) {
      peer.close(renewalError(thrown))
    }
  }
  const end = (): void => {
    over = true
    stopTimer?.()
  }
  void peer.closed.then(end)
  wait()
}

export class GatewayLink implements AsyncDisposable {
  readonly #options: LinkOptions
  #peer: Peer | null = null
  /** The connection whose `onOpen` is still running. */
  #opening: Peer | null = null
  #stopping: VarveError | null = null
  #waiting = new Set<{ resolve: (peer: Peer) => void; reject: (error: VarveError) => void }>()
  #wakeLoop: () => void = () => {}
  readonly #loop: Promise<void>

  constructor(options: LinkOptions) {
    this.#options = options
    this.#loop = this.#run()
  }

  /** Resolves with the error once the link has given up for good. */
  async ended(): Promise<VarveError> {
    await this.#loop
    return this.#stopping ?? new VarveError('CANCELLED', 'the link was closed')
  }

  /** The open connection; null while there is none. */
  get current(): Peer | null {
    return this.#peer
  }

  /** The open connection, or the next one; CONNECTION_LOST when none comes within `awayMs`. */
  peer(signal?: AbortSignal, awayMs?: number): Promise<Peer> {
    if (this.#stopping !== null) return Promise.reject(this.#stopping)
    if (signal?.aborted === true) return Promise.reject(asVarveError(signal.reason))
    if (this.#peer !== null) return Promise.resolve(this.#peer)
    const { promise, resolve, reject } = Promise.withResolvers<Peer>()
    const waiter = { resolve, reject }
    const onAbort = (): void => reject(asVarveError(signal?.reason))
    this.#waiting.add(waiter)
    signal?.addEventListener('abort', onAbort, { once: true })
    const away = new VarveError('CONNECTION_LOST', 'the gateway was unreachable for too long')
    const stopTimer = awayMs === undefined ? () => {} : this.#options.clock.after(awayMs, () => reject(away))
    return promise.finally(() => {
      stopTimer()
      this.#waiting.delete(waiter)
      signal?.removeEventListener('abort', onAbort)
    })
  }

  /** Runs `work` on the connection, again on the next one when a connection breaks under it; the work must be repeatable. */
  async repeat<R>(work: (peer: Peer) => Promise<R>, signal?: AbortSignal, awayMs?: number): Promise<R> {
    while (true) {
      signal?.throwIfAborted()
      const peer = await this.peer(signal, awayMs)
      try {
        return await work(peer)
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (!isBreak(error) || !(await this.#ends(peer))) throw error
      }
    }
  }

  /** Calls a method that may be repeated. */
  call<N extends MethodsServedBy<'gateway'>>(
    name: N,
    params: Asked<N>,
    signal?: AbortSignal,
    awayMs?: number,
  ): Promise<Result<N>> {
    return this.repeat((peer) => peer.call(name, params, { signal }), signal, awayMs)
  }

  /** Whether the connection is over; an error about another connection must not be retried forever. */
  async #ends(peer: Peer): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const stopTimer = this.#options.clock.after(BREAK_GRACE_MS, () => resolve(false))
    void peer.closed.then(() => resolve(true))
    const ended = await promise
    stopTimer()
    return ended
  }

  /** Replaces the connection, with the reason; repeatable calls are made again on the new one. */
  reconnect(error: VarveError): void {
    const peer = this.#peer
    // nobody is given it any more
    this.#peer = null
    peer?.close(error)
    this.#opening?.close(error)
    this.#wakeLoop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop(new VarveError('CANCELLED', 'the agent is stopping'))
    await this.#loop
  }

  async #run(): Promise<void> {
    const { clock, random, onState, isFatal } = this.#options
    let attempt = 0
    while (this.#stopping === null) {
      let error: VarveError
      try {
        const peer = await this.#open()
        onState({ up: true })
        attempt = 0
        error = await peer.closed
      } catch (thrown) {
        error = asVarveError(thrown)
      }
      this.#peer = null
      if (this.#stopping !== null) break
      if (FATAL.has(error.code) || isFatal?.(error) === true) {
        this.#stop(error)
        break
      }
      const retryMs = backoffMs(attempt++, random())
      onState({ up: false, error, retryMs })
      await new Promise<void>((resolve) => {
        const stopTimer = clock.after(retryMs, resolve)
        this.#wakeLoop = () => {
          stopTimer()
          resolve()
        }
      })
    }
  }

  async #open(): Promise<Peer> {
    const peer = await this.#options.connect()
    if (this.#stopping !== null) {
      peer.close(this.#stopping)
      throw this.#stopping
    }
    const { assertion, clock } = this.#options
    if (assertion !== null) keepRenewed(peer, assertion, clock)
    this.#opening = peer
    try {
      await this.#options.onOpen(peer)
    } catch (thrown) {
      peer.close(asVarveError(thrown))
      throw thrown
    } finally {
      this.#opening = null
    }
    this.#peer = peer
    void peer.closed.then(() => this.#forget(peer))
    for (const { resolve } of this.#waiting) resolve(peer)
    return peer
  }

  #forget(peer: Peer): void {
    if (this.#peer === peer) this.#peer = null
  }

  #stop(error: VarveError): void {
    this.#stopping ??= error
    for (const { reject } of this.#waiting) reject(error)
    this.#peer?.close(error)
    this.#opening?.close(error)
    this.#wakeLoop()
  }
}
