// The requests of one connection: some in flight, a bounded number behind them.

import { VarveError } from '../../protocol/errors.ts'
import type { PendingRequest, StatusByContext } from './pending-request.ts'
import type { RequestsInFlight } from './replies.ts'
import { encodeRequest } from './wire.ts'

/** Most requests in flight on a connection: as many as QEMU handles at once. */
export const REQUESTS_IN_FLIGHT_MAX = 16
/** Most requests that wait for their turn; more are refused with TOO_MANY_REQUESTS. */
export const REQUESTS_QUEUED_MAX = 1024

/** Sends requests as room appears and tracks those unanswered. */
export class RequestQueue implements RequestsInFlight {
  readonly #send: (bytes: Uint8Array, payload?: Uint8Array) => void
  readonly #inFlight = new Map<number, PendingRequest>()
  readonly #queued: PendingRequest[] = []
  #nextCookie = 1
  #ended: VarveError | null = null

  constructor(send: (bytes: Uint8Array, payload?: Uint8Array) => void) {
    this.#send = send
  }

  get inFlightCount(): number {
    return this.#inFlight.size
  }

  /** Rejects with TOO_MANY_REQUESTS when the queue is full, or with what ended the connection. */
  submit(pending: PendingRequest): Promise<StatusByContext> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    if (this.#inFlight.size < REQUESTS_IN_FLIGHT_MAX) {
      this.#dispatch(pending)
    } else if (this.#queued.length < REQUESTS_QUEUED_MAX) {
      this.#queued.push(pending)
    } else {
      return Promise.reject(new VarveError('TOO_MANY_REQUESTS', 'too many NBD requests wait on one connection'))
    }
    return pending.outcome
  }

  get(cookie: number): PendingRequest | undefined {
    return this.#inFlight.get(cookie)
  }

  settle(cookie: number): void {
    this.#inFlight.delete(cookie)
    const next = this.#queued.shift()
    if (next !== undefined) this.#dispatch(next)
  }

  /** Rejects every waiting request and all later ones; only the first call counts. */
  end(error: VarveError): void {
    if (this.#ended !== null) return
    this.#ended = error
    for (const pending of this.#inFlight.values()) pending.abandon(error)
    for (const pending of this.#queued) pending.abandon(error)
    this.#inFlight.clear()
    this.#queued.length = 0
  }

  #dispatch(pending: PendingRequest): void {
    const cookie = this.#nextCookie
    this.#nextCookie += 1
    this.#inFlight.set(cookie, pending)
    this.#send(encodeRequest(pending.request, cookie), pending.payload)
  }
}
