// Moves damaged records of a tenant from the index to the table of damage, until their content is uploaded again.
import type { Tenant } from '../catalog/tenants.ts'
import { hex } from '../../protocol/chunk.ts'
import type { VarveError } from '../../protocol/errors.ts'
import { damageOf, type Damage } from '../packs/damage.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { failpoint } from '../common/failpoint.ts'
import { RECORD, type RecordType } from '../packs/format.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import type { DatastoreLog } from '../common/log.ts'
import type { NodeCache } from '../trees/node-cache.ts'
import { unlessFull } from '../common/store-error.ts'

/** Longest reason that is kept, in characters. */
const REASON_CHARS_MAX = 256

/** Ids of damaged records that one line of the log names. */
const IDS_LOGGED_MAX = 16

interface QuarantineOptions {
  readonly tenant: Tenant
  readonly catalog: Catalog
  readonly nodeCache: NodeCache
  readonly log: DatastoreLog
  readonly nowMs: () => number
  /** Called when the damage, or what it may touch, changed; resolves when the affected restore points are recorded. */
  readonly onDamage: () => Promise<void>
}

export class Quarantine {
  /** Attributions of damage to restore points, one at a time. */
  readonly attributions = new Queue()
  readonly #options: QuarantineOptions
  #attribution: Promise<void> = Promise.resolve()

  constructor(options: QuarantineOptions) {
    this.#options = options
  }

  /**
   * Removes records that turned out to be damaged or missing from the index, unless it has another copy by now: they count as
   * absent, and the next upload of them heals every image. Returns what was new; with `quiet` the caller asks for its
   * attribution.
   */
  async enter(damages: readonly Damage[], { quiet = false } = {}): Promise<Damage[]> {
    if (damages.length === 0) return []
    const { catalog, tenant, log, nodeCache, nowMs } = this.#options
    failpoint('index.forget')
    const records = damages.map(({ id, type, place, reason }) => ({
      id: ownBytes(id),
      type,
      place: place === null ? null : { pack: place.pack, offset: place.offset },
      reason: reason.slice(0, REASON_CHARS_MAX),
    }))
    const enter = (): Promise<ArrayLike<number>> => catalog.damage.enter({ tenant: tenant.id, nowMs: nowMs(), records })
    const entered = await unlessFull(log, 'damaged records leave the index', enter)
    // the next read finds them again
    if (entered === null) return [...damages]
    const news = damages.filter((_, index) => entered[index] === 1)
    if (news.length === 0) return []
    for (const { id } of news) nodeCache.delete(tenant.id, id)
    const named = news.slice(0, IDS_LOGGED_MAX).map(({ id }) => hex(id))
    log.error({ tenant: tenant.id, count: news.length, ids: named }, 'damaged records left the index')
    if (!quiet) void this.attribute()
    return news
  }

  /**
   * Quarantines the record that a DATA_DAMAGED names (`type` is its type if the error has none); true if that was new. Ignores
   * any other error.
   */
  async enterError(error: VarveError, type: RecordType = RECORD.chunk): Promise<boolean> {
    const damage = damageOf(error, type)
    return damage !== null && (await this.enter([damage])).length > 0
  }

  /** Attributes the known damage to restore points; resolves, never rejects, when that is recorded. */
  attribute(): Promise<void> {
    this.#attribution = this.#options.onDamage().catch(() => {})
    return this.#attribution
  }

  /** Resolves when all damage found so far is attributed. */
  attributed(): Promise<void> {
    return this.#attribution
  }
}
