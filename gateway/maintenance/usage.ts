// What a tenant's machines, disks and points take: one survey that tells owners apart, summed up.
import type { UsageRoots } from '../catalog/usage.ts'
import { hex } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { USAGE_ROWS_MAX, type UsageParts, type UsageReport } from '../../protocol/maintenance.ts'
import type { Params } from '../../protocol/methods.ts'
import { splitIds } from '../../protocol/host/bytes.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { MaintenanceContext } from './context.ts'
import { ATTACHMENTS, Lattice } from './lattice.ts'
import { runSurvey } from './survey-thread.ts'
import type { OnDead } from './kept-dead.ts'
import type { SurveyResult } from './survey.ts'
import { fittingRows, rowsAbout, usageRows } from './usage-rows.ts'

/** Windows of growth, in days. */
const WINDOWS_DAYS = [1, 7, 30] as const

const survey = async (
  { datastore, tenant, signal, onProgress }: MaintenanceContext,
  { images, records }: UsageRoots,
  lattice: Lattice,
  onDead: OnDead,
): Promise<SurveyResult> => {
  const result = await runSurvey(
    {
      ...datastore.spec,
      tenant,
      trees: images.map(({ root, size }, index) => ({ root, size, owner: lattice.image(index) })),
      // references of running backups change by the second and have no owner yet
      parts: [],
      records,
      owners: images.map(({ point, machine, disk }) => ({ point, machine, disk })),
      dead: 'at once',
    },
    { signal, onProgress, onDead },
  )
  const [first] = await datastore.tenantStore(tenant).quarantine.enter(result.news)
  if (first === undefined) return result
  const id = hex(first.id)
  throw new VarveError(
    'DATA_DAMAGED',
    `${first.reason}; it is noted as damage, and what it holds is left out from now on; "verify" names what is lost`,
    { details: { id } },
  )
}

/**
 * What the bytes of the packs are made of. The rest is what no row names; where rows name more than there is, packs lack it.
 */
export const partsOf = (
  packBytes: number,
  known: Pick<UsageParts, 'machineBytes' | 'sharedBytes' | 'deadBytes' | 'uploadBytes'>,
): UsageParts => {
  const rest = packBytes - known.machineBytes - known.sharedBytes - known.deadBytes - known.uploadBytes
  return { ...known, otherBytes: Math.max(0, rest), missingBytes: Math.max(0, -rest) }
}

/** The larger for each byte of the smaller; 1 where there is nothing to compare. */
const ratio = (bytes: number, per: number): number => (bytes === 0 || per === 0 ? 1 : bytes / per)

/** NOT_FOUND for a machine of another name, DATA_DAMAGED when a tree cannot be walked. */
export const usageOf = async (
  context: MaintenanceContext,
  { machine, points }: Params<'store.usage'>,
): Promise<UsageReport> => {
  const { datastore, tenant, clock } = context
  const { catalog, space } = datastore
  if (machine !== null) await catalog.machines.get({ tenant: tenant.id, name: machine })
  await using protection = await datastore.tenantStore(tenant).references.protect()
  const found = await catalog.usage.roots({ tenant: tenant.id })
  // of this moment, as all that is counted: what is written meanwhile belongs to none of it
  const packBytes = space.quotas.usedBytes(tenant.id)
  const images = found.images.map((image) => (image.attachment ? { ...image, disk: ATTACHMENTS } : image))
  const roots = { ...found, images }
  const lattice = new Lattice(roots.images)
  let deadBytes = -roots.uploadBytes
  const { owners, used } = await survey(context, roots, lattice, async (ids, _, bytes) => {
    // the roots do not refer to what was written since
    await protection.uncovered(splitIds(ids), async (places) => {
      for (const index of places) deadBytes += bytes[index]!
    })
  })
  const counted = images.map((image, index) => ({ ...image, usedBytes: used[index] ?? 0 }))
  const all = usageRows({ images: counted, points: roots.counted, lattice, owners }, { points })
  const [{ usedBytes, uniqueBytes, storedBytes }] = all as [UsageReport['rows'][number]]
  const machineBytes = all.reduce((sum, row) => sum + (row.scope === 'machine' ? row.storedBytes : 0), 0)
  const rows = rowsAbout(all, machine)
  const parts = partsOf(packBytes, {
    machineBytes,
    sharedBytes: storedBytes - machineBytes,
    deadBytes: Math.max(0, deadBytes),
    uploadBytes: roots.uploadBytes,
  })
  const nowMs = clock.now()
  const sinceMs = WINDOWS_DAYS.map((days) => nowMs - days * DAY_MS)
  const [dayBytes = 0, weekBytes = 0, monthBytes = 0] = await catalog.usage.growth({
    tenant: tenant.id,
    sinceMs,
  })
  const quota = (await catalog.quotas.list()).find((one) => one.tenant === tenant.id)
  return {
    rows: fittingRows(rows, USAGE_ROWS_MAX),
    rowCount: rows.length,
    packBytes,
    deadBytes: parts.deadBytes,
    parts,
    quota: { softBytes: quota?.softBytes ?? null, hardBytes: quota?.hardBytes ?? null },
    dedupRatio: ratio(usedBytes, uniqueBytes),
    compressionRatio: ratio(uniqueBytes, storedBytes),
    growth: { dayBytes, weekBytes, monthBytes },
  }
}
