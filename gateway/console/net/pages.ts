// A list that the gateway gives page by page: the first page at once, further ones as somebody comes near their place.
import { batch, effect, signal, untracked, type ReadonlySignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { Clock } from '../../../protocol/peer.ts'
import { clock } from './clock.ts'
import type { Linked } from './resource.ts'

export interface Page<Row> {
  readonly rows: readonly Row[]
  /** Cursor of the next page; null after the last one. */
  readonly next: string | null
}

/** So many rows are read again as often as is said. */
const ROUND_ROWS = 1000

export interface PagesOptions<Row> {
  readonly link: Linked
  /** Reads the page after a cursor, the first one for null. */
  readonly read: (after: string | null, signal: AbortSignal) => Promise<Page<Row>>
  /** How often the pages that were read are read again while somebody looks, in milliseconds; null for only when asked. */
  readonly everyMs: number | null
  readonly clock?: Clock
}

/** Rows stay shown, with their age, while the gateway cannot be reached. */
export class Pages<Row> {
  readonly #options: PagesOptions<Row>
  readonly #clock: Clock
  readonly #rows = signal<readonly Row[] | null>(null)
  readonly #next = signal<string | null>(null)
  readonly #error = signal<VarveError | null>(null)
  readonly #asOfMs = signal<number | null>(null)
  #reading: AbortController | null = null
  #watchers = 0
  #stop: () => void = () => {}
  #stopTimer: () => void = () => {}

  constructor(options: PagesOptions<Row>) {
    this.#options = options
    this.#clock = options.clock ?? clock
  }

  /** Those that were read; null before the first page. */
  get rows(): ReadonlySignal<readonly Row[] | null> {
    return this.#rows
  }

  /** Cursor of the next page; null where all were read. */
  get next(): ReadonlySignal<string | null> {
    return this.#next
  }

  get error(): ReadonlySignal<VarveError | null> {
    return this.#error
  }

  get asOfMs(): ReadonlySignal<number | null> {
    return this.#asOfMs
  }

  /** Somebody looks, until the returned function is called. */
  watch(): () => void {
    this.#watchers += 1
    if (this.#watchers === 1) {
      this.#stop = effect(() => {
        void this.#options.link.openings.value
        if (this.#options.link.state.value.kind === 'open') untracked(() => void this.refresh())
      })
    }
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#watchers -= 1
      if (this.#watchers > 0) return
      this.#stop()
      this.#stopTimer()
      this.#reading?.abort()
      this.#reading = null
    }
  }

  /** Reads the next page, unless one is being read or none is left. */
  async more(): Promise<void> {
    const after = this.#next.value
    if (after === null || this.#reading !== null) return
    await this.#work(async (signal) => {
      const page = await this.#options.read(after, signal)
      return { rows: [...(this.#rows.value ?? []), ...page.rows], next: page.next }
    })
  }

  /** Reads as many rows again as were read before; the old ones stay until then. */
  async refresh(): Promise<void> {
    const wanted = this.#rows.value?.length ?? 0
    this.#reading?.abort()
    await this.#work(async (signal) => {
      const rows: Row[] = []
      let next: string | null = null
      do {
        const page: Page<Row> = await this.#options.read(next, signal)
        rows.push(...page.rows)
        next = page.next
      } while (next !== null && rows.length < wanted)
      return { rows, next }
    })
  }

  async #work(read: (signal: AbortSignal) => Promise<Page<Row>>): Promise<void> {
    const reading = new AbortController()
    this.#reading = reading
    this.#stopTimer()
    try {
      const page = await read(reading.signal)
      if (this.#reading !== reading) return
      batch(() => {
        this.#rows.value = page.rows
        this.#next.value = page.next
        this.#error.value = null
        this.#asOfMs.value = this.#clock.now()
      })
    } catch (thrown) {
      if (this.#reading !== reading) return
      this.#error.value = asVarveError(thrown)
    }
    this.#reading = null
    const { everyMs, link } = this.#options
    if (everyMs === null || this.#watchers === 0) return
    // many rows less often, so that a long list costs no more than a short one
    const rounds = Math.max(1, Math.ceil((this.#rows.value?.length ?? 0) / ROUND_ROWS))
    this.#stopTimer = this.#clock.after(
      everyMs * rounds,
      () => void (link.state.value.kind === 'open' ? this.refresh() : null),
    )
  }
}
