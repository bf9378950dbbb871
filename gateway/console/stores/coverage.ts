// Whether machines are protected: the counts of all, and the machines as filters narrow them.
import type { Covered, MachineState, StateCounts } from '../../../protocol/coverage.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'

/** How often the states are asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 10_000

const PAGE_ROWS = 250

export const countsOf = (link: Link): Resource<StateCounts> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => (await link.call('coverage.summary', {}, { signal })).counts,
  })

export const machinesOf = (link: Link, states: readonly MachineState[] | null): Pages<Covered> =>
  new Pages({
    link,
    everyMs: REFRESH_MS,
    read: async (after, signal) => {
      const given = { states: states === null ? null : [...states], limit: PAGE_ROWS }
      const params = after === null ? given : { ...given, after }
      const { machines, next } = await link.call('coverage.list', params, { signal })
      return { rows: machines, next }
    },
  })
