// Coverage: the state of each machine, and how a tenant stands as a whole.
import type { COVERAGE_METHODS } from '../../protocol/coverage-methods.ts'
import { MACHINE_STATES, type StateCounts } from '../../protocol/coverage.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { lastProofOf, type Forecasts } from '../freshness/forecasts.ts'
import type { MachineStates } from '../freshness/machine-states.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'tenants' | 'upkeep'>
  readonly states: MachineStates
  readonly forecasts: Pick<Forecasts, 'ofTenant'>
}

interface Counted {
  readonly counts: StateCounts
  readonly oldest: { readonly machine: string; readonly timeMs: number } | null
}

const NONE = Object.fromEntries(MACHINE_STATES.map((state) => [state, 0])) as StateCounts

/** How many machines of a tenant are in which state, and which of those that a plan covers has the oldest newest point. */
const counted = async (states: MachineStates, tenant: string): Promise<Counted> => {
  const counts = { ...NONE }
  let oldest: Counted['oldest'] = null
  for await (const page of states.all(tenant))
    for (const { row, is } of page) {
      counts[is.state]++
      const timeMs = row.lastPoint?.timeMs ?? null
      const expected = row.plan !== null && is.state !== 'excluded' && is.state !== 'archived'
      if (expected && timeMs !== null && (oldest === null || timeMs < oldest.timeMs))
        oldest = { machine: row.name, timeMs }
    }
  return { counts, oldest }
}

export const coverageActions = ({ catalog, states, forecasts }: Uses): ActionsOf<keyof typeof COVERAGE_METHODS> => ({
  'coverage.list': {
    turn: 'listing',
    run: async ({ states: wanted, machine, group, plan, after, limit }, { tenant, machine: find }) => {
      if (machine !== null) await find(machine)
      const list = `coverage.list ${wanted?.join(' ') ?? ''} ${machine ?? ''} ${group ?? ''} ${plan ?? ''}`
      const behind = keyBehind(list, after, TEXT_KEY)?.[0] ?? null
      const asked = { tenant: tenant.id, states: wanted, machine, group, plan, after: behind, limit }
      const page = await states.list(asked)
      return {
        machines: page.rows.map((row) => states.view(tenant.id, row)),
        next: nextOf(list, page, ({ row }) => [row.name]),
      }
    },
  },

  'coverage.summary': {
    turn: 'listing',
    run: async (_params, { tenant }) => {
      const { counts, oldest } = await counted(states, tenant.id)
      const quota = await forecasts.ofTenant(tenant.id)
      return { counts, oldest, quota, proof: await lastProofOf(catalog, tenant.id) }
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
