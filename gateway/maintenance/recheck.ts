// Checks damage again before relying on it: records that read whole again return to the index.
import type { DamagedPlace, RestoredRecord } from '../catalog/damage.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { WholeRecords } from '../datastore/whole-record.ts'
import type { MaintenanceContext } from './context.ts'

/** Damaged records of one page. */
const PAGE_ROWS = 1024

/**
 * Reads every quarantined record again at its place and returns whole ones to the index; their number. A disk, a
 * cable or memory may have been at fault, or a file system away: a collection must not remove for good what can be read.
 * STORE_FAILED when a place cannot be read.
 */
export const recheck = async ({ datastore, tenant, log, signal }: MaintenanceContext): Promise<number> => {
  const { catalog } = datastore
  const records = new WholeRecords(tenant, datastore.tenantStore(tenant).packs)
  const gone = new Set<string>()
  const read = async ({ id, type, pack, offset }: DamagedPlace): Promise<RestoredRecord | null> => {
    if (gone.has(pack)) return null
    try {
      const record = await records.read(id, pack, offset)
      return record?.type === type ? record : null
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'STORE_FAILED') throw error
      if (error.code === 'NOT_FOUND') gone.add(pack)
      return null
    }
  }
  let restored = 0
  for (let after: Uint8Array | null = null; ;) {
    signal.throwIfAborted()
    const page: DamagedPlace[] = await catalog.damage.places({ tenant: tenant.id, after, limit: PAGE_ROWS })
    if (page.length === 0) break
    const whole: RestoredRecord[] = []
    for (const place of page) {
      const record = await read(place)
      if (record !== null) whole.push(record)
    }
    restored += await catalog.damage.restore({ tenant: tenant.id, records: whole })
    after = page.at(-1)!.id
  }
  if (restored > 0) log.warn({ tenant: tenant.id, records: restored }, 'records in quarantine read whole again')
  return restored
}
