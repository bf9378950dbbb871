// What a collection asks of the catalog and index: its roots, the index in order of ids, sweeping, moving records, removing
// packs.
import {
  CATALOG_WAY_OUT,
  INDEX_PAGE_ROWS,
  type CollectablePack,
  type ImageRoot,
  type PackedRow,
  type UploadRoots,
} from '../collection.ts'
import { withFlags, type Flagged } from './flags.ts'
import { BUNDLE_BYTES_MAX, BUNDLE_PARTS_MAX, ID_BYTES } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { splitIds, idAt } from '../../../protocol/host/bytes.ts'
import { RECORD, RECORD_PLAIN_BYTES_MAX, shareOf } from '../../packs/format.ts'
import { checkAcceptable } from './loss.ts'
import { isDamagedDatabase } from '../../common/store-error.ts'
import { growPacks } from './packs.ts'
import { read, write, type Operations } from './operation.ts'

interface IndexRow {
  readonly id: Uint8Array
  readonly type: number
  readonly pack: number
  readonly stored: number
  readonly plain: number
  readonly parts: number
  readonly place: number
}

const TYPES: ReadonlySet<number> = new Set(Object.values(RECORD))

/** Whether a gateway can have written this row; a garbled page of the file may yield any. */
const isIndexRow = ({ id, type, pack, stored, plain, parts, place }: IndexRow): boolean =>
  id instanceof Uint8Array &&
  id.length === ID_BYTES &&
  TYPES.has(type) &&
  [pack, stored, plain, parts, place + 1].every((one) => Number.isSafeInteger(one) && one > 0) &&
  place < parts &&
  parts <= BUNDLE_PARTS_MAX &&
  stored <= (parts === 1 ? plain : BUNDLE_BYTES_MAX) &&
  plain <= RECORD_PLAIN_BYTES_MAX

const garbled = (): VarveError =>
  new VarveError('CATALOG_DAMAGED', `rows of the catalog are garbled, so nothing is removed: ${CATALOG_WAY_OUT}`)

export const collectionOperations = {
  'collection.sound': read((sql) => {
    let said: string
    try {
      said = sql.get<{ quick_check: string }>('PRAGMA quick_check(1)')!.quick_check
    } catch (error) {
      // it may be too damaged to be checked
      if (!isDamagedDatabase(error)) throw error
      said = error.message
    }
    if (said !== 'ok')
      throw new VarveError(
        'CATALOG_DAMAGED',
        `the catalog is damaged (${said}), so nothing is removed: ${CATALOG_WAY_OUT}`,
      )
  }),

  'collection.roots': read((sql, { tenant }) => {
    const images = sql
      .all<Flagged<ImageRoot>>(
        `SELECT point.id AS point, machine.name AS machine, point.time_ms AS timeMs, image.disk, image.attachment, image.size, image.root
         FROM point JOIN machine ON machine.id = point.machine JOIN image ON image.point = point.id
         WHERE point.tenant = ? ORDER BY point.time_ms, point.id, image.ordinal`,
        tenant,
      )
      .map(withFlags<ImageRoot>('attachment'))
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

  'collection.packs': read((sql, { tenant }) =>
    sql
      .all<Flagged<CollectablePack>>(
        'SELECT id, uuid, kind, bytes, sealed = 0 AS open FROM pack WHERE tenant = ? AND sealed < 2 ORDER BY id',
        tenant,
      )
      .map(withFlags<CollectablePack>('open')),
  ),

  'collection.packIds': read((sql, { tenant }) =>
    sql.all<{ id: number }>('SELECT id FROM pack WHERE tenant = ? AND sealed < 2', tenant).map(({ id }) => id),
  ),

  'collection.count': read(
    (sql, { tenant }) =>
      sql.get<{ count: number }>('SELECT count(*) AS count FROM chunk WHERE tenant = ?', tenant)!.count,
  ),

  'collection.page': read((sql, args) => {
    const rows = sql.all<IndexRow>(
      `SELECT id, type, pack, stored, plain, parts, place FROM chunk WHERE tenant = ? AND id > ? AND (? IS NULL OR id < ?)
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
      bytes: Uint32Array.from(rows, ({ stored: storedLength, parts, place }) =>
        shareOf({ storedLength, parts, place }),
      ),
      plain: Uint32Array.from(rows, ({ plain }) => plain),
    }
  }),

  'collection.sweep': write((sql, args) => {
    if (args.accepted !== undefined) checkAcceptable(sql, args.tenant, args.accepted)
    const swept = new Uint8Array(args.ids.length / ID_BYTES)
    for (let index = 0; index < swept.length; index++)
      swept[index] = sql.run('DELETE FROM chunk WHERE tenant = ? AND id = ?', args.tenant, idAt(args.ids, index))
    return swept
  }),

  'collection.named': read((sql, args) =>
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

  'collection.move': write((sql, args) => {
    growPacks(sql, args.packs)
    let moved = 0
    for (const [index, { fromOffset, pack, offset, storedLength, codec, parts, place }] of args.moves.entries())
      moved += sql.run(
        `UPDATE chunk SET pack = ?, offset = ?, stored = ?, codec = ?, parts = ?, place = ?
         WHERE tenant = ? AND id = ? AND pack = ? AND offset = ?`,
        pack,
        offset,
        storedLength,
        codec,
        parts,
        place,
        args.tenant,
        idAt(args.ids, index),
        args.pack,
        fromOffset,
      )
    return moved
  }),

  'collection.rowsOf': read((sql, args) =>
    sql.all<PackedRow>('SELECT id, type, offset FROM chunk WHERE tenant = ? AND pack = ?', args.tenant, args.pack),
  ),

  'packs.doom': write((sql, { ids }) =>
    ids.filter(
      (id) =>
        sql.run(
          `UPDATE pack SET sealed = 2 WHERE id = ? AND sealed = 1
           AND NOT EXISTS (SELECT 1 FROM damage WHERE damage.tenant = pack.tenant AND damage.pack = pack.uuid)`,
          id,
        ) === 1,
    ),
  ),

  'packs.spare': write((sql, { id }) => {
    sql.run('UPDATE pack SET sealed = 1 WHERE id = ? AND sealed = 2', id)
  }),

  'packs.doomed': read((sql, { tenant }) =>
    sql.all<{ id: number; uuid: string }>('SELECT id, uuid FROM pack WHERE tenant = ? AND sealed = 2', tenant),
  ),

  'packs.removed': write((sql, { id }) => {
    sql.run('DELETE FROM pack WHERE id = ? AND sealed = 2', id)
  }),
} satisfies Partial<Operations>
