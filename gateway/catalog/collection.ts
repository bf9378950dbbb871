// What a collection asks of the catalog and index: its roots, the index in order of ids, sweeping, moving records.
import type { PackKind, RecordLocation, RecordType } from '../packs/format.ts'
import type { None, Question, Transaction } from './call.ts'
import type { Acceptance } from './damage.ts'
import type { PackHandle } from './packs.ts'

/** Rows of one page of the index. */
export const INDEX_PAGE_ROWS = 8192

/** One disk or attachment of one restore point. */
export interface ImageRoot {
  readonly point: string
  readonly machine: string
  readonly timeMs: number
  readonly disk: string
  readonly attachment: boolean
  readonly size: number
  readonly root: Uint8Array | null
}

/** What a disk's running upload has in durable state. */
export interface UploadRoots {
  readonly size: number
  readonly baseRoot: Uint8Array | null
  readonly state: Uint8Array
}

/** Everything of a tenant that must stay reachable, as it is at one moment. */
export interface CatalogRoots {
  readonly images: readonly ImageRoot[]
  readonly uploads: readonly UploadRoots[]
  /** Ids of manifests and of the newest state's records. */
  readonly records: readonly Uint8Array[]
  /** Each restore point with its manifest. */
  readonly manifests: readonly { readonly point: string; readonly id: Uint8Array }[]
  readonly points: number
}

export interface CollectablePack {
  readonly id: PackHandle
  readonly uuid: string
  readonly kind: PackKind
  readonly bytes: number
  /** True while writers may add to it. */
  readonly open: boolean
}

/** Rows of the index in the order of their ids, in columns. */
export interface IndexPage {
  readonly ids: Uint8Array
  readonly types: Uint8Array
  /** Handles of packs. */
  readonly packs: Uint32Array
  /** What each takes of its record, in bytes. */
  readonly bytes: Uint32Array
  readonly plain: Uint32Array
}

/** Where a copied part lies now, in which record; its id is at the same index in the packed ids. */
export interface Move extends Pick<RecordLocation, 'offset' | 'storedLength' | 'codec' | 'parts' | 'place'> {
  readonly fromOffset: number
  /** The new pack. */
  readonly pack: PackHandle
}

/** A row of the index of one pack. */
export interface PackedRow {
  readonly id: Uint8Array
  readonly type: RecordType
  readonly offset: number
}

/** The way out for a catalog that cannot be relied on. */
export const CATALOG_WAY_OUT =
  'look at it with varve-gateway repair --check, then stop the gateway and build the catalog again from the packs with varve-gateway repair --rebuild'

export interface Collection {
  /** Has the engine check the whole catalog; CATALOG_DAMAGED. */
  readonly sound: Question<None, void>

  readonly roots: Question<{ tenant: string }, CatalogRoots>

  /** The tenant's packs that are not about to be removed. */
  readonly packs: Question<{ tenant: string }, CollectablePack[]>

  /** The packs that rows of the index may name. */
  readonly packIds: Question<{ tenant: string }, PackHandle[]>

  readonly count: Question<{ tenant: string }, number>

  /** The next INDEX_PAGE_ROWS rows behind `after` (null: from the beginning) and before `end` (null: to the last one). */
  readonly page: Question<{ tenant: string; after: Uint8Array | null; end: Uint8Array | null }, IndexPage>

  /**
   * Takes ids out of the index; one byte per id: 1 where it was there. POINT_HELD, NOT_FOUND unless the loss of each accepted
   * point may still be accepted.
   */
  readonly sweep: Transaction<{ tenant: string; ids: Uint8Array; accepted?: Acceptance }, Uint8Array>

  /** One byte per record of a pack: 1 where the index names it. */
  readonly named: Question<
    { tenant: string; pack: PackHandle; ids: Uint8Array; offsets: readonly number[] },
    Uint8Array
  >

  /** Points the index to copies that are synced already, with the lengths of their packs; returns how many rows it moved. */
  readonly move: Transaction<
    {
      tenant: string
      /** The pack that is left. */
      pack: PackHandle
      ids: Uint8Array
      moves: readonly Move[]
      packs: readonly { readonly id: PackHandle; readonly bytes: number; readonly sealed: boolean }[]
    },
    number
  >

  /** Rows of the index that name this pack; goes through the tenant's whole index. */
  readonly rowsOf: Question<{ tenant: string; pack: PackHandle }, PackedRow[]>
}
