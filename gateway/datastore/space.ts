// What uploads may take of the disk: the tenant's quota and the disk's reserve, asked before each append.
import type { Tenant } from '../catalog/tenants.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { BallastKeeper } from './ballast-keeper.ts'
import { PACK_HEADER_BYTES } from '../packs/format.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { DatastoreLog } from '../common/log.ts'
import { Quotas } from './quota.ts'
import type { DamagedPack } from './recovery.ts'
import { Reserve, type DiskSpace } from '../folder/reserve.ts'

/** How often quotas are read again from the catalog, in milliseconds. */
const REFRESH_INTERVAL_MS = 2000

/**
 * What a backup needs at its start besides the reserve, in bytes: one batch of chunks, or it would be refused at its first
 * append.
 */
export const ADMIT_BYTES = 4 * 1024 * 1024

/** A monotonic clock, as the wall clock may be set back. */
const nowMs = (): number => performance.now()

export interface SpaceOptions {
  /** The disk with the least room, of those that an upload writes to. */
  readonly look: () => Promise<DiskSpace>
  readonly catalog: Catalog
  readonly log: DatastoreLog
  /** Bytes of the disk that uploads leave free; 0 for none, null for the default. */
  readonly reserveBytes: number | null
  readonly ballast: BallastKeeper
}

/** Writes of restores, prune, collections and verification are not limited here: they must work when uploads cannot. */
export class Space {
  readonly quotas: Quotas
  readonly #catalog: Catalog
  readonly #log: DatastoreLog
  readonly #reserve: Reserve
  readonly #ballast: BallastKeeper

  constructor({ look, catalog, log, reserveBytes, ballast }: SpaceOptions) {
    this.#catalog = catalog
    this.#log = log
    this.quotas = new Quotas({ log, nowMs })
    this.#reserve = new Reserve({ look, bytes: reserveBytes, nowMs })
    this.#ballast = ballast
  }

  /** Starts counting from the catalog's lengths, except for packs that were found shorter. */
  async open(damaged: readonly DamagedPack[]): Promise<void> {
    const totals = await this.#catalog.packs.totals()
    const counted = new Map(totals.map(({ tenant, bytes }) => [tenant, bytes]))
    for (const { tenant, expectedBytes, foundBytes } of damaged)
      counted.set(tenant, (counted.get(tenant) ?? 0) - expectedBytes + (foundBytes ?? 0))
    this.quotas.open(counted)
    await this.refresh()
  }

  /** Reads the quotas from the catalog again; a command beside the gateway may have changed them. */
  async refresh(): Promise<void> {
    this.quotas.set(await this.#catalog.quotas.list())
  }

  /** Refreshes periodically, so that new quotas also apply to uploads under way; returns what stops it. */
  watch(clock: Clock): () => void {
    let stopped = false
    let stopTimer: (() => void) | null = null
    const next = (): void => {
      stopTimer = clock.after(REFRESH_INTERVAL_MS, () => {
        this.refresh()
          .catch((error: unknown) => {
            if (!stopped) this.#log.error({ err: error }, 'quotas cannot be read')
          })
          .finally(() => {
            if (!stopped) next()
          })
      })
    }
    next()
    return () => {
      stopped = true
      stopTimer?.()
    }
  }

  /** Whether a backup of this tenant may begin: QUOTA_EXCEEDED, STORE_FULL. */
  async admit({ id }: Tenant): Promise<void> {
    await this.refresh()
    this.quotas.check(id)
    using _taken = await this.#reserve.take(ADMIT_BYTES)
    await this.#ballast.checkNow()
  }

  /** The disk with the least room, and its reserve; STORE_FAILED. */
  room(): ReturnType<Reserve['room']> {
    return this.#reserve.room()
  }

  /** Room for one append of an upload, to be disposed of when it has ended. QUOTA_EXCEEDED, STORE_FULL, STORE_FAILED. */
  async take({ id }: Tenant, bytes: number): Promise<Disposable> {
    this.#ballast.check()
    // it may need a new pack
    const mostBytes = bytes + PACK_HEADER_BYTES
    using room = new DisposableStack()
    room.use(await this.#reserve.take(mostBytes))
    room.use(this.quotas.take(id, mostBytes))
    return room.move()
  }
}
