// What tests of maintenance share: a stand for uploads with ways to prune, collect and look at packs.
import { randomBytes } from 'node:crypto'
import type { MaintenanceContext } from '../../../gateway/maintenance/context.ts'
import { collect } from '../../../gateway/maintenance/collect.ts'
import { openLog } from '../../../protocol/host/log.ts'
import type { CollectionReport, MaintenanceProgress } from '../../../protocol/maintenance.ts'
import type { Params } from '../../../protocol/methods.ts'
import type { Plains, Stand } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { forgetPoints } from '../../support/catalog-damage.ts'
import { HandClock } from '../../support/hand-clock.ts'

/** A disk of so many random chunks. */
export const randomDisk = (chunks: number): Uint8Array[] =>
  Array.from({ length: chunks }, () => new Uint8Array(randomBytes(CHUNK_BYTES)))

/** The disk with chunks of its own at these places. */
export const changed = (plains: Plains, ...places: readonly number[]): (Uint8Array | null)[] =>
  plains.map((plain, index) => (places.includes(index) ? new Uint8Array(randomBytes(CHUNK_BYTES)) : plain))

export const contextOf = (
  { datastore, tenant }: Stand,
  progress: MaintenanceProgress[] = [],
  signal: AbortSignal = new AbortController().signal,
): MaintenanceContext => ({
  datastore,
  tenant,
  clock: new HandClock(1000),
  log: openLog({ level: 'silent' }),
  signal,
  onProgress: (one) => void progress.push(one),
})

/** Collects the stand's garbage; packs below 90 % are rewritten unless told otherwise. */
export const collected = (stand: Stand, params: Partial<Params<'store.collect'>> = {}): Promise<CollectionReport> =>
  collect(contextOf(stand), { dryRun: false, thresholdPercent: 90, bytesPerSecond: null, ...params })

/** Takes restore points out of the catalog, as pruning does. */
export const removePoints = (stand: Stand, ...points: readonly string[]): void => forgetPoints(stand.folder, points)

/** Bytes of the tenant's packs as the catalog has them. */
export const packBytes = async ({ datastore, tenant }: Stand): Promise<number> => {
  const packs = await datastore.catalog.collection.packs({ tenant: tenant.id })
  return packs.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** Reads the whole image back: each chunk's plain bytes, or null for zeroes; DATA_DAMAGED. */
export const readImage = async (stand: Stand, root: Uint8Array | null, chunks: number): Promise<Plains> => {
  const store = stand.datastore.tenantStore(stand.tenant)
  const plains: (Uint8Array | null)[] = []
  for (const ref of await stand.stored(root, chunks))
    plains.push(ref === null ? null : (await store.readRecord(ref)).plain)
  return plains
}
