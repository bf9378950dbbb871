// The garbage collection of one tenant: survey, sweep, and packs with few live records rewritten into new ones.
import type { Acceptance } from '../catalog/damage.ts'
import type { CatalogRoots, CollectablePack } from '../catalog/collection.ts'
import type { CollectionReport } from '../../protocol/maintenance.ts'
import type { Params } from '../../protocol/methods.ts'
import { Throttle } from '../../protocol/host/throttle.ts'
import { PACK_BYTES_MAX } from '../packs/format.ts'
import { joinIds, splitIds } from '../../protocol/host/bytes.ts'
import { failpoint } from '../common/failpoint.ts'
import type { Protection, ReadTree } from '../coordination/coordination.ts'
import type { DoomedPack } from '../datastore/tenant-packs.ts'
import { agree, forgetUnneeded } from './agree.ts'
import { deadBytes, planCollection, type CollectionPlan, type SurveyedPack } from './collection-plan.ts'
import { confirmRoots } from './confirm-roots.ts'
import type { MaintenanceContext } from './context.ts'
import { PackProof } from './pack-proof.ts'
import { recheck } from './recheck.ts'
import { rewritePacks, type Rewritten } from './rewrite-packs.ts'
import { partsOfUpload, workingTrees } from './roots.ts'
import { runSurvey } from './survey-thread.ts'
import type { SurveyJob } from './survey-worker.ts'
import { findCopies } from './second-copies.ts'
import { OWNER_ALL, type SurveyResult } from './survey.ts'

/** Packs that are removed with one call. */
const REMOVED_AT_ONCE = 64

/** What was swept of one pack, and which of its dead records work under way has begun to rely on. */
interface PackSweep {
  sweptRows: number
  coveredBytes: number
}

/** Takes dead rows out of the index, except those that work under way relies on. */
class Sweeper {
  readonly #context: MaintenanceContext
  readonly #protection: Protection
  readonly #accepted: readonly string[]
  readonly packs = new Map<number, PackSweep>()
  records = 0
  bytes = 0

  constructor(context: MaintenanceContext, protection: Protection, accepted: readonly string[]) {
    this.#context = context
    this.#protection = protection
    this.#accepted = accepted
  }

  async sweep(ids: Uint8Array, packs: Uint32Array, bytes: Uint32Array): Promise<void> {
    const { datastore, tenant, clock } = this.#context
    // holding or locking an accepted point meanwhile ends the collection
    const accepted = { points: this.#accepted, nowMs: clock.now() }
    const each = splitIds(ids)
    failpoint('sweep')
    const { chosen, swept } = await this.#protection.uncovered(each, async (chosen) => {
      const rows = joinIds(chosen.map((index) => each[index]!))
      return { chosen, swept: await datastore.catalog.collection.sweep({ tenant: tenant.id, ids: rows, accepted }) }
    })
    const covered = new Set(packs.keys()).difference(new Set(chosen))
    for (const index of covered) this.#of(packs[index]!).coveredBytes += bytes[index]!
    for (const [at, index] of chosen.entries()) {
      if (swept[at] === 0) continue
      this.records++
      this.bytes += bytes[index]!
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
const surveyedPacks = (
  packs: readonly CollectablePack[],
  survey: SurveyResult,
  swept: ReadonlyMap<number, PackSweep> | null,
  damaged: ReadonlySet<string> = new Set(),
): SurveyedPack[] =>
  packs.map(({ id, uuid, kind, bytes, open }) => {
    const { rows, liveRows, liveBytes } = survey.packs.get(id) ?? { rows: 0, liveRows: 0, liveBytes: 0 }
    const { sweptRows, coveredBytes } = swept?.get(id) ?? { sweptRows: 0, coveredBytes: 0 }
    return {
      id,
      uuid,
      kind,
      bytes,
      liveBytes: liveBytes + coveredBytes,
      // a dry run sweeps nothing and counts what would remain
      rows: swept === null ? liveRows : rows - sweptRows,
      // one that was not sealed when the survey began may have rows that it did not see
      open: swept !== null && open,
      damaged: damaged.has(uuid),
    }
  })

const sumBytes = (packs: readonly { readonly bytes: number }[]): number =>
  packs.reduce((sum, { bytes }) => sum + bytes, 0)

const surveyJob = (
  { datastore, tenant }: MaintenanceContext,
  roots: CatalogRoots,
  { readers, dryRun, accepted }: { readers: readonly ReadTree[]; dryRun: boolean; accepted: readonly string[] },
): SurveyJob => {
  const isAccepted = new Set(accepted)
  return {
    ...datastore.spec,
    tenant,
    owners: null,
    dead: dryRun ? 'never' : 'agreed',
    records: roots.records,
    parts: roots.uploads.flatMap(partsOfUpload),
    trees: [
      ...roots.images.map(({ point, root, size }) => ({
        root,
        size,
        owner: OWNER_ALL,
        ...(isAccepted.has(point) ? { givenUp: true as const } : {}),
      })),
      ...workingTrees(roots.uploads, readers, tenant.chunkBytes),
    ],
  }
}

const apply = async (
  context: MaintenanceContext,
  plan: CollectionPlan,
  work: { readonly throttle: Throttle; readonly proof: PackProof },
): Promise<Rewritten> => {
  const { datastore, tenant, log, signal, onProgress } = context
  const { packs } = datastore.tenantStore(tenant)
  // packs that an earlier one could not remove may be needed by now
  const doomed = await packs.doomed()
  for (const pack of doomed) await packs.spare(pack)
  // first what frees space without taking any
  const remove = [...doomed, ...plan.remove]
  const free: DoomedPack[] = []
  for (const [done, pack] of remove.entries()) {
    signal.throwIfAborted()
    onProgress({ phase: 'remove', done, total: remove.length })
    if (await work.proof.isFree(pack.uuid)) free.push(pack)
    else log.warn({ tenant: tenant.id, pack: pack.uuid }, 'a pack that was to be removed holds what is needed')
    if (free.length === REMOVED_AT_ONCE) await packs.remove(free.splice(0))
  }
  await packs.remove(free)
  return await rewritePacks(context, plan.rewrite, work)
}

/**
 * Reclaims what nothing refers to, beside backups and restores. Nothing is removed while it is unknown what is needed:
 * TREE_UNREADABLE while a tree node cannot be read that belongs to other points than those of `acceptLoss`, CATALOG_DAMAGED where
 * the catalog lacks records of packs or points, STORE_FAILED while a pack cannot be read. NOT_FOUND, POINT_HELD, PARAMS_INVALID
 * for points of `acceptLoss` of which no loss can be accepted; MAINTENANCE_RUNNING, STORE_FULL.
 */
export const collect = async (
  context: MaintenanceContext,
  { dryRun, thresholdPercent, bytesPerSecond, acceptLoss = [] }: Params<'store.collect'>,
): Promise<CollectionReport> => {
  const { datastore, tenant, clock, signal, onProgress } = context
  const { catalog } = datastore
  const startedMs = clock.elapsed()
  const accepted = (): Acceptance => ({ points: acceptLoss, nowMs: clock.now() })
  await catalog.losses.acceptable({ tenant: tenant.id, accepted: accepted() })
  const store = datastore.tenantStore(tenant)
  const throttle = new Throttle(context.pace ?? bytesPerSecond, clock)
  const proof = new PackProof(context, throttle)
  await using protection = dryRun ? null : await store.references.protect()
  if (!dryRun) {
    await recheck(context)
    await findCopies(context, proof)
    await store.packs.retire()
  }
  const before = await catalog.collection.packs({ tenant: tenant.id })
  const strange = await store.packs.strange(before.filter(({ bytes }) => bytes > 0))
  const roots = await catalog.collection.roots({ tenant: tenant.id })
  failpoint('mark')
  await confirmRoots(context, roots)
  const sweeper = protection === null ? null : new Sweeper(context, protection, acceptLoss)
  const readers = (await protection?.trees()) ?? []
  const survey = await runSurvey(surveyJob(context, roots, { readers, dryRun, accepted: acceptLoss }), {
    signal,
    onProgress,
    onDead: async (...dead) => sweeper?.sweep(...dead),
    agree: (counted) => agree(context, counted, accepted()),
  })
  if (dryRun) await agree(context, survey, accepted())
  else await forgetUnneeded(context, survey)
  const damaged = strange.union(new Set(await catalog.damage.packs({ tenant: tenant.id })))
  const plan = planCollection(
    surveyedPacks(before, survey, sweeper?.packs ?? null, damaged),
    thresholdPercent,
    datastore.packBytesMax,
  )
  const { bytes: bytesRewritten, left } = dryRun
    ? { bytes: plan.rewrite.reduce((sum, { liveBytes }) => sum + liveBytes, 0), left: [] }
    : await apply(context, plan, { throttle, proof })
  const after = dryRun ? null : await catalog.collection.packs({ tenant: tenant.id })
  const { examined, live, dead, nodes } = survey
  const { belowThresholdBytes, inUseBytes, damagedBytes } = plan
  return {
    dryRun,
    points: roots.points,
    nodes,
    examined,
    live,
    dead: sweeper === null ? dead : { records: sweeper.records, bytes: sweeper.bytes },
    missing: survey.missingKnown,
    packs: {
      before: before.length,
      removed: plan.remove.length,
      rewritten: plan.rewrite.length - left.length,
      after: after?.length ?? plan.keep.length + Math.ceil(bytesRewritten / PACK_BYTES_MAX),
    },
    bytesBefore: sumBytes(before),
    bytesRewritten,
    bytesAfter: after === null ? sumBytes(plan.keep) + bytesRewritten : sumBytes(after),
    waiting: { belowThresholdBytes, inUseBytes, damagedBytes, noRoomBytes: deadBytes(left) },
    durationMs: Math.round(clock.elapsed() - startedMs),
  }
}
