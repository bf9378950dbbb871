// What differs between a disk of two restore points, read while collections leave both alone.
import type { Tenant } from '../catalog/tenants.ts'
import type { ImageRow, StoredPoint } from '../catalog/points.ts'
import { chunkCount } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import type { Datastore } from '../datastore/datastore.ts'
import { changedIn, type ComparedTree } from '../trees/changes.ts'

interface Request {
  readonly datastore: Datastore
  readonly tenant: Tenant
  /** The agent that a caller of this role is confined to, else null. */
  readonly onlyAgent: string | null
  readonly params: Params<'points.changes'>
  readonly signal: AbortSignal
}

type Disk = Pick<ImageRow, 'root' | 'size'>

/** What there is before a first restore point. */
const NO_DISK: Disk = { root: null, size: 0 }

const diskOf = ({ id, disks }: StoredPoint, name: string): Disk => {
  const disk = disks.find((one) => one.name === name)
  if (disk !== undefined) return disk
  const has = disks.map((one) => `"${one.name}"`).join(', ') || 'none'
  throw new VarveError('NOT_FOUND', `restore point ${id} has no disk "${name}"; its disks: ${has}`)
}

/** Both disks; NOT_FOUND, AMBIGUOUS. */
const disksOf = async ({ datastore: { catalog }, tenant, onlyAgent, params }: Request): Promise<[Disk, Disk]> => {
  const { from, to, disk, fromDisk } = params
  const find = (prefix: string): Promise<StoredPoint> =>
    catalog.points.find({ tenant: tenant.id, agent: onlyAgent, prefix })
  const before = from === null ? NO_DISK : diskOf(await find(from), fromDisk ?? disk)
  return [before, diskOf(await find(to), disk)]
}

/**
 * Answers `points.changes`: NOT_FOUND and AMBIGUOUS for points, NOT_FOUND for a disk that one of them has not, PARAMS_INVALID for
 * an offset behind the end of the disk.
 */
export const changesOf = async (request: Request): Promise<Result<'points.changes'>> => {
  const { datastore, tenant, params, signal } = request
  const { chunkBytes } = tenant
  const store = datastore.tenantStore(tenant)
  const treeOf = ({ root, size }: Disk): ComparedTree => ({ root, chunks: chunkCount(size, chunkBytes) })
  const [from, to] = (await disksOf(request)).map(treeOf) as [ComparedTree, ComparedTree]
  using _from = store.references.hold({ tree: from })
  using _to = store.references.hold({ tree: to })
  // a collection that began before may have removed what a prune released meanwhile
  const [before, { size }] = await disksOf(request)
  if (params.offset > size)
    throw new VarveError(
      'PARAMS_INVALID',
      `offset ${params.offset} is behind the end of the disk, which has ${size} bytes`,
    )
  const granularity = Math.max(params.granularity ?? chunkBytes, chunkBytes)
  const cell = granularity / chunkBytes
  const offset = Math.floor(params.offset / granularity) * granularity
  const untilBytes = params.bytes === null ? size : Math.min(size, params.offset + params.bytes)
  const end = Math.min(Math.ceil(untilBytes / granularity) * cell, to.chunks)
  const { catalog } = datastore
  const anyDamage = await catalog.damage.any({ tenant: tenant.id })
  const { ranges, next } = await changedIn(store.nodes.cached, {
    from,
    to,
    cell,
    first: offset / chunkBytes,
    end,
    limit: params.limit,
    signal,
    onDamaged: (error) => store.quarantine.enterError(error),
    known: anyDamage ? (ids) => catalog.damage.known({ tenant: tenant.id, ids: joinIds(ids) }) : null,
  })
  const endOf = (chunk: number): number => Math.min(chunk * chunkBytes, size)
  const told = ranges.map(({ position, count, kind }) => {
    const begin = position * chunkBytes
    return { offset: begin, bytes: endOf(position + count) - begin, kind }
  })
  const behind = endOf(next ?? end)
  return {
    size,
    fromSize: params.from === null ? null : before.size,
    granularity,
    covered: { offset, bytes: Math.max(0, behind - offset) },
    ranges: told,
    changedBytes: told.reduce((sum, { bytes }) => sum + bytes, 0),
    next: next === null || behind >= untilBytes ? null : behind,
  }
}
