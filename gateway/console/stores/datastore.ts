// The datastore: how it grows, what it is made of, what a collection would free, how old its proofs are, and what is damaged.
import type { StoreGrowth, StoreProof } from '../../../protocol/forecast.ts'
import type { DamagedRecord, LostRange } from '../../../protocol/maintenance.ts'
import { everyRow } from '../../../protocol/paging.ts'
import type { TenantView } from '../../../protocol/tenant-methods.ts'
import type { Link } from '../net/link.ts'
import { Resource } from '../net/resource.ts'
import { Work } from './work.ts'

/** How often it is asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 60_000

/** Days that the picture of growth shows. */
export const GROWTH_DAYS = 90

/** Machines whose proofs are listed. */
const PROOFS = 50

/** The share of live bytes below which packs are rewritten, as the gateway's own collections do. */
const THRESHOLD_PERCENT = 50

/** Of a smaller datastore the parts are worked out at once when somebody looks; else a person asks, as it reads all trees. */
export const AT_ONCE_BYTES = 64 * 2 ** 30

export interface Damage {
  readonly records: readonly DamagedRecord[]
  readonly areMore: boolean
  readonly lost: readonly LostRange[]
  readonly lostCount: number
  readonly lostBytes: number
}

export const growthOf = (link: Link): Resource<StoreGrowth> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: (signal) => link.call('store.growth', { days: GROWTH_DAYS }, { signal }),
  })

export const proofOf = (link: Link): Resource<StoreProof> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: (signal) => link.call('store.proof', { limit: PROOFS }, { signal }),
  })

export const damageOf = (link: Link): Resource<Damage> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => {
      const { next, ...found } = await link.call('store.damage', {}, { signal })
      return { ...found, areMore: next !== null }
    },
  })

/** The tenants of the gateway, for the platform. */
export const tenantsOf = (link: Link): Resource<readonly TenantView[]> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: (signal) =>
      everyRow(
        (after) => link.call('tenants.list', { after }, { signal }),
        (page) => page.tenants,
      ),
  })

export const usageWork = (link: Link): Work<'store.usage'> =>
  new Work(link, 'store.usage', { machine: null, points: false })

/** What a collection would free. */
export const collectWork = (link: Link): Work<'store.collect'> =>
  new Work(link, 'store.collect', { dryRun: true, thresholdPercent: THRESHOLD_PERCENT, bytesPerSecond: null })
