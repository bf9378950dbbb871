// Kinds of reading beside uploads, each at a steady pace until it is stopped.
import { setTimeout as sleep } from 'node:timers/promises'
import { BESIDE_BACKUPS_BYTES_PER_SECOND } from '../../gateway/scheduler/pace.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { Paced, type Spread } from './paced.ts'

/** Between two calls of one kind, in milliseconds. */
export const INTERVALS_MS = { list: 100, usage: 2000 } as const

/** Before a verification begins where the one before has not left the gateway yet, in milliseconds. */
const RETRY_MS = 20

/** What was read until it was stopped. */
export interface Reading {
  readonly spread?: Spread
  /** Stored bytes that were verified. */
  readonly verifiedBytes?: number
}

export interface Reader extends AsyncDisposable {
  /** Waits for the call on its way; throws what one failed with. */
  stop(): Promise<Reading>
}

const calling = (intervalMs: number, call: () => Promise<unknown>): Reader => {
  const paced = new Paced(intervalMs, call)
  return {
    stop: async () => ({ spread: await paced.stop() }),
    [Symbol.asyncDispose]: () => paced[Symbol.asyncDispose](),
  }
}

/** Verifies everything again and again. */
class Verifying implements Reader {
  readonly #peer: Peer
  readonly #bytesPerSecond: number | null
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  #bytes = 0

  constructor(peer: Peer, bytesPerSecond: number | null) {
    this.#peer = peer
    this.#bytesPerSecond = bytesPerSecond
    this.#running = this.#run()
    this.#running.catch(() => {})
  }

  async stop(): Promise<Reading> {
    this.#stop.abort()
    await this.#running
    return { verifiedBytes: this.#bytes }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running.catch(() => {})
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted)
      try {
        await this.#once(signal)
      } catch (thrown) {
        if (signal.aborted) return
        if (asVarveError(thrown).code !== 'MAINTENANCE_RUNNING') throw thrown
        await sleep(RETRY_MS)
      }
  }

  async #once(signal: AbortSignal): Promise<void> {
    const params = { point: null, machine: null, olderThanDays: null, bytesPerSecond: this.#bytesPerSecond }
    const call = this.#peer.open('store.verify', params)
    call.result.catch(() => {})
    const cancel = (): void => call.cancel()
    signal.addEventListener('abort', cancel)
    const before = this.#bytes
    try {
      for await (const { phase, done } of call.messages) if (phase === 'read') this.#bytes = before + done
      await call.result
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }
}

export type ReaderKind = 'list' | 'usage' | 'verify' | 'verifyAll'

interface Kind {
  readonly title: string
  /** Whether a goal speaks of it. */
  readonly judged: boolean
  start(peer: Peer): Reader
}

export const READERS: Readonly<Record<ReaderKind, Kind>> = {
  list: {
    title: 'lists of restore points',
    judged: true,
    start: (peer) => calling(INTERVALS_MS.list, () => peer.call('points.list', { machine: null })),
  },
  usage: {
    title: 'usage',
    judged: true,
    start: (peer) =>
      calling(INTERVALS_MS.usage, () => peer.open('store.usage', { machine: null, points: false }).result),
  },
  verify: {
    title: 'verification at the pace of upkeep',
    judged: true,
    start: (peer) => new Verifying(peer, BESIDE_BACKUPS_BYTES_PER_SECOND),
  },
  verifyAll: {
    title: 'verification without a limit',
    judged: false,
    start: (peer) => new Verifying(peer, null),
  },
}
