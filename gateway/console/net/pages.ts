// A list that the gateway gives page by page: the first page at once, further ones as somebody comes near their place.
import { batch, signal, type ReadonlySignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { Clock } from '../../../protocol/peer.ts'
import { clock } from './clock.ts'
import { Watchers, type Linked } from './watchers.ts'

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
  /** What a row is of, where the order may change between two pages: none comes twice. */
  readonly keyOf?: (row: Row) => string
  readonly clock?: Clock
}

/** Rows stay shown, with their age, while the gateway cannot be reached. */
export class Pages<Row> {
  readonly #options: PagesOptions<Row>
  readonly #clock: Clock
  readonly #watchers: Watchers
  readonly #rows = signal<readonly Row[] | null>(null)
  readonly #next = signal<string | null>(null)
  readonly #error = signal<VarveError | null>(null)
  readonly #asOfMs = signal<number | null>(null)
  #reading: AbortController | null = null
  /** The next page was asked for, and could not be read yet. */
  #isMoreWanted = false
  /** Something changed while it was read. */
  #isOld = false
  #stopTimer: () => void = () => {}

  constructor(options: PagesOptions<Row>) {
    this.#options = options
    this.#clock = options.clock ?? clock
    this.#watchers = new Watchers(
      options.link,
      () => void this.refresh(),
      () => this.#rest(),
    )
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
    return this.#watchers.watch()
  }

  /** Reads the next page, if one is left: at once, or after what is being read. */
  async more(): Promise<void> {
    const first = this.#next.value
    if (first === null) return
    // until it was read: an error or a refresh puts it off
    this.#isMoreWanted = true
    if (this.#reading !== null) return
    await this.#work(async (signal) => {
      const before = this.#rows.value ?? []
      let [rows, next]: [readonly Row[], string | null] = [before, first]
      let page: Page<Row>
      do {
        page = await this.#options.read(next, signal)
        rows = this.#distinct([...before, ...page.rows])
        next = page.next
        // a page of known rows alone shows nothing that would have the next one asked for
      } while (next !== null && page.rows.length > 0 && rows.length === before.length)
      if (!signal.aborted) this.#isMoreWanted = false
      return { rows, next }
    })
  }

  /** Reads again what changed: at once, or after what is being read, which is never given up for it. */
  async renew(): Promise<void> {
    if (this.#reading === null) await this.refresh()
    else this.#isOld = true
  }

  /** Reads as many rows again as were read before; the old ones stay until then. */
  async refresh(): Promise<void> {
    const wanted = this.#rows.value?.length ?? 0
    this.#reading?.abort()
    this.#isOld = false
    await this.#work(async (signal) => {
      let rows: readonly Row[] = []
      let next: string | null = null
      do {
        const page: Page<Row> = await this.#options.read(next, signal)
        rows = this.#distinct([...rows, ...page.rows])
        next = page.next
      } while (next !== null && rows.length < wanted)
      return { rows, next }
    })
  }

  #distinct(rows: readonly Row[]): readonly Row[] {
    const { keyOf } = this.#options
    if (keyOf === undefined) return rows
    const known = new Set<string>()
    return rows.filter((row) => known.size !== known.add(keyOf(row)).size)
  }

  /** What was wished for meanwhile; an error leaves it to the next round. */
  #goOn(): boolean {
    this.#isMoreWanted &&= this.#next.value !== null
    if (this.#isMoreWanted) void this.more()
    else if (this.#isOld) void this.refresh()
    return this.#reading !== null
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
      this.#reading = null
      if (this.#goOn()) return
    } catch (thrown) {
      if (this.#reading !== reading) return
      this.#error.value = asVarveError(thrown)
    }
    this.#reading = null
    const { everyMs, link } = this.#options
    if (everyMs === null || !this.#watchers.isAny) return
    // many rows less often, so that a long list costs no more than a short one
    const rounds = Math.max(1, Math.ceil((this.#rows.value?.length ?? 0) / ROUND_ROWS))
    this.#stopTimer = this.#clock.after(
      everyMs * rounds,
      () => void (link.state.value.kind === 'open' ? this.refresh() : null),
    )
  }

  #rest(): void {
    this.#stopTimer()
    this.#reading?.abort()
    this.#reading = null
    this.#isMoreWanted = false
    this.#isOld = false
  }
}
