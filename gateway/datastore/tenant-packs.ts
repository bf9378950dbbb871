// One tenant's packs as maintenance handles them: retiring open ones, scanning, copying into new ones, removing.
import type { Tenant } from '../catalog/tenants.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { failpoint } from '../common/failpoint.ts'
import {
  parseRecord,
  parseRecordHeader,
  RECORD_HEADER_BYTES_MAX,
  recordBytes,
  type PackHeader,
  type PackKind,
  type StoredRecord,
} from '../packs/format.ts'
import type { PackPool } from '../packs/pack-pool.ts'
import { skimPack, type RecordHead } from '../packs/pack-skim.ts'
import { readPackHeader, scanPack, type PackGap, type PackRecord, type ScanOptions } from '../packs/pack-scan.ts'
import type { PackName, Packs, PackBallast } from '../packs/pack-store.ts'
import { PackWriter } from '../packs/pack-writer.ts'

/** A pack that is to be removed: its handle and its uuid. */
export interface DoomedPack {
  readonly id: number
  readonly uuid: string
}

export class TenantPacks {
  /** The ballast of the packs' file system. */
  readonly ballast: PackBallast
  readonly #tenant: Tenant
  readonly #catalog: Catalog
  readonly #store: Packs
  readonly #pool: PackPool

  constructor(options: { tenant: Tenant; catalog: Catalog; store: Packs; pool: PackPool; ballast: PackBallast }) {
    this.ballast = options.ballast
    this.#tenant = options.tenant
    this.#catalog = options.catalog
    this.#store = options.store
    this.#pool = options.pool
  }

  /** Seals the open packs that no writer holds. STORE_FULL, STORE_FAILED. */
  retire(): Promise<void> {
    return this.#pool.retire(this.#tenant)
  }

  /** Every whole record of a pack, and the gaps between them. */
  scan(pack: string, options?: ScanOptions): AsyncGenerator<PackRecord | PackGap> {
    return scanPack(this.#store, this.#name(pack), options)
  }

  /** The heads of a pack's records; see skimPack. */
  skim(pack: string, options?: Pick<ScanOptions, 'signal' | 'onRead'>): AsyncGenerator<RecordHead> {
    return skimPack(this.#store, this.#name(pack), options)
  }

  /**
   * Uuids of those of the packs whose file is there and does not begin with their own header. STORE_FAILED where one cannot be
   * read, STORE_VERSION for one of a later program.
   */
  async strange(packs: readonly { readonly uuid: string }[]): Promise<Set<string>> {
    const strange = new Set<string>()
    const look = async ({ uuid }: { readonly uuid: string }): Promise<void> => {
      try {
        await this.header(uuid)
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code === 'DATA_DAMAGED') strange.add(uuid)
        else if (error.code !== 'NOT_FOUND') throw error
      }
    }
    for (const some of this.#together(packs)) await Promise.all(some.map(look))
    return strange
  }

  /** Those of the packs that have no file; from then on reads do not find them through an open handle either. STORE_FAILED. */
  async gone<P extends { readonly uuid: string }>(packs: readonly P[]): Promise<P[]> {
    const gone: P[] = []
    for (const some of this.#together(packs)) {
      const sizes = await Promise.all(some.map(({ uuid }) => this.size(uuid)))
      gone.push(...some.filter((_, index) => sizes[index] === null))
    }
    return gone
  }

  /** Uuids of the tenant's packs that have a file. */
  async *list(): AsyncGenerator<string> {
    for await (const entry of this.#store.list(this.#tenant.id)) if ('name' in entry) yield entry.name.pack
  }

  /** Length of a pack's file in bytes, or null where there is none. */
  size(pack: string): Promise<number | null> {
    return this.#store.size(this.#name(pack))
  }

  /** A pack's header, checked against its name; DATA_DAMAGED, STORE_VERSION, NOT_FOUND. */
  header(pack: string): Promise<PackHeader> {
    return readPackHeader(this.#store, this.#name(pack))
  }

  /** The whole record at this place, its checksum checked. DATA_DAMAGED, NOT_FOUND, STORE_FAILED. */
  async record(pack: string, offset: number): Promise<StoredRecord & { readonly bytes: Uint8Array<ArrayBuffer> }> {
    const name = this.#name(pack)
    const left = Math.max(0, ((await this.#store.size(name)) ?? 0) - offset)
    const head = await this.#store.read(name, offset, Math.min(left, RECORD_HEADER_BYTES_MAX))
    const { storedLength, parts } = parseRecordHeader(head, 0)
    const bytes = await this.#store.read(name, offset, recordBytes(storedLength, parts.length))
    return { ...parseRecord(bytes, 0), bytes }
  }

  /** A writer for copies of records. */
  writer(kind: PackKind): PackWriter {
    return new PackWriter({ pool: this.#pool, tenant: this.#tenant, kind })
  }

  /** Packs that an earlier collection marked for removal and could not remove. */
  doomed(): Promise<DoomedPack[]> {
    return this.#catalog.packs.doomed({ tenant: this.#tenant.id })
  }

  /** Unmarks a pack that was marked for removal, so that its content can be relied on again. */
  async spare({ id }: DoomedPack): Promise<void> {
    await this.#catalog.packs.spare({ id })
  }

  /**
   * Removes sealed packs of which nothing is needed: they are marked in the catalog first, so that a start finishes what a crash
   * interrupted. Packs with known damage stay. STORE_FAILED where one cannot be removed, once the others are.
   */
  async remove(packs: readonly DoomedPack[]): Promise<void> {
    if (packs.length === 0) return
    failpoint('doom')
    const ids = new Set(await this.#catalog.packs.doom({ ids: packs.map(({ id }) => id) }))
    const doomed = packs.filter(({ id }) => ids.has(id))
    if (doomed.length === 0) return
    failpoint('unlink')
    const failed = await this.#store.remove(doomed.map(({ uuid }) => this.#name(uuid)))
    for (const { id, uuid } of doomed) if (!failed.has(uuid)) await this.#catalog.packs.removed({ id })
    for (const error of failed.values()) throw error
  }

  #name(pack: string): PackName {
    return { tenant: this.#tenant.id, pack }
  }

  /** Packs in batches that are handled together. */
  *#together<P>(packs: readonly P[]): Generator<readonly P[]> {
    const { concurrency } = this.#store.costs
    for (let from = 0; from < packs.length; from += concurrency) yield packs.slice(from, from + concurrency)
  }
}
