// A call from both sides, and what a program supplies to make and serve calls.
import type { Down, MethodName, Params, Result, Up } from './methods.ts'

/** A peer's time source, injected so that tests can stop it. */
export interface Clock {
  /** Milliseconds since 1970, by a clock that may be set ahead or back at any time: for dates, never for waits. */
  now(): number
  /** Milliseconds of a monotonic clock: for waits and measurements. */
  elapsed(): number
  /** Runs `action` after so many milliseconds unless the returned function is called first. */
  after(ms: number, action: () => void): () => void
}

/** A call that this side made and whose messages it exchanges. */
export interface OpenCall<N extends MethodName> {
  readonly result: Promise<Result<N>>
  readonly messages: AsyncIterable<Down<N>>
  send(message: Up<N>): Promise<void>
  end(): void
  cancel(): void
}

/** A message, and its cost in its stream's credit in bytes. */
export interface Received<M> {
  readonly message: M
  readonly bytes: number
}

/** A call that this side serves. */
export interface ServedCall<N extends MethodName> {
  readonly signal: AbortSignal
  /** Grants the caller credit, the method's window, once reading begins. */
  readonly messages: AsyncIterable<Up<N>>
  /** The same for a handler that grants the credit itself, with `grant`. */
  readonly received: AsyncIterable<Received<Up<N>>>
  grant(bytes: number): void
  /** TOO_MANY_REQUESTS where the connection has no memory left for the message. */
  send(message: Down<N>): Promise<void>
  /** Sends a message whose memory the handler has accounted for. */
  sendHeld(message: Down<N>): Promise<void>
}

/** What a connection may hold for its peer. */
export interface Room {
  /** Reserves so many bytes until the returned function is called; null where none are left. */
  take(bytes: number): (() => void) | null
}

/** The memory of a side that trusts its peer: unlimited. */
export const BOUNDLESS: Room = { take: () => () => {} }

export type Handler<N extends MethodName> = (params: Params<N>, call: ServedCall<N>) => Promise<Result<N>>

/** How this side serves: any of the methods; the others are METHOD_UNKNOWN to the peer. */
export type Handlers = { readonly [N in MethodName]?: Handler<N> }

export interface CallOptions {
  /** 0 means none; streams default to none, others to DEADLINE_DEFAULT_MS; at most DEADLINE_MAX_MS. */
  readonly deadlineMs?: number
  readonly signal?: AbortSignal | undefined
}
