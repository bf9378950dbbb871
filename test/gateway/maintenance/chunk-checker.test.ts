// Checking chunks: in pack order, each bad one by name, at the rate that is allowed, and until it is stopped.
import { expect, test } from 'vitest'
import { batchesOf, ChunkChecker } from '../../../gateway/maintenance/chunk-checker.ts'
import { RecordPool } from '../../../gateway/packs/record-pool.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { Damager } from '../../support/damage.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from './stand.ts'

test('batches follow the packs and are bounded in bytes and in records', () => {
  const placed = Array.from({ length: 5000 }, (_, index) => ({
    id: new Uint8Array(32),
    location: {
      pack: index % 2 === 0 ? 'a' : 'b',
      offset: ((index * 7919) % 5000) * 100_000,
      storedLength: index < 3000 ? 60_000 : 10,
      plainLength: 65_536,
      codec: 1,
      type: 1,
      parts: 1,
      place: 0,
    } as const,
  }))
  const batches = batchesOf(placed)
  const inOrder = batches.flat().map(({ location: { pack, offset } }) => `${pack}${String(offset).padStart(12, '0')}`)
  expect(inOrder).toEqual(inOrder.toSorted())
  expect(inOrder).toHaveLength(5000)
  for (const batch of batches) {
    expect(batch.length).toBeLessThanOrEqual(1024)
    expect(batch.reduce((sum, { location }) => sum + location.storedLength, 0)).toBeLessThanOrEqual(8 * 1024 * 1024)
  }
  expect(batches.length).toBeLessThan(60)
  expect(batchesOf([])).toEqual([])
})

test('exactly the chunks that are damaged or missing are told, with their places', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const plains = randomDisk(600)
  await stand.point(await stand.machine('db1'), plains)
  const ids = plains.map((plain) => damager.chunkId(plain))
  await using pool = new RecordPool(2)
  let bytes = 0
  const store = stand.datastore.tenantStore(stand.tenant)
  const checker = new ChunkChecker({
    store,
    pool,
    throttle: new Throttle(null, new HandClock()),
    signal: new AbortController().signal,
    onRead: (more) => void (bytes += more),
  })
  expect(await checker.check(ids)).toEqual([])
  expect(bytes).toBeGreaterThan(600 * 4096)
  const { offset, pack } = await damager.flip(ids[17]!)
  const nowhere = new Uint8Array(32).fill(3)
  const found = await checker.check([...ids, nowhere])
  expect(found).toHaveLength(2)
  expect(found).toContainEqual(
    expect.objectContaining({ id: ids[17]!, place: expect.objectContaining({ pack, offset }) as object }),
  )
  expect(found).toContainEqual({ id: nowhere, type: 1, place: null, reason: 'missing' })
  await damager.removePack(ids[0]!)
  expect(await store.packs.gone([{ uuid: pack }])).toEqual([{ uuid: pack }])
  expect(await checker.check(ids)).toHaveLength(600)
})

test('waits for the rate, and ends when it is told to', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const plains = randomDisk(100)
  await stand.point(await stand.machine('db1'), plains)
  await using pool = new RecordPool(1)
  const clock = new HandClock(10_000)
  const abort = new AbortController()
  let bytes = 0
  const checker = new ChunkChecker({
    store: stand.datastore.tenantStore(stand.tenant),
    pool,
    throttle: new Throttle(1024, clock),
    signal: abort.signal,
    onRead: (more) => void (bytes += more),
  })
  const checked = checker.check(plains.map((plain) => damager.chunkId(plain)))
  while (clock.waiting === 0) await settle()
  expect(bytes).toBe(0)
  abort.abort(new VarveError('CANCELLED', 'enough'))
  expect(await codeOf(checked)).toBe('CANCELLED')
  expect(bytes).toBe(0)
})
