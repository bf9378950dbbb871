// Whether machines are protected: the counts of all, the machines as filters narrow them, and their days.
import {
  MACHINE_STATES,
  UNPROTECTED,
  type COVERAGE_ORDERS,
  type Covered,
  type MachineState,
  type StateCounts,
} from '../../../protocol/coverage.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'

/** How often the states are asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 10_000

const PAGE_ROWS = 250

/** Machines of which nothing is expected: they stand apart. */
const APART: readonly MachineState[] = ['excluded', 'archived']

/** States that a filter may name: one of them, or all that are not protected. */
export type StateFilter = MachineState | 'unprotected'

/** What narrows and orders the list. */
export interface Wanted {
  readonly state: StateFilter | null
  /** A part of the name; empty for all. */
  readonly part: string
  readonly order: (typeof COVERAGE_ORDERS)[number]
}

export const isStateFilter = (text: string | undefined): text is StateFilter =>
  text === 'unprotected' || (MACHINE_STATES as readonly (string | undefined)[]).includes(text)

/** What a name may have of a text that a person typed. */
export const namePartOf = (text: string): string => text.replace(/[^A-Za-z0-9._-]/gu, '').slice(0, 63)

/** The states of a filter; null for all. Who looks for a name finds those that stand apart too. */
export const statesOf = ({ state, part }: Pick<Wanted, 'state' | 'part'>): MachineState[] | null => {
  if (state === 'unprotected') return [...UNPROTECTED]
  if (state !== null) return [state]
  return part === '' ? MACHINE_STATES.filter((each) => !APART.includes(each)) : null
}

const sumOf = (counts: StateCounts, states: readonly MachineState[]): number =>
  states.reduce((sum, each) => sum + counts[each], 0)

/** How many machines a filter finds; null where only the gateway can tell. */
export const countOf = (counts: StateCounts, { state, part }: Pick<Wanted, 'state' | 'part'>): number | null =>
  part === '' ? sumOf(counts, statesOf({ state, part }) ?? MACHINE_STATES) : null

export interface Tally {
  readonly all: number
  /** All but those that stand apart. */
  readonly expected: number
  readonly unprotected: number
  readonly apart: number
}

export const tallyOf = (counts: StateCounts): Tally => {
  const all = sumOf(counts, MACHINE_STATES)
  const apart = sumOf(counts, APART)
  return { all, expected: all - apart, unprotected: sumOf(counts, UNPROTECTED), apart }
}

export const countsOf = (link: Link): Resource<StateCounts> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => (await link.call('coverage.summary', {}, { signal })).counts,
  })

const asked = (wanted: Wanted) => ({
  states: statesOf(wanted),
  contains: wanted.part === '' ? null : wanted.part,
  order: wanted.order,
})

export const machinesOf = (link: Link, wanted: Wanted): Pages<Covered> =>
  new Pages({
    link,
    everyMs: REFRESH_MS,
    keyOf: ({ machine }) => machine,
    read: async (after, signal) => {
      const params = { ...asked(wanted), limit: PAGE_ROWS, after }
      const { machines, next } = await link.call('coverage.list', params, { signal })
      return { rows: machines, next }
    },
  })

/** Those chosen that a whole list still has: what is out of sight is not acted on. The same set where all are there. */
export const stillThere = (
  chosen: ReadonlySet<string>,
  rows: readonly Pick<Covered, 'machine'>[],
): ReadonlySet<string> => {
  const there = new Set(rows.map(({ machine }) => machine))
  const kept = [...chosen].filter((machine) => there.has(machine))
  return kept.length === chosen.size ? chosen : new Set(kept)
}

/** Those chosen without some that were worked on. */
export const without = (chosen: ReadonlySet<string>, machines: readonly string[]): ReadonlySet<string> => {
  const worked = new Set(machines)
  return new Set([...chosen].filter((machine) => !worked.has(machine)))
}

/** Names of all machines that a filter finds. */
export const namesOf = async (link: Pick<Link, 'call'>, wanted: Wanted): Promise<string[]> => {
  const names: string[] = []
  let after: string | null = null
  do {
    const page: { machines: Covered[]; next: string | null } = await link.call('coverage.list', {
      ...asked(wanted),
      limit: PAGE_ROWS,
      after,
    })
    names.push(...page.machines.map(({ machine }) => machine))
    after = page.next
  } while (after !== null)
  return names
}
