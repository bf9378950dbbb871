// What a collection asks of the catalog and index: its roots, the index in order of ids, sweeping, moving records, removing packs.
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { splitIds, idAt } from '../../../protocol/host/bytes.ts'
import { RECORD, RECORD_PLAIN_BYTES_MAX, type PackKind, type RecordType } from '../../packs/format.ts'
import { checkAcceptable, type Acceptance } from './loss.ts'
import { isDamagedDatabase } from '../../common/store-error.ts'
import { growPacks } from './packs.ts'
import { read, write } from './operation.ts'
import type { Sql } from './sql.ts'

/** Rows of one page of the index. */
export const INDEX_PAGE_ROWS = 8192

/** One disk of one restore point. */
export interface ImageRoot {
  readonly point: string
  readonly machine: string
  readonly timeMs: number
  readonly disk: string
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
  readonly id: number
  readonly uuid: string
  readonly kind: PackKind
  readonly bytes: number
  /** 0 while writers may add to it. */
  readonly sealed: number
}

/** Rows of the index in the order of their ids, in columns. */
export interface IndexPage {
  readonly ids: Uint8Array
  readonly types: Uint8Array
  readonly packs: Uint32Array
  readonly stored: Uint32Array
  readonly plain: Uint32Array
}

/** Where a copied record lies now; its id is at the same index in the packed ids. */
export interface Move {
  readonly fromOffset: number
  /** Row id of the new pack. */
  readonly pack: number
  readonly offset: number
}

/** A row of the index of one pack. */
export interface PackedRow {
  readonly id: Uint8Array
  readonly type: RecordType
  readonly offset: number
}

interface IndexRow {
  readonly id: Uint8Array
  readonly type: number
  readonly pack: number
  readonly stored: number
  readonly plain: number
}

const TYPES: ReadonlySet<number> = new Set(Object.values(RECORD))

/** Whether a row can be what a gateway wrote: a page of the file that was garbled may give any. */
const isIndexRow = ({ id, type, pack, stored, plain }: IndexRow): boolean =>
  id instanceof Uint8Array &&
  id.length === ID_BYTES &&
  TYPES.has(type) &&
  [pack, stored, plain].every((one) => Number.isSafeInteger(one) && one > 0) &&
  stored <= plain &&
  plain <= RECORD_PLAIN_BYTES_MAX

/** What to do about a catalog that cannot be relied on. */
export const CATALOG_WAY_OUT =
  'look at it with varve-gateway repair --check, then stop the gateway and build the catalog again from the packs with varve-gateway repair --rebuild'

const garbled = (): VarveError =>
  new VarveError('CATALOG_DAMAGED', `rows of the catalog are garbled, so nothing is removed: ${CATALOG_WAY_OUT}`)

export const collectionOperations = {
  /** Has SQLite look through the whole catalog; CATALOG_DAMAGED. */
  'collection.sound': read((sql: Sql, _: Record<string, never>): void => {
    let said: string
    try {
      said = sql.get<{ quick_check: string }>('PRAGMA quick_check(1)')!.quick_check
    } catch (error) {
      // it may be too damaged to be looked through
      if (!isDamagedDatabase(error)) throw error
      said = error.message
    }
    if (said !== 'ok')
      throw new VarveError(
        'CATALOG_DAMAGED',
        `the catalog is damaged (${said}), so nothing is removed: ${CATALOG_WAY_OUT}`,
      )
  }),

  'collection.roots': read((sql: Sql, { tenant }: { tenant: number }): CatalogRoots => {
    const images = sql.all<ImageRoot>(
      `SELECT point.id AS point, machine.name AS machine, point.time_ms AS timeMs, image.disk, image.size, image.root
       FROM point JOIN machine ON machine.id = point.machine JOIN image ON image.point = point.id
       WHERE point.tenant = ? ORDER BY point.time_ms, point.id, image.ordinal`,
      tenant,
    )
    const uploads = sql.all<UploadRoots>(
      `SELECT upload.size, upload.base_root AS baseRoot, upload.state
       FROM job JOIN upload ON upload.job = job.id WHERE job.tenant = ? AND job.ended_ms IS NULL`,
      tenant,
    )
    const manifests = sql.all<{ point: string; id: Uint8Array }>(
      'SELECT id AS point, manifest AS id FROM point WHERE tenant = ?',
      tenant,
    )
    const state = sql.get<{ ids: Uint8Array | null }>('SELECT state_id AS ids FROM tenant WHERE id = ?', tenant)?.ids
    const records = [...manifests.map(({ id }) => id), ...splitIds(state ?? new Uint8Array(0))]
    const ids = [...records, ...images.map(({ root }) => root), ...uploads.map(({ baseRoot }) => baseRoot)]
    if (ids.some((id) => id !== null && id.length !== ID_BYTES)) throw garbled()
    return { images, uploads, records, manifests, points: manifests.length }
  }),

  /** The tenant's packs that are not about to be removed. */
  'collection.packs': read((sql: Sql, { tenant }: { tenant: number }): CollectablePack[] =>
    sql.all<CollectablePack>(
      'SELECT id, uuid, kind, bytes, sealed FROM pack WHERE tenant = ? AND sealed < 2 ORDER BY id',
      tenant,
    ),
  ),

  /** Row ids of the packs that rows of the index may name. */
  'collection.packIds': read((sql: Sql, { tenant }: { tenant: number }): number[] =>
    sql.all<{ id: number }>('SELECT id FROM pack WHERE tenant = ? AND sealed < 2', tenant).map(({ id }) => id),
  ),

  'collection.count': read(
    (sql: Sql, { tenant }: { tenant: number }): number =>
      sql.get<{ count: number }>('SELECT count(*) AS count FROM chunk WHERE tenant = ?', tenant)!.count,
  ),

  /** The next INDEX_PAGE_ROWS rows behind `after` (null: from the beginning) and before `end` (null: to the last one). */
  'collection.page': read(
    (sql: Sql, args: { tenant: number; after: Uint8Array | null; end: Uint8Array | null }): IndexPage => {
      const rows = sql.all<IndexRow>(
        `SELECT id, type, pack, stored, plain FROM chunk WHERE tenant = ? AND id > ? AND (? IS NULL OR id < ?)
         ORDER BY id LIMIT ?`,
        args.tenant,
        args.after ?? new Uint8Array(0),
        args.end,
        args.end,
        INDEX_PAGE_ROWS,
      )
      if (!rows.every(isIndexRow)) throw garbled()
      const ids = new Uint8Array(rows.length * ID_BYTES)
      for (const [index, { id }] of rows.entries()) ids.set(id, index * ID_BYTES)
      return {
        ids,
        types: Uint8Array.from(rows, ({ type }) => type),
        packs: Uint32Array.from(rows, ({ pack }) => pack),
        stored: Uint32Array.from(rows, ({ stored }) => stored),
        plain: Uint32Array.from(rows, ({ plain }) => plain),
      }
    },
  ),

  /** Takes ids out of the index; one byte per id: 1 where it was there. POINT_HELD, NOT_FOUND unless the loss of each accepted point may still be accepted. */
  'collection.sweep': write(
    (sql: Sql, args: { tenant: number; ids: Uint8Array; accepted?: Acceptance }): Uint8Array => {
      if (args.accepted !== undefined) checkAcceptable(sql, args.tenant, args.accepted)
      const swept = new Uint8Array(args.ids.length / ID_BYTES)
      for (let index = 0; index < swept.length; index++)
        swept[index] = sql.run('DELETE FROM chunk WHERE tenant = ? AND id = ?', args.tenant, idAt(args.ids, index))
      return swept
    },
  ),

  /** One byte per record of a pack: 1 where the index names it. */
  'collection.named': read(
    (sql: Sql, args: { tenant: number; pack: number; ids: Uint8Array; offsets: readonly number[] }): Uint8Array =>
      Uint8Array.from(args.offsets, (offset, index) =>
        sql.get(
          'SELECT 1 FROM chunk WHERE tenant = ? AND id = ? AND pack = ? AND offset = ?',
          args.tenant,
          idAt(args.ids, index),
          args.pack,
          offset,
        ) === undefined
          ? 0
          : 1,
      ),
  ),

  /** Points the index to copies that are synced already, with the lengths of their packs; returns how many rows it moved. */
  'collection.move': write(
    (
      sql: Sql,
      args: {
        tenant: number
        /** Row id of the pack that is left. */
        pack: number
        ids: Uint8Array
        moves: readonly Move[]
        packs: readonly { readonly id: number; readonly bytes: number; readonly sealed: boolean }[]
      },
    ): number => {
      growPacks(sql, args.packs)
      let moved = 0
      for (const [index, { fromOffset, pack, offset }] of args.moves.entries())
        moved += sql.run(
          'UPDATE chunk SET pack = ?, offset = ? WHERE tenant = ? AND id = ? AND pack = ? AND offset = ?',
          pack,
          offset,
          args.tenant,
          idAt(args.ids, index),
          args.pack,
          fromOffset,
        )
      return moved
    },
  ),

  /** Rows of the index that name this pack; goes through the tenant's whole index. */
  'collection.rowsOf': read((sql: Sql, args: { tenant: number; pack: number }): PackedRow[] =>
    sql.all<PackedRow>('SELECT id, type, offset FROM chunk WHERE tenant = ? AND pack = ?', args.tenant, args.pack),
  ),

  /** Marks sealed packs for removal, unless known damage lies in them, and gives those that are: a start that finds them so marked finishes it. */
  'packs.doom': write((sql: Sql, { ids }: { ids: readonly number[] }): number[] =>
    ids.filter(
      (id) =>
        sql.run(
          `UPDATE pack SET sealed = 2 WHERE id = ? AND sealed = 1
           AND NOT EXISTS (SELECT 1 FROM damage WHERE damage.tenant = pack.tenant AND damage.pack = pack.uuid)`,
          id,
        ) === 1,
    ),
  ),

  /** Takes back that a pack is marked for removal. */
  'packs.spare': write((sql: Sql, { id }: { id: number }): void => {
    sql.run('UPDATE pack SET sealed = 1 WHERE id = ? AND sealed = 2', id)
  }),

  /** The tenant's packs that are marked for removal. */
  'packs.doomed': read((sql: Sql, { tenant }: { tenant: number }): { id: number; uuid: string }[] =>
    sql.all<{ id: number; uuid: string }>('SELECT id, uuid FROM pack WHERE tenant = ? AND sealed = 2', tenant),
  ),

  /** Removes the row of a doomed pack whose file is gone. */
  'packs.removed': write((sql: Sql, { id }: { id: number }): void => {
    sql.run('DELETE FROM pack WHERE id = ? AND sealed = 2', id)
  }),
}
