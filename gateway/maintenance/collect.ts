// The garbage collection of one tenant: survey, sweep, and packs with little that lives rewritten into new ones.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { CollectionReport } from '../../protocol/maintenance.ts'
import type { Params } from '../../protocol/methods.ts'
import { PACK_BYTES_MAX, RECORD, recordBytes } from '../datastore/format.ts'
import type { CatalogRoots, CollectablePack } from '../datastore/database/collection.ts'
import { failpoint } from '../datastore/failpoint.ts'
import type { Protection } from '../datastore/references.ts'
import { deadBytes, planCollection, type CollectionPlan, type SurveyedPack } from './collection-plan.ts'
import type { MaintenanceContext } from './context.ts'
import { recheck } from './recheck.ts'
import { rewritePacks, type Rewritten } from './rewrite-packs.ts'
import { partsOfUpload, workingTrees } from './roots.ts'
import type { SurveyJob } from './survey-thread.ts'
import { runSurvey } from './survey-thread.ts'
import { OWNER_ALL, type SurveyResult } from './survey.ts'

/** What was swept of one pack, and what of its dead records work under way has come to rely on. */
interface PackSweep {
  sweptRows: number
  coveredBytes: number
}

/** Takes dead rows out of the index, except those that work under way relies on. */
class Sweeper {
  readonly #context: MaintenanceContext
  readonly #protection: Protection
  readonly packs = new Map<number, PackSweep>()
  records = 0
  bytes = 0

  constructor(context: MaintenanceContext, protection: Protection) {
    this.#context = context
    this.#protection = protection
  }

  async sweep(ids: Uint8Array, packs: Uint32Array, stored: Uint32Array): Promise<void> {
    const { datastore, tenant } = this.#context
    const chosen: number[] = []
    const doomed = new Uint8Array(ids.length)
    failpoint('sweep')
    // the look at what is covered and the queueing of the removal are one turn; see References
    for (let index = 0; index < packs.length; index++) {
      const id = ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
      if (this.#protection.covers(id)) this.#of(packs[index]!).coveredBytes += recordBytes(stored[index]!)
      else doomed.set(id, chosen.push(index) * ID_BYTES - ID_BYTES)
    }
    const rows = doomed.slice(0, chosen.length * ID_BYTES)
    const swept = await datastore.database.call('collection.sweep', { tenant: tenant.id, ids: rows })
    for (const [at, index] of chosen.entries()) {
      if (swept[at] === 0) continue
      this.records++
      this.bytes += recordBytes(stored[index]!)
      this.#of(packs[index]!).sweptRows++
    }
    this.#context.onProgress({ phase: 'sweep', done: this.records, total: null })
  }

  #of(pack: number): PackSweep {
    const sweep = this.packs.get(pack) ?? { sweptRows: 0, coveredBytes: 0 }
    this.packs.set(pack, sweep)
    return sweep
  }
}

/** The packs with what the survey counted in them, less what was swept. */
export const surveyedPacks = (
  packs: readonly CollectablePack[],
  survey: SurveyResult,
  swept: ReadonlyMap<number, PackSweep> | null,
): SurveyedPack[] =>
  packs.map(({ id, uuid, kind, bytes, sealed }) => {
    const { rows, liveRows, liveBytes } = survey.packs.get(id) ?? { rows: 0, liveRows: 0, liveBytes: 0 }
    const { sweptRows, coveredBytes } = swept?.get(id) ?? { sweptRows: 0, coveredBytes: 0 }
    return {
      id,
      uuid,
      kind,
      bytes,
      liveBytes: liveBytes + coveredBytes,
      // a dry run sweeps nothing and counts what would be left
      rows: swept === null ? liveRows : rows - sweptRows,
      // one that was not sealed when the survey began may have rows that it did not see
      open: swept !== null && sealed === 0,
    }
  })

const sumBytes = (packs: readonly { readonly bytes: number }[]): number =>
  packs.reduce((sum, { bytes }) => sum + bytes, 0)

const surveyJob = (
  { datastore, tenant }: MaintenanceContext,
  roots: CatalogRoots,
  protection: Protection | null,
): SurveyJob => ({
  ...datastore.paths,
  tenant,
  owners: null,
  handDead: protection !== null,
  records: roots.records,
  lostNodes: roots.lostNodes,
  parts: roots.uploads.flatMap(partsOfUpload),
  trees: [
    ...roots.images.map(({ root, size }) => ({ root, size, owner: OWNER_ALL })),
    ...workingTrees(roots.uploads, protection?.trees() ?? [], tenant.chunkBytes),
  ],
})

const apply = async (
  context: MaintenanceContext,
  plan: CollectionPlan,
  bytesPerSecond: number | null,
): Promise<Rewritten> => {
  const { datastore, tenant } = context
  // first what gives space without taking any
  await datastore.tenantStore(tenant).packs.remove(plan.remove)
  return await rewritePacks(context, plan.rewrite, bytesPerSecond)
}

/** A tree that cannot be walked: what is below the damaged node would pass for dead, so the collection ends here, and the damage is known from now on. */
const unwalkable = async ({ datastore, tenant }: MaintenanceContext, error: VarveError): Promise<never> => {
  if (error.code !== 'DATA_DAMAGED') throw error
  await datastore.tenantStore(tenant).quarantine.enterError(error, RECORD.node)
  const { message, details } = error
  const wayOut =
    'nothing was removed; "verify" names the restore points it touches, a backup heals them, and what stays lost no longer holds up collections'
  throw new VarveError('DATA_DAMAGED', `${message}: ${wayOut}`, { details, cause: error })
}

/**
 * Reclaims what nothing refers to, beside backups and restores. MAINTENANCE_RUNNING; DATA_DAMAGED, with nothing removed, while a tree node
 * cannot be read that was not known to be lost: what is below it would pass for dead; STORE_FULL, STORE_FAILED.
 */
export const collect = async (
  context: MaintenanceContext,
  { dryRun, thresholdPercent, bytesPerSecond }: Params<'store.collect'>,
): Promise<CollectionReport> => {
  const { datastore, tenant, clock, signal, onProgress } = context
  const { database } = datastore
  const startedMs = clock.now()
  const store = datastore.tenantStore(tenant)
  using protection = dryRun ? null : store.references.protect()
  if (!dryRun) {
    await recheck(context)
    await store.packs.finish()
    await store.packs.retire()
  }
  const before = await database.call('collection.packs', { tenant: tenant.id })
  const roots = await database.call('collection.roots', { tenant: tenant.id })
  failpoint('mark')
  const sweeper = protection === null ? null : new Sweeper(context, protection)
  const survey = await runSurvey(surveyJob(context, roots, protection), {
    signal,
    onProgress,
    onDead: async (ids, packs, stored) => sweeper?.sweep(ids, packs, stored),
  }).catch((error: unknown) => unwalkable(context, asVarveError(error)))
  const plan = planCollection(
    surveyedPacks(before, survey, sweeper?.packs ?? null),
    thresholdPercent,
    datastore.diskPackBytes,
  )
  const { bytes: bytesRewritten, left } = dryRun
    ? { bytes: plan.rewrite.reduce((sum, { liveBytes }) => sum + liveBytes, 0), left: [] }
    : await apply(context, plan, bytesPerSecond)
  const after = dryRun ? null : await database.call('collection.packs', { tenant: tenant.id })
  const { examined, live, dead } = survey
  return {
    dryRun,
    points: roots.points,
    nodes: survey.nodes,
    examined,
    live,
    dead: sweeper === null ? dead : { records: sweeper.records, bytes: sweeper.bytes },
    missing: survey.missing,
    packs: {
      before: before.length,
      removed: plan.remove.length,
      rewritten: plan.rewrite.length - left.length,
      after: after?.length ?? plan.keep.length + Math.ceil(bytesRewritten / PACK_BYTES_MAX),
    },
    bytesBefore: sumBytes(before),
    bytesRewritten,
    bytesAfter: after === null ? sumBytes(plan.keep) + bytesRewritten : sumBytes(after),
    waiting: {
      belowThresholdBytes: plan.belowThresholdBytes,
      inUseBytes: plan.inUseBytes,
      noRoomBytes: deadBytes(left),
    },
    durationMs: Math.max(0, clock.now() - startedMs),
  }
}
