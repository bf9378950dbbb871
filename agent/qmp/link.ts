// One machine's long-lived QMP connection, which reconnects.

import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../protocol/errors.ts'
import { backoffMs } from '../retry.ts'
import { QMP_CONNECT_LIMIT_MS, QmpClient } from './client.ts'
import type { QmpEvent } from './message.ts'

export type QmpLinkState = 'up' | 'down'

export interface QmpLinkOptions {
  readonly path: string
  /** How long one attempt may take, in milliseconds. */
  readonly timeoutMs?: number
  /** A number in [0, 1). */
  readonly random?: () => number
  /** Resolves after `delayMs`, rejects when the signal aborts. */
  readonly wait?: (delayMs: number, signal: AbortSignal) => Promise<void>
}

const pause = async (delayMs: number, signal: AbortSignal): Promise<void> => {
  await sleep(delayMs, undefined, { signal, ref: false })
}

/** The one QMP connection of a machine: lazy, shared, and restored with backoff after `start`. */
export class QmpLink implements AsyncDisposable {
  readonly path: string
  readonly #timeoutMs: number
  readonly #random: () => number
  readonly #wait: (delayMs: number, signal: AbortSignal) => Promise<void>
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  readonly #stateListeners = new Set<(state: QmpLinkState) => void>()
  readonly #stopping = new AbortController()
  #client: QmpClient | null = null
  #connecting: Promise<QmpClient> | null = null
  #keeper: Promise<void> | null = null

  constructor(options: QmpLinkOptions) {
    this.path = options.path
    this.#timeoutMs = options.timeoutMs ?? QMP_CONNECT_LIMIT_MS
    this.#random = options.random ?? Math.random
    this.#wait = options.wait ?? pause
  }

  get state(): QmpLinkState {
    return this.#client === null ? 'down' : 'up'
  }

  /** Keeps the link up until `close`, so that events of the machine arrive. */
  start(): void {
    this.#keeper ??= this.#keep()
  }

  /** The connected client; connects now when the link is down. QMP_UNAVAILABLE when that fails. */
  async client(): Promise<QmpClient> {
    if (this.#stopping.signal.aborted) throw new VarveError('QMP_UNAVAILABLE', `the QMP link to ${this.path} is closed`)
    if (this.#client !== null) return this.#client
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null
    })
    return await this.#connecting
  }

  /** Calls `listener` for every event of the machine, over all reconnects; it must not throw. */
  subscribe(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Calls `listener` whenever the link goes up or down. */
  onState(listener: (state: QmpLinkState) => void): () => void {
    this.#stateListeners.add(listener)
    return () => void this.#stateListeners.delete(listener)
  }

  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#connecting?.catch(() => undefined)
    this.#client?.close()
    await this.#keeper
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #connect(): Promise<QmpClient> {
    const client = await QmpClient.connect({ path: this.path, timeoutMs: this.#timeoutMs })
    if (this.#stopping.signal.aborted) {
      client.close()
      throw new VarveError('QMP_UNAVAILABLE', `the QMP link to ${this.path} is closed`)
    }
    client.subscribe((event) => {
      for (const listener of this.#listeners) listener(event)
    })
    void client.closed.then(() => this.#set(null))
    this.#set(client)
    return client
  }

  #set(client: QmpClient | null): void {
    this.#client = client
    for (const listener of this.#stateListeners) listener(this.state)
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stopping
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const client = await this.client().catch(() => null)
      if (client !== null) {
        await client.closed
        attempt = 0
      }
      await this.#wait(backoffMs(attempt, this.#random()), signal).catch(() => undefined)
    }
  }
}
