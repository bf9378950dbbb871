// Coverage: the state of each machine, and how a tenant stands as a whole.
import type { COVERAGE_METHODS } from '../../protocol/coverage-methods.ts'
import { MACHINE_STATES, type StateCounts } from '../../protocol/coverage.ts'
import type { Clock } from '../../protocol/peer.ts'
import * as v from 'valibot'
import type { Catalog } from '../catalog/catalog.ts'
import type { Forecasts } from '../freshness/forecasts.ts'
import type { MachineStates } from '../freshness/machine-states.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'
import { daysOf } from '../plans/days.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'coverage' | 'tenants' | 'upkeep'>
  readonly states: MachineStates
  readonly forecasts: Pick<Forecasts, 'ofTenant'>
  readonly clock: Pick<Clock, 'now'>
}

/** The place of a machine in a list: rank, deadline and name. */
const PLACE_KEY = v.strictTuple([v.number(), v.number(), v.string()])

interface Counted {
  readonly counts: StateCounts
  readonly oldest: { readonly machine: string; readonly timeMs: number } | null
}

const NONE = Object.fromEntries(MACHINE_STATES.map((state) => [state, 0])) as StateCounts

/** How many machines of a tenant are in which state, and which of those that a plan covers has the oldest newest point. */
const counted = async (states: MachineStates, tenant: string): Promise<Counted> => {
  const counts = { ...NONE }
  let oldest: Counted['oldest'] = null
  for (const { name: machine, plan, state, lastPointMs: timeMs } of (await states.roll(tenant)).byName()) {
    counts[state]++
    const expected = plan !== null && state !== 'excluded' && state !== 'archived'
    if (expected && timeMs !== null && (oldest === null || timeMs < oldest.timeMs)) oldest = { machine, timeMs }
  }
  return { counts, oldest }
}

export const coverageActions = ({
  catalog,
  states,
  forecasts,
  clock,
}: Uses): ActionsOf<keyof typeof COVERAGE_METHODS> => ({
  'coverage.list': {
    turn: 'listing',
    run: async ({ states: wanted, machine, group, plan, contains, order, after, limit }, context) => {
      const { tenant, machine: find } = context
      if (machine !== null) await find(machine)
      const list = `coverage.list ${JSON.stringify([wanted, machine, group, plan, contains, order])}`
      const behind = keyBehind(list, after, PLACE_KEY)
      const filters = { states: wanted, machine, group, plan, contains, order }
      const page = await states.list({ tenant: tenant.id, ...filters, after: behind, limit })
      return {
        machines: page.rows.map(({ one }) => states.view(tenant.id, one)),
        next: nextOf(list, page, ({ key }) => key),
      }
    },
  },

  'coverage.days': {
    turn: 'listing',
    run: async ({ days, untilDay, zone, contains, states: wanted, order, after, limit }, { tenant }) => {
      const { firstDay, bounds } = daysOf({ days, untilDay, zone }, clock.now())
      const list = `coverage.days ${JSON.stringify([wanted, contains, order])}`
      const behind = keyBehind(list, after, PLACE_KEY)
      const filters = { states: wanted, machine: null, group: null, plan: null, contains, order }
      const page = await states.list({ tenant: tenant.id, ...filters, after: behind, limit })
      const machines = page.rows.map(({ one }) => one.row.name)
      const found = await catalog.coverage.days({ tenant: tenant.id, machines, bounds })
      // those of which no more was read begin the next page
      const rows = page.rows.slice(0, found.length)
      return {
        firstDay,
        bounds: [...bounds],
        machines: rows.map(({ one: { row, is } }, index) => ({
          machine: row.name,
          state: is.state,
          cells: [...found[index]!.cells],
        })),
        next: nextOf(list, { rows, more: page.more || rows.length < page.rows.length }, ({ key }) => key),
      }
    },
  },

  'coverage.summary': {
    turn: 'listing',
    run: async (_params, { tenant }) => {
      const { counts, oldest } = await counted(states, tenant.id)
      const quota = await forecasts.ofTenant(tenant.id)
      return { counts, oldest, quota, proof: await catalog.upkeep.proof({ tenant: tenant.id }) }
    },
  },

  'coverage.tenants': {
    turn: 'listing',
    run: async ({ after, limit }) => {
      const behind = keyBehind('coverage.tenants', after, TEXT_KEY)?.[0] ?? null
      const page = pageOf(await catalog.tenants.page({ only: null, after: behind, limit: limit + 1 }), limit)
      const tenants = []
      for (const { id, name, softBytes, hardBytes } of page.rows) {
        const { counts } = await counted(states, id)
        tenants.push({ tenant: name, counts, quota: await forecasts.ofTenant(id, { softBytes, hardBytes }) })
      }
      return { tenants, next: nextOf('coverage.tenants', page, ({ name }) => [name]) }
    },
  },
})
