// Whether what a survey found dead may be removed: only if everything needed was walked and found, or a person accepted the loss
// of named points.
import type { Acceptance, LostSubtrees } from '../catalog/damage.ts'
import { CATALOG_WAY_OUT } from '../catalog/collection.ts'
import { VarveError } from '../../protocol/errors.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import { attribute } from './attribute.ts'
import type { MaintenanceContext } from './context.ts'
import type { SurveyResult } from './survey.ts'

/** Restore points, and disks of one, that a message names; details have their number. */
const POINTS_NAMED_MAX = 4
const DISKS_NAMED_MAX = 4

const WAYS_OUT =
  'Bring back packs that are away and collect again; "verify" lists what is lost, and a backup brings back what its machine still has; ' +
  '"repair --rebuild" looks for other copies in all packs; or let points go: "prune --point", or "gc --accept-loss POINT" where neither held nor locked'

const namesOf = (disks: readonly string[]): string =>
  disks.length <= DISKS_NAMED_MAX
    ? disks.join(', ')
    : `${disks.slice(0, DISKS_NAMED_MAX).join(', ')} and ${disks.length - DISKS_NAMED_MAX} more`

const catalogDamaged = ({ missing, strayRows }: SurveyResult): VarveError => {
  const found = [
    ...(missing > 0
      ? [`lacks ${missing} records that restore points need, and no known damage accounts for that`]
      : []),
    ...(strayRows > 0 ? [`has ${strayRows} records in packs that it does not know`] : []),
  ]
  return new VarveError(
    'CATALOG_DAMAGED',
    `the index ${found.join(', and ')}, so nothing was removed: ${CATALOG_WAY_OUT}; "verify" then records as lost what the packs do not have either`,
    { details: { missing, strayRows } },
  )
}

const treeUnreadable = (nodes: number, lost: readonly LostSubtrees[]): VarveError => {
  const points = [...Map.groupBy(lost, ({ point }) => point)]
  const named = points
    .slice(0, POINTS_NAMED_MAX)
    .map(([point, rows]) => `${point} of ${rows[0]!.machine} (${namesOf(rows.map(({ disk }) => disk))})`)
  const more = points.length > named.length ? ` and ${points.length - named.length} more` : ''
  const whose =
    points.length === 0 ? 'a backup that is running needs them' : `they belong to ${named.join(', ')}${more}`
  return new VarveError(
    'TREE_UNREADABLE',
    // the longest part comes last, as a long message is cut
    `${nodes} tree nodes cannot be read and what lies below them may be alive, so nothing was removed. ${WAYS_OUT}. Now ${whose}`,
    { details: { nodes, points: points.length, point: points[0]?.[0] ?? null } },
  )
}

/**
 * Agrees to the removal of what a survey found dead, or throws. CATALOG_DAMAGED where the index lacks needed records beyond known
 * damage; TREE_UNREADABLE for an unreadable tree of points whose loss was not accepted; PARAMS_INVALID for an accepted point that
 * has no such tree, POINT_HELD, NOT_FOUND.
 */
export const agree = async (
  { datastore, tenant, signal }: MaintenanceContext,
  counted: SurveyResult,
  accepted: Acceptance,
): Promise<void> => {
  const { catalog } = datastore
  const { unwalkable, givenUp, missing, strayRows, news } = counted
  if (missing > 0 || strayRows > 0) throw catalogDamaged(counted)
  const hidden = unwalkable + givenUp > 0
  if (hidden) {
    // recorded now, so that the next backup reads again what is below them
    await datastore.tenantStore(tenant).quarantine.enter(news, { quiet: true })
    await attribute({ datastore, tenant, signal })
  }
  const lost = hidden ? await catalog.losses.subtrees({ tenant: tenant.id }) : []
  if (unwalkable > 0) throw treeUnreadable(unwalkable, lost)
  const touched = new Set(lost.map(({ point }) => point))
  const whole = accepted.points.find((point) => !touched.has(point))
  if (whole !== undefined)
    throw new VarveError(
      'PARAMS_INVALID',
      `all trees of restore point ${whole} can be read: there is no loss to accept`,
      { details: { point: whole } },
    )
  await catalog.losses.acceptable({ tenant: tenant.id, accepted })
}

/** Forgets damage that nothing needs any more, so that it no longer keeps a pack; only for a survey that was agreed to. */
export const forgetUnneeded = async (
  { datastore, tenant }: MaintenanceContext,
  { unneeded, unwalkable, givenUp }: SurveyResult,
): Promise<void> => {
  // what lies below a node that cannot be read may need it
  if (unwalkable + givenUp > 0 || unneeded.length === 0) return
  await datastore.catalog.damage.settle({ tenant: tenant.id, ids: joinIds(unneeded) })
}
