// The worker threads that all uploads of this process share: started when one needs them, and kept for the next one.
import { availableParallelism } from 'node:os'
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { WorkThread } from '../../protocol/host/threads.ts'
import { within } from '../../protocol/host/within.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { WorkerSetup } from './messages.ts'
import type { ImageMethods } from './worker.ts'

/** Threads at most; each holds an NBD connection to an image, of which QEMU allows 100. */
const THREADS_MAX = 8

/**
 * Of a thread's JavaScript heap, which holds little: without limits its garbage grows to many times that before it is looked
 * for.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 } as const

/** How long a thread may take to close its connection, in milliseconds. */
const CLOSE_TIMEOUT_MS = 5000

/** How long threads are kept that nobody uses, in milliseconds: to start them costs as much as a small increment. */
export const IDLE_MS = 60_000

/** A thread, and how many segments are with it. */
export interface ImageThread {
  readonly thread: WorkThread<ImageMethods>
  busy: number
}

interface Shared extends ImageThread {
  /** The images that are open in it, and what to call when it ends. */
  readonly images: Map<number, (error: VarveError) => void>
  /** It did not answer in time: no further image is given to it, and it ends with the last one that it has. */
  isStuck: boolean
}

const ended = (): VarveError => new VarveError('INTERNAL', 'a worker thread ended')

export class ImageThreads implements AsyncDisposable {
  readonly #clock: Clock
  readonly #closeTimeoutMs: number
  readonly #threads: Shared[] = []
  #nextImage = 0
  #stopTimer: (() => void) | null = null

  constructor(clock: Clock, { closeTimeoutMs = CLOSE_TIMEOUT_MS } = {}) {
    this.#clock = clock
    this.#closeTimeoutMs = closeTimeoutMs
  }

  /** Those that live. */
  get count(): number {
    return this.#threads.length
  }

  /** Opens an image in the least busy threads, of which it needs at most so many; `onEnd` hears of one that ends meanwhile. */
  open(
    setup: WorkerSetup,
    { most, onEnd }: { readonly most: number; readonly onEnd: (error: VarveError) => void },
  ): { readonly image: number; readonly threads: readonly ImageThread[] } {
    this.#stopTimer?.()
    this.#stopTimer = null
    const image = this.#nextImage++
    const wanted = Math.min(THREADS_MAX, Math.max(1, availableParallelism()))
    while (this.#usable().length < wanted) this.#start()
    const threads = this.#usable()
      .toSorted((a, b) => a.images.size - b.images.size)
      .slice(0, most)
    for (const { thread, images } of threads) {
      images.set(image, onEnd)
      thread.tell('open', [image, setup])
    }
    return { image, threads }
  }

  /**
   * Closes an image in every thread that has it. One that does not answer in time gets no further image, and is ended when it
   * has none left, once it has answered or by force.
   */
  async close(image: number): Promise<void> {
    const having = this.#threads.filter(({ images }) => images.has(image))
    await Promise.all(
      having.map(async (shared) => {
        const closed = shared.thread.call('close', [image]).then(
          () => true,
          () => false,
        )
        const isClosed = await within(closed, this.#closeTimeoutMs)
        shared.images.delete(image)
        if (isClosed === null) shared.isStuck = true
        if (shared.isStuck && shared.images.size === 0) await this.#end(shared)
      }),
    )
    if (this.#stopTimer !== null || this.#threads.some(({ images }) => images.size > 0)) return
    this.#stopTimer = this.#clock.after(IDLE_MS, () => {
      this.#stopTimer = null
      for (const shared of this.#threads.splice(0)) void this.#end(shared)
    })
  }

  /** Ends all threads now; no image is open in them any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopTimer?.()
    this.#stopTimer = null
    await Promise.all([...this.#threads].map((shared) => this.#end(shared)))
  }

  /** Those that may be given a further image. */
  #usable(): readonly Shared[] {
    return this.#threads.filter(({ isStuck }) => !isStuck)
  }

  #start(): void {
    const file = new URL('worker.ts', import.meta.url)
    const shared: Shared = {
      thread: new WorkThread<ImageMethods>(file, { heap: HEAP_LIMITS, ended }),
      busy: 0,
      images: new Map(),
      isStuck: false,
    }
    this.#threads.push(shared)
    void shared.thread.exited.then(() => this.#forget(shared))
  }

  #forget(shared: Shared): void {
    this.#remove(shared)
    for (const onEnd of shared.images.values()) onEnd(ended())
    shared.images.clear()
  }

  #remove(shared: Shared): void {
    const at = this.#threads.indexOf(shared)
    if (at >= 0) this.#threads.splice(at, 1)
  }

  /** It is not given to anybody any more. */
  async #end(shared: Shared): Promise<void> {
    this.#remove(shared)
    await shared.thread.end(CLOSE_TIMEOUT_MS)
  }
}

/** Those of this process. */
export const processThreads = new ImageThreads(systemClock)
