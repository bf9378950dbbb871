// What was on each day of machines, and the restore points of one of those days.
import type { MachineDays } from '../../../protocol/coverage-days.ts'
import { signal, type ReadonlySignal } from '@preact/signals'
import type { Result } from '../../../protocol/methods.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'
import { statesOf, type Wanted } from './coverage.ts'

/** How often the calendar is asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 30_000

const PAGE_ROWS = 60

/** Points of a machine that are looked through for those of a day. */
const LOOKED_MAX = 5000

export interface DaysWanted extends Wanted {
  readonly days: number
  /** Null for today. */
  readonly untilDay: string | null
  readonly zone: string
}

/** The days that were answered. */
export interface Span {
  readonly firstDay: string
  readonly bounds: readonly number[]
}

export class Calendar {
  readonly #span = signal<Span | null>(null)
  readonly rows: Pages<MachineDays>

  constructor(link: Link, wanted: DaysWanted) {
    const { days, untilDay, zone, part, order } = wanted
    this.rows = new Pages({
      link,
      everyMs: REFRESH_MS,
      keyOf: ({ machine }) => machine,
      read: async (after, signal) => {
        const params = { days, untilDay, zone, order, states: statesOf(wanted), contains: part === '' ? null : part }
        const page = await link.call('coverage.days', { ...params, after, limit: PAGE_ROWS }, { signal })
        this.#span.value = { firstDay: page.firstDay, bounds: page.bounds }
        return { rows: page.machines, next: page.next }
      },
    })
  }

  /** Null before the first page. */
  get span(): ReadonlySignal<Span | null> {
    return this.#span
  }
}

export type Point = Result<'points.list'>['points'][number]

/** Restore points of a machine from one instant until another, newest first. */
export const pointsBetween = (link: Link, machine: string, fromMs: number, untilMs: number): Resource<Point[]> =>
  new Resource({
    link,
    everyMs: null,
    read: async (signal) => {
      const found: Point[] = []
      let looked = 0
      let after: string | null = null
      do {
        const page: Result<'points.list'> = await link.call('points.list', { machine, after }, { signal })
        found.push(...page.points.filter(({ timeMs }) => timeMs >= fromMs && timeMs < untilMs))
        looked += page.points.length
        const last = page.points.at(-1)
        after = last === undefined || last.timeMs < fromMs || looked >= LOOKED_MAX ? null : page.next
      } while (after !== null)
      return found
    },
  })
