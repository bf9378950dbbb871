// What a rebuilt catalog would lose compared with the one that it replaces.
import { VarveError } from '../../protocol/errors.ts'
import type { OldCatalog, OldPack, OldRecord } from '../catalog/sqlite/old-catalog.ts'
import type { Sql } from '../catalog/sqlite/sql.ts'
import type { RebuildReport } from './rebuild-report.ts'

/** What the old catalog has and the new one lacks; 0 for no loss. */
export interface RebuildLoss {
  readonly tenants: number
  /** Restore points that are whole for the old catalog, and in the new one absent or without a part. */
  readonly points: number
  /**
   * Records of an old catalog that could be used as it is, in packs, or parts of packs, that were not read now. For the packs
   * that were read, the packs are right and rows of the index may be wrong.
   */
  readonly records: number
}

const idsOf = (sql: Sql, text: string): Set<string> => new Set(sql.all<{ id: string }>(text).map(({ id }) => id))

/** Records of the old index in what was not read of its packs. */
const unreadRecords = function* (old: OldCatalog, read: RebuildReport['read']): Generator<OldRecord> {
  const isWhole = ({ uuid, bytes }: OldPack): boolean => {
    const found = read.get(uuid)
    return found !== undefined && found.bytes >= bytes && found.gaps.length === 0
  }
  // usually all were: then single records need no look
  if (old.packs().every(isWhole)) return
  for (const record of old.records()) {
    const found = read.get(record.pack)
    const isIn = (gap: { offset: number; length: number }): boolean =>
      record.offset >= gap.offset && record.offset < gap.offset + gap.length
    if (found === undefined || record.offset >= found.bytes || found.gaps.some(isIn)) yield record
  }
}

const countAbsent = (sql: Sql, records: Iterable<OldRecord>): number => {
  const text = 'SELECT 1 FROM chunk WHERE tenant = (SELECT id FROM tenant WHERE uuid = ?) AND id = ?'
  let absent = 0
  for (const { tenant, id } of records) if (sql.get(text, tenant, id) === undefined) absent++
  return absent
}

/** `epoch` is the number beside the packs. */
export const lossOf = (
  old: OldCatalog,
  sql: Sql,
  { unusable, read }: Pick<RebuildReport, 'unusable' | 'read'>,
  epoch: number | null,
): RebuildLoss => {
  const tenants = idsOf(sql, 'SELECT uuid AS id FROM tenant')
  const broken = old.brokenPoints()
  const known = old.tenants()
  const points = known.flatMap(({ row }) => old.points(row).map(({ id }) => id))
  // an older copy may name what was removed since
  const usable = old.isWhole() && old.acknowledged() >= (epoch ?? 0)
  return {
    tenants: known.filter(({ id }) => !tenants.has(id)).length,
    points: points.filter((id) => unusable.has(id) && !broken.has(id)).length,
    records: usable ? countAbsent(sql, unreadRecords(old, read)) : 0,
  }
}

/**
 * REBUILD_LOSES where neither packs nor an old catalog gave a tenant, though changes were acknowledged: no tenant is ever
 * removed.
 */
export const refuseNothing = ({ tenants }: Pick<RebuildReport, 'tenants'>, epoch: number | null): void => {
  if (tenants > 0 || epoch === null || epoch === 0) return
  throw new VarveError(
    'REBUILD_LOSES',
    `the folder of packs has seen ${epoch} acknowledged changes, and neither packs nor an old catalog name a tenant now. ` +
      'Nothing was changed. Look whether all packs are there, or put a copy of catalog.db back; to begin anew: varve-gateway repair --rebuild --accept-loss',
    { details: { tenants: 1, points: 0, records: 0 } },
  )
}

/** REBUILD_LOSES where the new catalog has less than the old one. */
export const refuseLoss = ({ tenants, points, records }: RebuildLoss): void => {
  if (tenants + points + records === 0) return
  throw new VarveError(
    'REBUILD_LOSES',
    `the catalog in place has more than the packs give now: ${tenants} tenants, ${points} whole restore points and ${records} records would be missing. ` +
      'Nothing was changed. Look whether all packs are there and can be read (is a disk not mounted?); to go on with what there is: varve-gateway repair --rebuild --accept-loss',
    { details: { tenants, points, records } },
  )
}
