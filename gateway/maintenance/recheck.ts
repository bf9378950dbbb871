// A second look at damage before anything is built on it: what reads whole again goes back into the index.
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { nodeKey } from '../../protocol/image-tree.ts'
import type { DamagedPlace, RestoredRecord } from '../datastore/database/damage.ts'
import { RECORD } from '../datastore/format.ts'
import { keyedHash } from '../datastore/keyed-hash.ts'
import { manifestKey } from '../datastore/manifest.ts'
import { stateKey } from '../datastore/state-record.ts'
import { decode } from '../datastore/verify.ts'
import type { MaintenanceContext } from './context.ts'

/** Damaged records of one page. */
const PAGE_ROWS = 1024

/**
 * Reads every record in quarantine again where it lay and lets those that are whole back into the index; their number. A disk, a cable or memory
 * may have been at fault, or a file system away: a collection must not remove for good what can be read. STORE_FAILED when a place cannot be read.
 */
export const recheck = async ({ datastore, tenant, log, signal }: MaintenanceContext): Promise<number> => {
  const { database } = datastore
  const { packs } = datastore.tenantStore(tenant)
  const gone = new Set<string>()
  const keys = {
    [RECORD.chunk]: tenant.idKey,
    [RECORD.node]: nodeKey(keyedHash, tenant.idKey),
    [RECORD.manifest]: manifestKey(tenant.idKey),
    [RECORD.state]: stateKey(tenant.idKey),
  }
  const read = async ({ id, type, pack, offset }: DamagedPlace): Promise<RestoredRecord | null> => {
    if (gone.has(pack)) return null
    try {
      const { codec, plainLength, storedLength, stored, type: found } = await packs.record(pack, offset, id)
      const plain = decode(codec, stored, plainLength)
      if (found !== type || !equalBytes(keyedHash(keys[type], plain), id)) return null
      return { id, type, pack, offset, codec, plainLength, storedLength }
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
    const page: DamagedPlace[] = await database.call('damage.places', { tenant: tenant.id, after, limit: PAGE_ROWS })
    if (page.length === 0) break
    const whole: RestoredRecord[] = []
    for (const place of page) {
      const record = await read(place)
      if (record !== null) whole.push(record)
    }
    restored += await database.call('damage.restore', { tenant: tenant.id, records: whole })
    after = page.at(-1)!.id
  }
  if (restored > 0) log.warn({ tenant: tenant.uuid, records: restored }, 'records in quarantine read whole again')
  return restored
}
