// A long-lived connection that reconnects: what links to QEMU's monitor and to libvirt have in common.
import { setTimeout as sleep } from 'node:timers/promises'
import type { VarveError } from '../protocol/errors.ts'
import { backoffMs } from './retry.ts'

export type LinkState = 'up' | 'down'

/** What a link keeps up. */
export interface LinkClient<Event> {
  /** Resolves when the connection has ended. */
  readonly closed: Promise<VarveError>
  subscribe(listener: (event: Event) => void): () => void
  close(): void
}

export interface LinkTiming {
  /** A number in [0, 1). */
  readonly random?: () => number
  /** Resolves after `delayMs`, rejects when the signal aborts. */
  readonly wait?: (delayMs: number, signal: AbortSignal) => Promise<void>
}

export interface LastingLinkOptions<Client> extends LinkTiming {
  readonly connect: () => Promise<Client>
  /** The error of whoever uses the link after its end. */
  readonly closedError: () => VarveError
}

const pause = async (delayMs: number, signal: AbortSignal): Promise<void> => {
  await sleep(delayMs, undefined, { signal, ref: false })
}

/** One connection: lazy, shared, and restored with backoff after `start`. */
export class LastingLink<Client extends LinkClient<Event>, Event> implements AsyncDisposable {
  readonly #connectNow: () => Promise<Client>
  readonly #closedError: () => VarveError
  readonly #random: () => number
  readonly #wait: (delayMs: number, signal: AbortSignal) => Promise<void>
  readonly #listeners = new Set<(event: Event) => void>()
  readonly #stateListeners = new Set<(state: LinkState) => void>()
  readonly #stopping = new AbortController()
  #client: Client | null = null
  #connecting: Promise<Client> | null = null
  #keeper: Promise<void> | null = null

  constructor({ connect, closedError, random = Math.random, wait = pause }: LastingLinkOptions<Client>) {
    this.#connectNow = connect
    this.#closedError = closedError
    this.#random = random
    this.#wait = wait
  }

  get state(): LinkState {
    return this.#client === null ? 'down' : 'up'
  }

  /** Keeps the link up until `close`, so that events arrive. */
  start(): void {
    this.#keeper ??= this.#keep()
  }

  /** The connected client; connects now when the link is down, and fails as that fails. */
  async client(): Promise<Client> {
    if (this.#stopping.signal.aborted) throw this.#closedError()
    if (this.#client !== null) return this.#client
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null
    })
    return await this.#connecting
  }

  /** Calls `listener` for every event, over all reconnects; it must not throw. */
  subscribe(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Calls `listener` whenever the link goes up or down. */
  onState(listener: (state: LinkState) => void): () => void {
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

  async #connect(): Promise<Client> {
    const client = await this.#connectNow()
    if (this.#stopping.signal.aborted) {
      client.close()
      throw this.#closedError()
    }
    client.subscribe((event) => {
      for (const listener of this.#listeners) listener(event)
    })
    void client.closed.then(() => this.#set(null))
    this.#set(client)
    return client
  }

  #set(client: Client | null): void {
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
