// The worker threads of one upload: segments go to the least busy one and stay with it until they are dropped.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { processThreads, type ImageThread, type ImageThreads } from './image-threads.ts'
import type { Hashed, Prepared, WorkerSetup } from './messages.ts'
import type { ChunkRun } from './segments.ts'

export class ImageWorkers implements AsyncDisposable {
  readonly #shared: ImageThreads
  readonly #image: number
  readonly #threads: readonly ImageThread[]
  readonly #owners = new Map<number, ImageThread>()
  readonly #waiting = new Set<(error: VarveError) => void>()
  #failure: VarveError | null = null

  constructor(
    setup: WorkerSetup,
    { multiConn, threads = processThreads }: { readonly multiConn: boolean; readonly threads?: ImageThreads },
  ) {
    this.#shared = threads
    const opened = threads.open(setup, {
      most: multiConn ? Infinity : 1,
      onEnd: (error) => this.#fail(error),
    })
    this.#image = opened.image
    this.#threads = opened.threads
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
    return this.#unlessFailed(() => {
      owner.busy++
      this.#owners.set(segment, owner)
      return owner.thread.call('read', [this.#image, segment, runs, hold])
    })
  }

  /** Packs and proves chunks of a segment, one entry of `picks` for each; what is not held is read again. */
  prepare(segment: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Prepared> {
    return this.#unlessFailed(() =>
      this.#owners.get(segment)!.thread.call('prepare', [this.#image, segment, picks, proofKey]),
    )
  }

  drop(segment: number): void {
    const owner = this.#owners.get(segment)
    if (owner === undefined) return
    this.#owners.delete(segment)
    owner.busy--
    owner.thread.tell('drop', [this.#image, segment])
  }

  /** Lets the threads go; what still waits fails with CANCELLED. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(new VarveError('CANCELLED', 'the upload ended'))
    for (const owner of this.#owners.values()) owner.busy--
    this.#owners.clear()
    await this.#shared.close(this.#image)
  }

  /** What one of them fails with ends all of them. */
  async #unlessFailed<R>(work: () => Promise<R>): Promise<R> {
    if (this.#failure !== null) throw this.#failure
    const { promise, resolve, reject } = Promise.withResolvers<R>()
    this.#waiting.add(reject)
    work().then(resolve, (thrown: unknown) => this.#fail(asVarveError(thrown)))
    try {
      return await promise
    } finally {
      this.#waiting.delete(reject)
    }
  }

  #fail(error: VarveError): void {
    this.#failure ??= error
    for (const reject of this.#waiting) reject(this.#failure)
  }
}
