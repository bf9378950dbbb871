// Restores that agents carry out: what runs and ran, where one may go, and what it would bring back.
import { computed, effect, untracked, type ReadonlySignal } from '@preact/signals'
import type { Covered } from '../../../protocol/coverage.ts'
import type { Asked, Result } from '../../../protocol/methods.ts'
import type { Clock } from '../../../protocol/peer.ts'
import type { Restore } from '../../../protocol/restores.ts'
import type { Point } from '../../../protocol/schemas.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'

/** How often all restores that are shown are asked for while somebody looks, in milliseconds. */
const RESTORES_MS = 10_000

/** The same for the first page while one runs. */
const RUNNING_MS = 1000

const PAGE_ROWS = 50

/** Machines that a search shows; a longer one is narrowed by typing. */
export const FOUND_MAX = 12

/** Pages of changes that are added up for a figure; past that it is "at least". */
const PAGES_MAX = 64

/** Over how long a rate is measured, in milliseconds. */
const WINDOW_MS = 10_000

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)

/** What was written or compared, and then what was written of what differs: it only grows. */
export const doneOf = ({ disks }: Restore): number =>
  sum(disks.map(({ doneBytes, writtenBytes }) => doneBytes + writtenBytes))
export const sizeOf = ({ disks }: Restore): number => sum(disks.map(({ size }) => size))

/** How a restore's disks come to their places; all in one way. */
export const howOf = ({ disks }: Restore): Restore['disks'][number]['how'] => disks[0]?.how ?? 'new'

/** What a comparison found in all disks; null until all are compared. */
export const differOf = ({ disks }: Restore): { readonly differ: number; readonly written: number } | null => {
  if (disks.length === 0 || disks.some(({ differBytes }) => differBytes === null)) return null
  return {
    differ: sum(disks.map(({ differBytes }) => differBytes!)),
    written: sum(disks.map((one) => one.writtenBytes)),
  }
}

/** How far the step is that a restore is in. */
export interface Step {
  readonly kind: 'write' | 'compare' | 'differing'
  readonly done: number
  readonly size: number
}

export const stepOf = (restore: Restore): Step => {
  const kind = howOf(restore) === 'new' ? 'write' : 'compare'
  const found = differOf(restore)
  if (found !== null) return { kind: 'differing', done: found.written, size: found.differ }
  return { kind, done: sum(restore.disks.map(({ doneBytes }) => doneBytes)), size: sizeOf(restore) }
}

interface Sample {
  readonly atMs: number
  readonly done: number
}

/** Bytes a second between the first and last of some samples; null while nothing can be said. */
export const rateOf = (samples: readonly Sample[]): number | null => {
  const [first, last] = [samples[0], samples.at(-1)]
  if (first === undefined || last === undefined || last.atMs - first.atMs < 1000) return null
  return ((last.done - first.done) / (last.atMs - first.atMs)) * 1000
}

/** The rates of restores that run, from what was seen of them in the last seconds. */
export class Rates {
  readonly #samples = new Map<string, readonly Sample[]>()

  /** Notes how far some of them are; the others may be on another page. */
  see(restores: readonly Restore[], atMs: number): void {
    for (const one of restores) {
      if (one.state !== 'running') {
        this.#samples.delete(one.id)
        continue
      }
      const before = this.#samples.get(one.id) ?? []
      const recent = before.filter((sample) => atMs - sample.atMs <= WINDOW_MS)
      // one that is asked for seldom is measured from the last time
      this.#samples.set(one.id, [...(recent.length > 0 ? recent : before.slice(-1)), { atMs, done: doneOf(one) }])
    }
  }

  of(id: string): number | null {
    return rateOf(this.#samples.get(id) ?? [])
  }
}

/** Whichever of two answers about a restore is the later one: it only goes on, and ends once. */
const laterOf = (one: Restore, other: Restore | undefined): Restore => {
  if (other === undefined || one.state !== 'running') return one
  return other.state !== 'running' || doneOf(other) > doneOf(one) ? other : one
}

/** The list of restores, of which the first page is read often while one runs. */
export class Restores {
  readonly #all: Pages<Restore>
  readonly #first: Resource<readonly Restore[]>
  readonly rows: ReadonlySignal<readonly Restore[] | null>
  readonly asOfMs: ReadonlySignal<number | null>

  constructor(link: Link, rates: Rates, clock?: Clock) {
    const shared = { link, ...(clock === undefined ? {} : { clock }) }
    const read = async (after: string | null, signal: AbortSignal) => {
      const { restores, next } = await link.call('restores.list', { after, limit: PAGE_ROWS }, { signal })
      rates.see(restores, clock?.now() ?? Date.now())
      return { rows: restores, next }
    }
    this.#all = new Pages({ ...shared, everyMs: RESTORES_MS, read })
    this.#first = new Resource({
      ...shared,
      everyMs: RUNNING_MS,
      read: async (signal) => (await read(null, signal)).rows,
    })
    this.rows = computed(() => {
      const first = new Map((this.#first.value.value ?? []).map((one) => [one.id, one]))
      return this.#all.rows.value?.map((one) => laterOf(one, first.get(one.id))) ?? null
    })
    this.asOfMs = computed(() => {
      const [all, first] = [this.#all.asOfMs.value, this.#first.asOfMs.value]
      return all === null || first === null ? all : Math.max(all, first)
    })
  }

  get next(): ReadonlySignal<string | null> {
    return this.#all.next
  }

  get error(): Pages<Restore>['error'] {
    return this.#all.error
  }

  /** Somebody looks, until the returned function is called. */
  watch(): () => void {
    const leave = this.#all.watch()
    const isRunning = computed(() => this.rows.value?.some(({ state }) => state === 'running') === true)
    const stop = effect(() => (isRunning.value ? untracked(() => this.#first.watch()) : undefined))
    return () => {
      stop()
      leave()
    }
  }

  more(): Promise<void> {
    return this.#all.more()
  }

  refresh(): Promise<void> {
    return this.#all.refresh()
  }

  /** One of those that are shown; null for none. */
  one(id: string): Restore | null {
    return this.rows.value?.find((restore) => restore.id === id) ?? null
  }
}

export interface Found {
  readonly machines: readonly Covered[]
  readonly more: boolean
}

/** Machines whose names have a text in them. */
export const foundOf = (link: Link, contains: string): Resource<Found> =>
  new Resource({
    link,
    everyMs: null,
    read: async (signal) => {
      const asked = { limit: FOUND_MAX, ...(contains === '' ? {} : { contains }) }
      const { machines, next } = await link.call('coverage.list', asked, { signal })
      return { machines, more: next !== null }
    },
  })

/** A restore point with its machine's newest one. */
export interface Chosen {
  readonly point: Point
  readonly newest: Point | null
}

export const chosenOf = (link: Link, id: string): Resource<Chosen> =>
  new Resource({
    link,
    everyMs: null,
    read: async (signal) => {
      const { point } = await link.call('points.get', { point: id }, { signal })
      const { points } = await link.call('points.list', { machine: point.machine, limit: 1 }, { signal })
      return { point, newest: points[0] ?? null }
    },
  })

/** How many bytes of disks have changed since a point; `atLeast` where it was too much to add up. */
export interface Differs {
  readonly bytes: number
  readonly atLeast: boolean
}

export const differsOf = (
  link: Link,
  { point, newest }: Chosen,
  disks: readonly string[],
): Resource<Differs | 'none'> =>
  new Resource({
    link,
    everyMs: null,
    read: async (signal) => {
      const both = disks.filter((disk) => newest?.disks.some(({ name }) => name === disk) === true)
      if (newest === null || newest.id === point.id || both.length < disks.length) return 'none'
      let [bytes, pages] = [0, 0]
      for (const disk of both)
        for (let offset: number | null = 0; offset !== null; pages += 1) {
          if (pages >= PAGES_MAX) return { bytes, atLeast: true }
          const asked = { from: newest.id, to: point.id, disk, offset, granularity: null }
          const page: Result<'points.changes'> = await link.call('points.changes', asked, { signal })
          bytes += page.changedBytes
          offset = page.next
        }
      return { bytes, atLeast: false }
    },
  })

export type Places = Result<'restores.places'>

export const placesOf = (link: Link, asked: Asked<'restores.places'>): Resource<Places> =>
  new Resource({
    link,
    everyMs: null,
    read: (signal) => link.call('restores.places', asked, { signal }),
  })

export const startRestore = (link: Link, asked: Asked<'restores.start'>): Promise<Result<'restores.start'>> =>
  link.call('restores.start', asked, { deadlineMs: 150_000 })

export const cancelRestore = (link: Link, restore: string): Promise<unknown> =>
  link.call('restores.cancel', { restore })
