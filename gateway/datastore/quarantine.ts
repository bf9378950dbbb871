// Where damaged records of a tenant go: out of the index, into the table of damage, until their content comes again.
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
  /** Told when what is damaged, or what it may touch, changed; resolves when the restore points that it touches are written down. */
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
   * Lets go of records that turned out to be damaged or missing, unless the index has another copy by now: they count as absent, and what is uploaded next
   * in their place heals every image. Returns what was news; with `quiet` its attribution is the caller's to ask for.
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
    // whoever reads them again finds them again
    if (entered === null) return [...damages]
    const news = damages.filter((_, index) => entered[index] === 1)
    if (news.length === 0) return []
    for (const { id } of news) nodeCache.delete(tenant.id, id)
    const named = news.slice(0, IDS_LOGGED_MAX).map(({ id }) => hex(id))
    log.error({ tenant: tenant.id, count: news.length, ids: named }, 'damaged records left the index')
    if (!quiet) void this.attribute()
    return news
  }

  /** Lets go of the record that a DATA_DAMAGED names, of type `type` where that does not say; true when that was news. Any other error is left alone. */
  async enterError(error: VarveError, type: RecordType = RECORD.chunk): Promise<boolean> {
    const damage = damageOf(error, type)
    return damage !== null && (await this.enter([damage])).length > 0
  }

  /** Has it found out which restore points the known damage touches; resolves, never rejects, when that is written down. */
  attribute(): Promise<void> {
    this.#attribution = this.#options.onDamage().catch(() => {})
    return this.#attribution
  }

  /** Resolves when no damage that was found so far waits to be attributed. */
  attributed(): Promise<void> {
    return this.#attribution
  }
}
