// What a view shows of the gateway's: read when somebody looks, read again while they do, and dated.
import { batch, signal, type ReadonlySignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { Clock } from '../../../protocol/peer.ts'
import { clock } from './clock.ts'
import { Watchers, type Linked } from './watchers.ts'

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
  readonly #watchers: Watchers
  readonly #value = signal<T | null>(null)
  readonly #error = signal<VarveError | null>(null)
  readonly #asOfMs = signal<number | null>(null)
  readonly #isReading = signal(false)
  #reading: AbortController | null = null
  #stopTimer: () => void = () => {}

  constructor(options: ResourceOptions<T>) {
    this.#options = options
    this.#clock = options.clock ?? clock
    this.#watchers = new Watchers(
      options.link,
      () => void this.refresh(),
      () => this.#rest(),
    )
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
    return this.#watchers.watch()
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
    if (everyMs !== null && this.#watchers.isAny) this.#stopTimer = this.#clock.after(everyMs, () => void this.#again())
  }

  #again(): Promise<void> {
    return this.#options.link.state.value.kind === 'open' ? this.refresh() : Promise.resolve()
  }

  #rest(): void {
    this.#stopTimer()
    this.#reading?.abort()
    this.#reading = null
    this.#isReading.value = false
  }
}
