// What a view shows of the gateway's: read when somebody looks, read again while they do, and dated.
import { batch, effect, signal, untracked, type ReadonlySignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { Clock } from '../../../protocol/peer.ts'
import { clock } from './clock.ts'
import type { Link } from './link.ts'

/** The part of a link that a resource needs. */
export type Linked = Pick<Link, 'state' | 'openings'>

export interface ResourceOptions<T> {
  readonly link: Linked
  readonly read: (signal: AbortSignal) => Promise<T>
  /** How often it is read again while somebody looks, in milliseconds; null for only when asked. */
  readonly everyMs: number | null
  readonly clock?: Clock
}

/** Its last value stays shown, with its age, while the gateway cannot be reached or answers with an error. */
export class Resource<T> {
  readonly #options: ResourceOptions<T>
  readonly #clock: Clock
  readonly #value = signal<T | null>(null)
  readonly #error = signal<VarveError | null>(null)
  readonly #asOfMs = signal<number | null>(null)
  readonly #isReading = signal(false)
  #watchers = 0
  #reading: AbortController | null = null
  #stop: () => void = () => {}
  #stopTimer: () => void = () => {}

  constructor(options: ResourceOptions<T>) {
    this.#options = options
    this.#clock = options.clock ?? clock
  }

  get value(): ReadonlySignal<T | null> {
    return this.#value
  }

  /** Why the last reading failed; null after a good one. */
  get error(): ReadonlySignal<VarveError | null> {
    return this.#error
  }

  /** When the value was read, by this machine's clock. */
  get asOfMs(): ReadonlySignal<number | null> {
    return this.#asOfMs
  }

  get isReading(): ReadonlySignal<boolean> {
    return this.#isReading
  }

  /** Somebody looks, until the returned function is called. */
  watch(): () => void {
    this.#watchers += 1
    if (this.#watchers === 1) {
      this.#stop = effect(() => {
        // at once, and each time the connection opens
        void this.#options.link.openings.value
        if (this.#options.link.state.value.kind === 'open') untracked(() => void this.refresh())
      })
    }
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#watchers -= 1
      if (this.#watchers === 0) this.#rest()
    }
  }

  /** Reads it again now; resolves once it was read or could not be. */
  async refresh(): Promise<void> {
    this.#reading?.abort()
    this.#stopTimer()
    const reading = new AbortController()
    this.#reading = reading
    this.#isReading.value = true
    try {
      const value = await this.#options.read(reading.signal)
      if (this.#reading !== reading) return
      batch(() => {
        this.#value.value = value
        this.#error.value = null
        this.#asOfMs.value = this.#clock.now()
      })
    } catch (thrown) {
      if (this.#reading !== reading) return
      this.#error.value = asVarveError(thrown)
    }
    this.#reading = null
    this.#isReading.value = false
    const { everyMs } = this.#options
    if (everyMs !== null && this.#watchers > 0) this.#stopTimer = this.#clock.after(everyMs, () => void this.#again())
  }

  #again(): Promise<void> {
    return this.#options.link.state.value.kind === 'open' ? this.refresh() : Promise.resolve()
  }

  #rest(): void {
    this.#stop()
    this.#stopTimer()
    this.#reading?.abort()
    this.#reading = null
    this.#isReading.value = false
  }
}
