// Upkeep of the datastore: collection, verification, accounting and checks.
import { REPORT_ROWS_MAX } from '../../protocol/maintenance.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { UPKEEP_METHODS } from '../../protocol/upkeep-methods.ts'
import type { Audit } from '../auth/audit.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Forecasts } from '../freshness/forecasts.ts'
import { folderProblems } from '../maintenance/folder-check.ts'
import type { Maintenance } from '../maintenance/maintenance.ts'
import type { ByHand } from '../scheduler/by-hand.ts'
import { collectNoted } from '../scheduler/collect-noted.ts'
import { collectSummary, verifySummary } from '../scheduler/upkeep-words.ts'
import type { ActionsOf } from './action.ts'
import { storeLooks } from './store-looks.ts'

interface Uses {
  readonly maintenance: Pick<Maintenance, 'run'>
  readonly audit: Pick<Audit, 'record'>
  /** The data folder. */
  readonly folder: string
  readonly clock: Clock
  readonly forecasts: Pick<Forecasts, 'ofStore' | 'ofTenant'>
  readonly catalog: Pick<Catalog, 'damage' | 'lost' | 'upkeep'>
  readonly byHand: Pick<ByHand, 'run'>
}

export const upkeepActions = ({
  maintenance,
  audit,
  folder,
  clock,
  forecasts,
  catalog,
  byHand,
}: Uses): ActionsOf<keyof typeof UPKEEP_METHODS> => ({
  'store.collect': {
    details: ({ dryRun, thresholdPercent, bytesPerSecond, acceptLoss }) => ({
      dryRun,
      thresholdPercent,
      bytesPerSecond,
      ...(acceptLoss === undefined ? {} : { acceptLoss: acceptLoss.length }),
    }),
    run: async (params, { actor: { subject, role, address }, tenant, call }) => {
      const { dryRun, acceptLoss = [] } = params
      const about = { tenant: tenant.id, subject, role, action: 'points.acceptLoss', outcome: 'asked' }
      // before anything may be removed
      for (const point of dryRun ? [] : acceptLoss)
        await audit.record({ ...about, timeMs: clock.now(), resource: `point=${point}`, details: { address } })
      if (dryRun) return maintenance.run('store.collect', tenant, params, call)
      return byHand.run(
        { kind: 'collect', tenant: tenant.id, subject },
        (begins) =>
          collectNoted({ catalog, clock }, tenant.id, () =>
            maintenance.run('store.collect', tenant, params, call, { begins }),
          ),
        collectSummary,
      )
    },
  },

  'store.verify': {
    details: ({ olderThanDays, bytesPerSecond }) => ({ olderThanDays, bytesPerSecond }),
    run: (params, { actor: { subject }, tenant, call }) =>
      byHand.run(
        { kind: 'verify', tenant: tenant.id, subject },
        (begins) => maintenance.run('store.verify', tenant, params, call, { begins }),
        verifySummary,
      ),
  },

  'store.check': {
    details: ({ bytesPerSecond }) => ({ bytesPerSecond }),
    run: (params, { tenant, call }) => maintenance.run('store.check', tenant, params, call),
  },

  'store.usage': {
    run: (params, { tenant, call }) => maintenance.run('store.usage', tenant, params, call),
  },

  ...storeLooks({ clock, forecasts, catalog }),

  'store.forecast': { run: () => forecasts.ofStore() },

  'store.checkFolder': {
    run: async () => ({ problems: (await folderProblems(folder)).slice(0, REPORT_ROWS_MAX) }),
  },
})
