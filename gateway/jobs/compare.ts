// Compares chunks that a machine reports as unchanged with the image of the previous restore point.
import type { Tenant } from '../catalog/tenants.ts'
import { chunkCount, chunkLength, equalBytes, ID_BYTES } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { rootLevel, sameRef, type Ref } from '../../protocol/image-tree.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import type { NodeReader } from '../trees/node-reader.ts'
import { lastContent } from '../trees/content.ts'
import { chunksAt } from '../trees/places.ts'
import type { Log } from '../../protocol/host/log.ts'

const isZero = (id: Uint8Array): boolean => id.every((byte) => byte === 0)

/** The image that the chunks are compared with; `size` is bytes. */
export interface ComparedImage {
  readonly root: Ref
  readonly size: number
  readonly chunkBytes: number
}

/**
 * How many of the chunks could be compared, and where the image has something else. Chunks below a damaged tree node are not
 * compared; `onDamaged` gets the error. PARAMS_INVALID for ids that do not fit the positions, and for the id of a chunk of
 * zeroes, which is 32 zero bytes here.
 */
export const compareChunks = async (
  store: { readonly nodes: Pick<NodeReader, 'cached'> } & Pick<TenantStore, 'zeroId'>,
  { root, size, chunkBytes }: ComparedImage,
  { positions, ids }: Pick<Params<'image.compare'>, 'positions' | 'ids'>,
  onDamaged: (error: VarveError) => Promise<unknown>,
): Promise<Result<'image.compare'>> => {
  if (ids.length !== positions.length * ID_BYTES)
    throw new VarveError('PARAMS_INVALID', `there are ${ids.length} bytes of ids for ${positions.length} positions`)
  const chunks = chunkCount(size, chunkBytes)
  const outside = positions.find((position) => position >= chunks)
  if (outside !== undefined)
    throw new VarveError('PARAMS_INVALID', `chunk ${outside} is outside the disk, which has ${chunks}`)
  const zero = positions.find((position, index) => {
    const id = ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
    return equalBytes(id, store.zeroId(chunkLength(position, size, chunkBytes)))
  })
  if (zero !== undefined)
    throw new VarveError('PARAMS_INVALID', `chunk ${zero} has only zeroes: its id is 32 zero bytes here`)
  try {
    const refs = await chunksAt(store.nodes.cached, { root, level: rootLevel(chunks) }, positions)
    const different = positions.filter((_, index) => {
      const id = ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
      return !sameRef(refs[index]!, isZero(id) ? null : id)
    })
    return { compared: positions.length, different }
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'DATA_DAMAGED') throw thrown
    await onDamaged(error)
    return { compared: 0, different: [] }
  }
}

/** Answers agents that compare, and tracks the progress of each running job's comparison. */
export class Comparisons {
  readonly #options: { datastore: Datastore; log: Log; onProgress: (job: string) => void }
  readonly #bytes = new Map<string, number>()

  constructor(options: { datastore: Datastore; log: Log; onProgress: (job: string) => void }) {
    this.#options = options
  }

  /** Compares chunks of a machine with the base of its running job. NOT_FOUND, JOB_ENDED, PARAMS_INVALID. */
  async compare(tenant: Tenant, agent: string, params: Params<'image.compare'>): Promise<Result<'image.compare'>> {
    const { datastore, log, onProgress } = this.#options
    const { job, disk } = params
    const { root, size, missed } = await datastore.catalog.jobs.baseImage({ job, agent, disk })
    const store = datastore.tenantStore(tenant)
    const { chunkBytes } = tenant
    const found = await compareChunks(store, { root, size, chunkBytes }, params, (error) =>
      store.quarantine.enterError(error),
    )
    // what was found once is so for every sample: an agent that was killed before it heard of it asks again
    const result = missed ? { compared: params.positions.length, different: params.positions.slice(0, 1) } : found
    // before it is told: the backup may fail, and the sample of the next one may miss it
    if (!missed && result.different.length > 0) await datastore.catalog.jobs.missed({ job, agent, disk })
    this.#bytes.set(job, this.bytes(job) + result.compared * chunkBytes)
    if (result.different.length > 0)
      log.error(
        { job, disk, chunks: result.different.length },
        'the machine has other content where its bitmap shows no change; the disk is read in full',
      )
    onProgress(job)
    return result
  }

  /** The last chunks of the base's image that are not zero. NOT_FOUND, JOB_ENDED. */
  async content(tenant: Tenant, agent: string, params: Params<'image.content'>): Promise<Result<'image.content'>> {
    const { datastore } = this.#options
    const { job, disk, before, limit } = params
    const { root, size } = await datastore.catalog.jobs.baseImage({ job, agent, disk })
    const store = datastore.tenantStore(tenant)
    const tree = { root, level: rootLevel(chunkCount(size, tenant.chunkBytes)) }
    const onDamaged = (error: VarveError): Promise<unknown> => store.quarantine.enterError(error)
    const { positions, next } = await lastContent(store.nodes.cached, { tree, before, limit, onDamaged })
    return { positions: [...positions], next }
  }

  /** Bytes that were compared for a running job so far. */
  bytes(job: string): number {
    return this.#bytes.get(job) ?? 0
  }

  /** Forgets a job that has ended. */
  forget(job: string): void {
    this.#bytes.delete(job)
  }
}
