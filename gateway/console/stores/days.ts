// What was on each day of machines, and the restore points of one of those days.
import type { MachineDays } from '../../../protocol/coverage-days.ts'
import { computed, type ReadonlySignal } from '@preact/signals'
import type { Result } from '../../../protocol/methods.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'
import { statesOf, type Wanted } from './coverage.ts'

/** How often the calendar is asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 30_000

const PAGE_ROWS = 60

/** Points of a machine that are looked through for those of a day. */
export const LOOKED_MAX = 5000

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

/** The days of a machine, with which days these are. */
export interface DaysRow extends MachineDays {
  readonly span: Span
}

export class Calendar {
  readonly rows: Pages<DaysRow>
  /** Of all rows, which change together with it; null before the first row. */
  readonly span: ReadonlySignal<Span | null>

  constructor(link: Link, wanted: DaysWanted) {
    const { days, untilDay, zone, part, order } = wanted
    /** Of the first page of each walk through them. */
    const begun = new WeakMap<AbortSignal, Span>()
    const rows: Pages<DaysRow> = new Pages({
      link,
      everyMs: REFRESH_MS,
      keyOf: ({ machine }) => machine,
      read: async (after, signal) => {
        const params = { days, untilDay, zone, order, states: statesOf(wanted), contains: part === '' ? null : part }
        const page = await link.call('coverage.days', { ...params, after, limit: PAGE_ROWS }, { signal })
        const span = { firstDay: page.firstDay, bounds: page.bounds }
        if (after === null) begun.set(signal, span)
        const firstDay = (begun.get(signal) ?? rows.rows.value?.[0]?.span ?? span).firstDay
        if (firstDay !== span.firstDay) {
          // past midnight rows of both days would stand in one table: all of them are read anew, in place of this walk
          if (!signal.aborted) void rows.refresh()
          return { rows: [], next: null }
        }
        return { rows: page.machines.map((machine) => ({ ...machine, span })), next: page.next }
      },
    })
    this.rows = rows
    this.span = computed(() => rows.rows.value?.[0]?.span ?? null)
  }
}

export type Point = Result<'points.list'>['points'][number]

export interface DayPoints {
  /** Newest first. */
  readonly points: readonly Point[]
  /** Whether there may be more: too many newer ones were looked through. */
  readonly isCut: boolean
}

/** Restore points of a machine from one instant until another. */
export const pointsBetween = (link: Link, machine: string, fromMs: number, untilMs: number): Resource<DayPoints> =>
  new Resource({
    link,
    everyMs: null,
    read: async (signal) => {
      const found: Point[] = []
      let looked = 0
      let after: string | null = null
      let isCut = false
      do {
        const page: Result<'points.list'> = await link.call('points.list', { machine, after }, { signal })
        found.push(...page.points.filter(({ timeMs }) => timeMs >= fromMs && timeMs < untilMs))
        looked += page.points.length
        const last = page.points.at(-1)
        after = last === undefined || last.timeMs < fromMs ? null : page.next
        isCut = after !== null && looked >= LOOKED_MAX
      } while (after !== null && !isCut)
      return { points: found, isCut }
    },
  })
