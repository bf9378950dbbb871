// Tenants: their list and their quotas.
import type { TenantAccount } from '../catalog/tenants.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { ID_KEY_BYTES } from '../../protocol/chunk.ts'
import { FIRST_PLAN } from '../../protocol/plans.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { TENANT_METHODS, TenantView } from '../../protocol/tenant-methods.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'quotas' | 'tenants'>
  readonly clock: Clock
}

const tenantView = (row: TenantAccount): TenantView => {
  const { name, id, chunkBytes, createdMs, softBytes, hardBytes, packBytes } = row
  return { name, id, chunkBytes, createdMs, quota: { softBytes, hardBytes }, packBytes }
}

/** The time zone that this process keeps. */
const ownTimeZone = (): string => new Intl.DateTimeFormat('en').resolvedOptions().timeZone

export const tenantActions = ({ catalog, clock }: Uses): ActionsOf<keyof typeof TENANT_METHODS> => {
  /** NOT_FOUND names those that may be meant. */
  const view = async (name: string): Promise<TenantView> => {
    await catalog.tenants.named({ name })
    const [row] = await catalog.tenants.page({ only: name, after: null, limit: 1 })
    return tenantView(row!)
  }
  return {
    'tenants.list': {
      turn: 'listing',
      run: async ({ tenant, after, limit }) => {
        if (tenant !== null) return { tenants: [await view(tenant)], next: null }
        const behind = keyBehind('tenants.list', after, TEXT_KEY)?.[0] ?? null
        const rows = await catalog.tenants.page({ only: null, after: behind, limit: limit + 1 })
        const page = pageOf(rows, limit)
        return { tenants: page.rows.map(tenantView), next: nextOf('tenants.list', page, ({ name }) => [name]) }
      },
    },

    'tenants.add': {
      details: ({ chunkBytes, firstPlan }) => ({ chunkBytes, firstPlan }),
      run: async ({ tenant: name, chunkBytes, firstPlan }, { change }) => {
        const wanted = { name, id: randomUUID(), idKey: Uint8Array.from(randomBytes(ID_KEY_BYTES)), chunkBytes }
        const plan = firstPlan ? { ...FIRST_PLAN, timeZone: ownTimeZone() } : null
        const first = plan === null ? {} : { plan }
        await change((entry) => catalog.tenants.add({ ...wanted, nowMs: clock.now(), ...first }, entry))
        return { tenant: await view(name), plan }
      },
    },

    'tenants.setQuota': {
      details: ({ softBytes, hardBytes }) => ({
        ...(softBytes === undefined ? {} : { softBytes }),
        ...(hardBytes === undefined ? {} : { hardBytes }),
      }),
      run: async ({ tenant: name, ...quota }, { change }) => {
        const { id } = await catalog.tenants.named({ name })
        await change((entry) => catalog.quotas.set({ tenant: id, ...quota }, entry), { tenant: id })
        return { tenant: await view(name) }
      },
    },
  }
}
