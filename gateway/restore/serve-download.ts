// Serves one image to a caller: protects it from collections meanwhile, and names the lost ranges of a damaged one.
import type { Tenant } from '../catalog/tenants.ts'
import type { AttachmentRow, StoredPoint } from '../catalog/points.ts'
import { chunkCount } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Down, Params } from '../../protocol/methods.ts'
import type { Datastore } from '../datastore/datastore.ts'
import { downloadImage } from './download.ts'
import { lostRangesError, RANGES_NAMED_MAX } from './lost-ranges.ts'

interface Request {
  readonly datastore: Datastore
  readonly tenant: Tenant
  /** The agent that a caller of this role is confined to, else null. */
  readonly onlyAgent: string | null
  readonly params: Params<'image.download'>
}

/** The disk or attachment of this name; NOT_FOUND. */
export const imageOf = ({ id, disks, attachments }: StoredPoint, name: string): AttachmentRow => {
  const image = [...disks, ...attachments].find((one) => one.name === name)
  if (image === undefined) throw new VarveError('NOT_FOUND', `restore point ${id} has no disk or attachment "${name}"`)
  return image
}

/** DATA_DAMAGED with the ranges of this disk that are known to be lost, or null where none are. */
const knownDamage = async ({ datastore, tenant, params }: Request): Promise<VarveError | null> => {
  const { point, disk } = params
  const args = { tenant: tenant.id, point, disk, limit: RANGES_NAMED_MAX }
  const known = await datastore.catalog.lost.list(args)
  return known.lostCount === 0 ? null : lostRangesError({ point, disk }, known)
}

/**
 * Sends an image from `position` on; NOT_FOUND, or DATA_DAMAGED with the lost ranges: before anything is sent where they are
 * known.
 */
export const serveDownload = async (
  request: Request,
  send: (message: Down<'image.download'>) => Promise<void>,
): Promise<void> => {
  const { datastore, tenant, onlyAgent, params } = request
  const { disk, position, skipDamaged } = params
  const { idKey, chunkBytes } = tenant
  const store = datastore.tenantStore(tenant)
  const find = async (): Promise<AttachmentRow> =>
    imageOf(await datastore.catalog.points.find({ tenant: tenant.id, agent: onlyAgent, prefix: params.point }), disk)
  const { root, size } = await find()
  using _held = store.references.hold({ tree: { root, chunks: chunkCount(size, chunkBytes) } })
  // a collection that began before may have removed what a prune released meanwhile
  const image = await find()
  const damage = skipDamaged ? null : await knownDamage(request)
  if (damage !== null) throw damage
  try {
    await downloadImage({ store, image, chunkBytes, idKey, position, skipDamaged }, send)
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'DATA_DAMAGED') throw thrown
    await store.quarantine.enterError(error)
    await store.quarantine.attributed()
    throw (await knownDamage(request)) ?? error
  }
}
