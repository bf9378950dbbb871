// The survey's thread: its own connection to the catalog and its own handles on the packs, so that uploads wait for neither.
import { parentPort, workerData } from 'node:worker_threads'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { decodeNode, nodeKey, type TreeNode } from '../../protocol/image-tree.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { ownBytes } from '../datastore/bytes.ts'
import { LocalDatabase } from '../datastore/database/database.ts'
import { DirectoryPackStore } from '../datastore/directory-pack-store.ts'
import { PACKS_SETTING } from '../datastore/packs-marker.ts'
import { RECORD } from '../datastore/format.ts'
import { keyedHash } from '../datastore/keyed-hash.ts'
import { storeError } from '../datastore/store-error.ts'
import { checkFetched, damagedRecord, RecordReader } from '../datastore/record-reader.ts'
import { Lattice } from './lattice.ts'
import { OWNER_ALL, Survey, type SurveyResult } from './survey.ts'
import type { SurveyAnswer, SurveyJob } from './survey-thread.ts'

/** Shortest time between two notices of progress, in milliseconds. */
const NOTICE_INTERVAL_MS = 100

const port = parentPort!
const { catalog, packs, tenant, owners, ...survey } = workerData as SurveyJob
const post = (answer: SurveyAnswer): void => port.postMessage(answer)

/** Resolves at the next message of the main thread: it has taken what was handed over. */
const taken = (): Promise<void> => new Promise((resolve) => void port.once('message', () => resolve()))

const run = async (): Promise<SurveyResult> => {
  using database = new LocalDatabase(catalog)
  await using store = await DirectoryPackStore.open(packs, await database.call('setting.get', { name: PACKS_SETTING }))
  const reader = new RecordReader({ tenant, database, store })
  const key = nodeKey(keyedHash, tenant.idKey)
  const nodes = async (ids: readonly Uint8Array[]): Promise<(TreeNode | VarveError)[]> =>
    (await reader.fetch(ids)).map((fetched, index) => {
      const id = ids[index]!
      if (fetched instanceof VarveError) return fetched
      try {
        const record = checkFetched(fetched)
        if (record.type !== RECORD.node || !equalBytes(keyedHash(key, record.stored), id))
          return damagedRecord(id, 'it is not this tree node')
        return decodeNode(ownBytes(record.stored))
      } catch (error) {
        return asVarveError(error)
      }
    })
  const lattice = owners === null ? null : new Lattice(owners)
  let toldMs = 0
  return await new Survey({
    ...survey,
    chunkBytes: tenant.chunkBytes,
    join: lattice === null ? () => OWNER_ALL : (a, b) => lattice.join(a, b),
    rows: await database.call('collection.count', { tenant: tenant.id }),
    nodes,
    page: (after, end) => database.call('collection.page', { tenant: tenant.id, after, end }),
    onDead: async (ids, packRows, stored) => {
      if (!survey.handDead) return
      const answer = taken()
      post({ kind: 'dead', ids, packs: packRows, stored })
      await answer
    },
    onProgress: (phase, done, total) => {
      if (Date.now() - toldMs < NOTICE_INTERVAL_MS) return
      toldMs = Date.now()
      post({ kind: 'progress', progress: { phase, done, total } })
    },
  }).run()
}

try {
  // once told, the main thread ends this one: its files must be closed by then
  const result = await run()
  post({ kind: 'result', result })
} catch (thrown) {
  const { code, message, details } = storeError(thrown, 'surveying the trees')
  post({ kind: 'error', error: { code, message, details } })
}
port.close()
