// How the connection to the gateway is, and how it was: since when, how often it came back, and why it was lost last.
import type { VarveError } from '../../protocol/errors.ts'
import type { Clock } from '../../protocol/peer.ts'

export interface LinkState {
  readonly connected: boolean
  /** Since when it is connected, or is not; null before the first attempt has ended. */
  readonly sinceMs: number | null
  /** Connections that came after a first one. */
  readonly reconnects: number
  /** Why a connection ended or could not be had, the last time that one did. */
  readonly lastError: { readonly code: string; readonly message: string; readonly timeMs: number } | null
}

export class LinkRecord {
  readonly #clock: Clock
  #state: LinkState = { connected: false, sinceMs: null, reconnects: 0, lastError: null }
  #wasUp = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get state(): LinkState {
    return this.#state
  }

  up(): void {
    const reconnects = this.#state.reconnects + (this.#wasUp ? 1 : 0)
    this.#wasUp = true
    this.#state = { ...this.#state, connected: true, sinceMs: this.#clock.now(), reconnects }
  }

  /** The connection ended, or another attempt failed: it is away since the first of them. */
  down({ code, message }: VarveError): void {
    const timeMs = this.#clock.now()
    const { connected, sinceMs } = this.#state
    const awayMs = connected || sinceMs === null ? timeMs : sinceMs
    this.#state = { ...this.#state, connected: false, sinceMs: awayMs, lastError: { code, message, timeMs } }
  }
}
