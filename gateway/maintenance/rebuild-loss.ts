// What a rebuilt catalog has less of than the one that it would replace.
import { VarveError } from '../../protocol/errors.ts'
import type { OldCatalog } from '../datastore/database/old-catalog.ts'
import type { Sql } from '../datastore/database/sql.ts'

/** What the old catalog has and the new one has not; 0 where it has no less. */
export interface RebuildLoss {
  readonly tenants: number
  /** Restore points that are whole for the old catalog, and in the new one absent or without a part. */
  readonly points: number
  /** Records of the index; only of an old catalog that could be used as it is. */
  readonly records: number
}

const idsOf = (sql: Sql, text: string): Set<string> => new Set(sql.all<{ id: string }>(text).map(({ id }) => id))

/** `unusable` are restore points that the rebuild found to be lost or incomplete, `epoch` is the number beside the packs. */
export const lossOf = (
  old: OldCatalog,
  sql: Sql,
  { unusable, epoch }: { readonly unusable: ReadonlySet<string>; readonly epoch: number | null },
): RebuildLoss => {
  const tenants = idsOf(sql, 'SELECT uuid AS id FROM tenant')
  const broken = old.brokenPoints()
  const known = old.tenants()
  const points = known.flatMap(({ row }) => old.points(row).map(({ id }) => id))
  // an older copy may name what was removed since
  const usable = old.isWhole() && old.acknowledged() >= (epoch ?? 0)
  const there = sql.get<{ count: number }>('SELECT count(*) AS count FROM chunk')!.count
  return {
    tenants: known.filter(({ uuid }) => !tenants.has(uuid)).length,
    points: points.filter((id) => unusable.has(id) && !broken.has(id)).length,
    records: usable ? Math.max(0, old.recordCount() - there) : 0,
  }
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
