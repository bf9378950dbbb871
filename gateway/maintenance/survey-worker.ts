// The survey's thread: its own connection to the catalog and its own handles on the packs, so that uploads wait for neither.
import { workerData } from 'node:worker_threads'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { decodeNode, nodeKey } from '../../protocol/image-tree.ts'
import { equalBytes, ID_BYTES } from '../../protocol/chunk.ts'
import { joinIds, ownBytes, splitIds } from '../../protocol/host/bytes.ts'
import { serveThread } from '../../protocol/host/threads.ts'
import { openLocal, type LocalCatalog } from '../catalog/sqlite/database.ts'
import { PACKS_SETTING } from '../catalog/sqlite/store-version.ts'
import { openPackStore } from '../packs/open-pack-store.ts'
import { RECORD, type StoredRecord } from '../packs/format.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { checkFetched, damagedRecord, RecordReader } from '../packs/record-reader.ts'
import { storeError } from '../common/store-error.ts'
import { Lattice } from './lattice.ts'
import { OWNER_ALL, Survey, type OnDead, type SurveyOptions, type SurveyResult } from './survey.ts'
import type { SurveyJob, SurveyOwner } from './survey-thread.ts'

/** Shortest time between two notices of progress, in milliseconds. */
const NOTICE_INTERVAL_MS = 100

const { catalogFile, packs, tenant, owners, dead, ...survey } = workerData as SurveyJob

/** Nodes of one level, each checked against its id. */
const nodesOf = (reader: RecordReader): SurveyOptions['nodes'] => {
  const key = nodeKey(keyedHash, tenant.idKey)
  return async (ids, level) =>
    (await reader.fetch(ids)).map((fetched, index) => {
      const id = ids[index]!
      if (fetched instanceof VarveError) return fetched
      const { location } = fetched
      const damaged = (why: string): VarveError => damagedRecord(id, why, { location })
      let record: StoredRecord
      try {
        record = checkFetched(fetched)
      } catch (error) {
        return asVarveError(error)
      }
      if (record.type !== RECORD.node || !equalBytes(keyedHash(key, record.stored), id))
        return damaged('it is not this tree node')
      try {
        const node = decodeNode(ownBytes(record.stored))
        return node.level === level ? node : damaged(`it has level ${node.level}, not ${level}`)
      } catch (error) {
        return damaged(asVarveError(error).message)
      }
    })
}

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
    nodes: nodesOf(new RecordReader({ tenant, index: catalog.chunks, store })),
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
