// Quarantine: news are told once, cached nodes go too, another copy stays, and attribution is waited for.
import { expect, test } from 'vitest'
import { openThread } from '../../../gateway/catalog/sqlite/database.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { NodeCache } from '../../../gateway/trees/node-cache.ts'
import { Quarantine } from '../../../gateway/datastore/quarantine.ts'
import { damagedRecord } from '../../../gateway/packs/record-reader.ts'
import { decodeNode, encodeNode } from '../../../protocol/image-tree.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { memoryLog, temporaryFolder } from './fixture.ts'

const ID = new Uint8Array(32).fill(1)

const setUp = async () => {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const catalog = stack.use(await openThread(`${folder.path}/catalog.db`))
  const rest = { name: 'one', id: '0192aaaa-0000-4000-8000-0000c0ffee42', idKey: new Uint8Array(32) }
  const tenant = await catalog.tenants.add({ ...rest, chunkBytes: 4096, nowMs: 1 })
  const nodeCache = new NodeCache()
  const log = memoryLog()
  const attributions: PromiseWithResolvers<void>[] = []
  const onDamage = (): Promise<void> => {
    const attribution = Promise.withResolvers<void>()
    attributions.push(attribution)
    return attribution.promise
  }
  const quarantine = new Quarantine({ tenant, catalog, nodeCache, log, nowMs: () => 7, onDamage })
  const owned = stack.move()
  return {
    tenant,
    catalog,
    nodeCache,
    attributions,
    quarantine,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

test('damage is entered once, leaves the node cache, and is attributed', async () => {
  await using setting = await setUp()
  const { quarantine, nodeCache, tenant, catalog, attributions } = setting
  nodeCache.set(tenant.id, ID, decodeNode(encodeNode(0, [ID])))
  const error = damagedRecord(ID, 'it is not there')
  expect(await quarantine.enterError(error, RECORD.node)).toBe(true)
  expect(await quarantine.enterError(error, RECORD.node)).toBe(false)
  expect(nodeCache.get(tenant.id, ID)).toBeUndefined()
  const page = await catalog.damage.page({ tenant: tenant.id, after: null, limit: 9 })
  expect(page).toMatchObject([{ type: 'node', reason: 'missing', foundMs: 7, pack: null, offset: null }])
  expect(attributions).toHaveLength(1)
  let attributed = false
  const waiting = quarantine.attributed().then(() => (attributed = true))
  await new Promise((resolve) => setImmediate(resolve))
  expect(attributed).toBe(false)
  // one that fails leaves nobody waiting
  attributions[0]!.reject(new Error('no'))
  await waiting
})

test('quiet damage, no damage and other errors are nobody’s to attribute', async () => {
  await using setting = await setUp()
  const { quarantine, attributions } = setting
  const damage = { id: ID, type: RECORD.chunk, place: null, reason: 'x'.repeat(1000) }
  expect(await quarantine.enter([damage], { quiet: true })).toEqual([damage])
  expect(await quarantine.enter([damage])).toEqual([])
  expect(await quarantine.enter([])).toEqual([])
  expect(await quarantine.enterError(new VarveError('STORE_FAILED', 'no'))).toBe(false)
  // as a peer could say it
  const { code, message, details } = damagedRecord(new Uint8Array(32).fill(2), 'it is not there')
  expect(await quarantine.enterError(new VarveError(code, message, { details }))).toBe(false)
  await quarantine.attributed()
  expect(attributions).toHaveLength(0)
})
