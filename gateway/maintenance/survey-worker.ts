// The survey's thread: its own connection to the catalog and its own handles on the packs, so that uploads wait for neither.
import { workerData } from 'node:worker_threads'
import { ID_BYTES } from '../../protocol/chunk.ts'
import { joinIds, splitIds } from '../../protocol/host/bytes.ts'
import { serveThread } from '../../protocol/host/threads.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import { openLocal, type LocalCatalog } from '../catalog/sqlite/database.ts'
import { PACKS_SETTING } from '../catalog/sqlite/store-version.ts'
import type { Tenant } from '../catalog/tenants.ts'
import { openPackStore, type PackStoreSpec } from '../packs/open-pack-store.ts'
import { RecordReader } from '../packs/record-reader.ts'
import { storeError } from '../common/store-error.ts'
import { NodeReader } from '../trees/node-reader.ts'
import type { OnDead } from './kept-dead.ts'
import { Lattice, type OwnedImage } from './lattice.ts'
import { OWNER_ALL, Survey, type SurveyOptions, type SurveyResult } from './survey.ts'

/** Shortest time between two notices of progress, in milliseconds. */
const NOTICE_INTERVAL_MS = 100

export interface SurveyJob extends Pick<SurveyOptions, 'trees' | 'parts' | 'records'> {
  /** Path of the catalog. */
  readonly catalogFile: string
  readonly packs: PackStoreSpec
  readonly tenant: Tenant
  /** The images whose owners are distinguished; null where only liveness matters. */
  readonly owners: readonly OwnedImage[] | null
  /** Dead records are handed over while they are counted, once the count is agreed to, or not at all. */
  readonly dead: 'at once' | 'agreed' | 'never'
  readonly marksMax?: number
}

/** The methods that the thread calls on its owner. */
export type SurveyOwner = {
  readonly progress: (progress: MaintenanceProgress) => void
  readonly dead: OnDead
  /** The count is done, and dead records are handed over once this resolves. */
  readonly counted: (result: SurveyResult) => Promise<void>
}

const { catalogFile, packs, tenant, owners, dead, ...survey } = workerData as SurveyJob

const damagedIds = async (catalog: LocalCatalog): Promise<Uint8Array> => {
  const pages: Uint8Array[] = []
  for (let after: Uint8Array | null = null; ;) {
    const page: Uint8Array = await catalog.damage.ids({ tenant: tenant.id, after })
    if (page.length === 0) return joinIds(pages.flatMap(splitIds))
    pages.push(page)
    after = page.slice(-ID_BYTES)
  }
}

const run = async (): Promise<SurveyResult> => {
  using catalog = openLocal(catalogFile)
  // a catalog that is not sound cannot decide what may be removed
  if (dead === 'agreed') await catalog.collection.sound()
  await using store = await openPackStore(packs, await catalog.settings.get({ name: PACKS_SETTING }))
  const lattice = owners === null ? null : new Lattice(owners)
  let toldMs = 0
  const work = new Survey({
    ...survey,
    chunkBytes: tenant.chunkBytes,
    join: lattice === null ? () => OWNER_ALL : (a, b) => lattice.join(a, b),
    rows: await catalog.collection.count({ tenant: tenant.id }),
    nodes: new NodeReader({ tenant, records: new RecordReader({ tenant, index: catalog.records, store }) }).fresh,
    page: (after, end) => catalog.collection.page({ tenant: tenant.id, after, end }),
    damaged: () => damagedIds(catalog),
    packIds: () => catalog.collection.packIds({ tenant: tenant.id }),
    onProgress: (phase, done, total) => {
      if (Date.now() - toldMs < NOTICE_INTERVAL_MS) return
      toldMs = Date.now()
      owner.tell('progress', [{ phase, done, total }])
    },
  })
  const onDead: OnDead = (...dead) => owner.call('dead', dead)
  const result = await work.count(dead === 'at once' ? onDead : undefined)
  if (dead !== 'agreed') return result
  await owner.call('counted', [result])
  await work.sweep(onDead)
  return result
}

// once it is answered, the main thread ends this one: its files must be closed by then
const methods = { survey: run }
export type SurveyMethods = typeof methods

const owner = serveThread<SurveyOwner>(methods, { errorOf: (thrown) => storeError(thrown, 'surveying the trees') })
