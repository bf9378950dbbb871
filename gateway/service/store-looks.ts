// Looks at the datastore that cost little: how it has grown, how old its proofs are, and what is damaged in it.
import { DAY_MS } from '../../protocol/host/duration.ts'
import { PAGE_ROWS_MAX } from '../../protocol/limits.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Forecasts } from '../freshness/forecasts.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'

interface Uses {
  readonly clock: Clock
  readonly forecasts: Pick<Forecasts, 'ofStore' | 'ofTenant'>
  readonly catalog: Pick<Catalog, 'damage' | 'lost' | 'upkeep'>
}

export const storeLooks = ({
  clock,
  forecasts,
  catalog,
}: Uses): ActionsOf<'store.damage' | 'store.growth' | 'store.proof'> => ({
  'store.growth': {
    turn: 'listing',
    run: async ({ days }, { actor }) => {
      const tenant = actor.tenant?.id ?? null
      const today = Math.floor(clock.now() / DAY_MS)
      const samples = await catalog.upkeep.samples({ tenant, fromDay: Math.max(0, today - days + 1) })
      return {
        today,
        // a clock that was ahead for a moment has left days that are still to come
        samples: samples.filter(({ day }) => day <= today),
        quota: tenant === null ? null : await forecasts.ofTenant(tenant),
        disk: tenant === null ? await forecasts.ofStore() : null,
      }
    },
  },

  'store.proof': {
    turn: 'listing',
    run: async ({ limit }, { tenant }) => {
      const machines = await catalog.upkeep.verifiable({ tenant: tenant.id, nowMs: clock.now() })
      const rows = machines.slice(0, limit).map(({ machine, points, oldestMs }) => ({ machine, points, oldestMs }))
      return { ...(await catalog.upkeep.proof({ tenant: tenant.id })), machines: rows, machineCount: machines.length }
    },
  },

  'store.damage': {
    turn: 'listing',
    run: async ({ after, limit }, { tenant }) => {
      const behind = keyBehind('store.damage', after, TEXT_KEY)?.[0] ?? null
      const key = behind === null ? null : Uint8Array.from(Buffer.from(behind, 'hex'))
      const asked = { tenant: tenant.id, after: key, limit: limit + 1 }
      const page = pageOf(await catalog.damage.page(asked), limit)
      const lost = await catalog.lost.show({ tenant: tenant.id, point: null, disk: null, limit: PAGE_ROWS_MAX })
      const records = page.rows.map(({ key: _, ...record }) => record)
      return { records, next: nextOf('store.damage', page, ({ id }) => [id]), ...lost }
    },
  },
})
