// The worker threads of one upload: segments go to the least busy one and stay with it until they are dropped.
import { availableParallelism } from 'node:os'
import { VarveError } from '../../protocol/errors.ts'
import { WorkThread } from '../../protocol/host/threads.ts'
import type { Hashed, Prepared, WorkerSetup } from './messages.ts'
import type { ChunkRun } from './segments.ts'
import type { ImageMethods } from './worker.ts'

/** Threads of one upload at most; each holds an NBD connection, of which QEMU allows 100. */
const WORKERS_MAX = 8

/**
 * Of a thread's JavaScript heap, which holds little: without limits its garbage grows to many times that before it is looked
 * for.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 } as const

/** How long a thread may take to close its connection, in milliseconds. */
const CLOSE_TIMEOUT_MS = 5000

interface Owner {
  readonly thread: WorkThread<ImageMethods>
  /** Segments that stay with it. */
  busy: number
}

const ended = (): VarveError => new VarveError('INTERNAL', 'a worker thread ended')

export class ImageWorkers implements AsyncDisposable {
  readonly #threads: readonly Owner[]
  readonly #owners = new Map<number, Owner>()

  constructor(setup: WorkerSetup, options: { readonly multiConn: boolean }) {
    const count = options.multiConn ? Math.min(WORKERS_MAX, Math.max(1, availableParallelism())) : 1
    // what one thread fails with ends all of them
    const onError = (error: VarveError): void => this.#fail(error)
    this.#threads = Array.from({ length: count }, () => {
      const file = new URL('worker.ts', import.meta.url)
      const thread = new WorkThread<ImageMethods>(file, { data: setup, heap: HEAP_LIMITS, ended, onError })
      void thread.exited.then(() => this.#fail(ended()))
      return { thread, busy: 0 }
    })
  }

  /** How many work at once. */
  get count(): number {
    return this.#threads.length
  }

  /**
   * Reads and hashes a segment, whose bytes are held until `drop` where `hold` says so, and are read again where they are asked
   * for after all. NBD_ERROR, NBD_PROTOCOL.
   */
  read(segment: number, runs: readonly ChunkRun[], hold: boolean): Promise<Hashed> {
    const owner = this.#threads.reduce((least, next) => (next.busy < least.busy ? next : least))
    owner.busy++
    this.#owners.set(segment, owner)
    return owner.thread.call('read', [segment, runs, hold])
  }

  /** Packs and proves chunks of a segment, one entry of `picks` for each; what is not held is read again. */
  prepare(segment: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Prepared> {
    return this.#owners.get(segment)!.thread.call('prepare', [segment, picks, proofKey])
  }

  drop(segment: number): void {
    const owner = this.#owners.get(segment)
    if (owner === undefined) return
    this.#owners.delete(segment)
    owner.busy--
    owner.thread.tell('drop', [segment])
  }

  /** Ends the threads; what still waits fails with CANCELLED. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(new VarveError('CANCELLED', 'the upload ended'))
    await Promise.all(this.#threads.map(({ thread }) => thread.end(CLOSE_TIMEOUT_MS)))
  }

  #fail(error: VarveError): void {
    for (const { thread } of this.#threads) thread.fail(error)
  }
}
