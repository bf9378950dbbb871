// Proves, before a pack is removed for good, that nothing in it is needed; records that only this pack has return to the index.
import type { RestoredRecord } from '../catalog/damage.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { damageOf } from '../packs/damage.ts'
import type { RecordLocation } from '../packs/format.ts'
import type { Throttle } from '../../protocol/host/throttle.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import type { RecordHead } from '../packs/pack-skim.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { WholeRecords } from '../datastore/whole-record.ts'
import type { MaintenanceContext } from './context.ts'

/** Records that are looked up at once. */
const BATCH_RECORDS = 1024

/** Other copies that are read at once: the largest fit what one call may read. */
const COPIES_AT_ONCE = 16

export class PackProof {
  readonly #context: MaintenanceContext
  readonly #store: TenantStore
  readonly #throttle: Throttle
  readonly #records: WholeRecords

  constructor(context: MaintenanceContext, throttle: Throttle) {
    this.#context = context
    this.#store = context.datastore.tenantStore(context.tenant)
    this.#throttle = throttle
    this.#records = new WholeRecords(context.tenant, this.#store.packs)
  }

  /** True where the index names nothing in the pack, and nothing of it had to go back there. STORE_FAILED. */
  async isFree(pack: string): Promise<boolean> {
    const { signal } = this.#context
    const onRead = (bytes: number): Promise<void> => this.#throttle.take(bytes, signal)
    let named = 0
    let batch: RecordHead[] = []
    const look = async (): Promise<void> => {
      named += await this.look(pack, batch)
      batch = []
    }
    // a pack without a file holds nothing to remove
    if ((await this.#store.packs.size(pack)) === null) return true
    for await (const head of this.#store.packs.skim(pack, { signal, onRead }))
      if (batch.push(head) >= BATCH_RECORDS) await look()
    await look()
    return named === 0
  }

  /**
   * Compares records of a pack with what the index says of them, and returns records to the index that count as damaged, or whose
   * other copy in the index is not whole; the number of those that it names here.
   */
  async look(pack: string, heads: readonly RecordHead[]): Promise<number> {
    if (heads.length === 0) return 0
    const { datastore, tenant, log } = this.#context
    const locations = await this.#store.locate(heads.map(({ id }) => id))
    const isHere = ({ offset }: RecordHead, at: RecordLocation): boolean => at.pack === pack && at.offset === offset
    const here = heads.filter((head, index) => locations[index] && isHere(head, locations[index]))
    const elsewhere = heads.filter((head, index) => locations[index] && !isHere(head, locations[index]))
    const nowhere = heads.filter((_, index) => !locations[index])
    const wanted = [...(await this.#damaged(nowhere)), ...(await this.#badElsewhere(elsewhere))]
    const found: RestoredRecord[] = []
    for (const { id, offset } of wanted) {
      const record = await this.#read(id, pack, offset)
      if (record !== null) found.push(record)
    }
    if (found.length === 0) return here.length
    const restored = await datastore.catalog.damage.restore({ tenant: tenant.id, records: found })
    log.warn({ tenant: tenant.id, pack, records: restored }, 'records that the index lacked were found in a pack')
    return here.length + restored
  }

  /** Those of the records that are known to be damaged: this may be a good copy. */
  async #damaged(heads: readonly RecordHead[]): Promise<RecordHead[]> {
    if (heads.length === 0) return []
    const { datastore, tenant } = this.#context
    const ids = joinIds(heads.map(({ id }) => id))
    const known = await datastore.catalog.damage.known({ tenant: tenant.id, ids })
    return heads.filter((_, index) => known[index] === 1)
  }

  /** Those whose copy named by the index is not whole; that copy is quarantined. */
  async #badElsewhere(heads: readonly RecordHead[]): Promise<RecordHead[]> {
    const bad: RecordHead[] = []
    for (let from = 0; from < heads.length; from += COPIES_AT_ONCE) {
      const some = heads.slice(from, from + COPIES_AT_ONCE)
      for (const [index, error] of await this.#store.badRecords(some.map(({ id }) => id))) {
        const damage = damageOf(error)
        if (damage !== null) await this.#store.quarantine.enter([damage])
        bad.push(some[index]!)
      }
    }
    return bad
  }

  async #read(id: Uint8Array, pack: string, offset: number): Promise<RestoredRecord | null> {
    try {
      return await this.#records.read(id, pack, offset)
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'STORE_FAILED') throw error
      return null
    }
  }
}
