// Before a pack goes: what of it is needed is known, and what only it has is in the index again.
import { expect, test } from 'vitest'
import { PackProof } from '../../../gateway/maintenance/pack-proof.ts'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { forgetRecords, shiftRecords } from '../../support/catalog-damage.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { Stand } from '../chains/script.ts'
import { contextOf, randomDisk } from './stand.ts'

const proofOf = (stand: Stand): PackProof => new PackProof(contextOf(stand), new Throttle(null, new HandClock(1)))

const world = async () => {
  const stand = await Stand.open()
  const plains = randomDisk(40)
  await stand.point(await stand.machine('db1'), plains)
  const ids = plains.map((plain) => stand.idOf(plain))
  const store = stand.datastore.tenantStore(stand.tenant)
  await store.packs.retire()
  const { pack } = (await store.locate([ids[0]!]))[0]!
  return { stand, ids, store, pack, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
}

test('a pack is free when the index names nothing in it and no damage could be healed from it', async () => {
  await using place = await world()
  const { stand, store, pack, ids } = place
  const proof = proofOf(stand)
  expect(await proof.isFree(pack)).toBe(false)
  expect(await proof.isFree('00000000-0000-4000-8000-000000000000')).toBe(true)
  forgetRecords(stand.folder, ids)
  expect(await proof.isFree(pack)).toBe(true)
  // two of them are missed
  const missing = ids.slice(0, 2).map((id) => ({ id, type: 1 as const, place: null, reason: 'missing' }))
  await store.quarantine.enter(missing, { quiet: true })
  expect(await proof.isFree(pack)).toBe(false)
  expect((await store.locate(ids)).filter((one) => one !== null)).toHaveLength(2)
  expect(await stand.datastore.catalog.damage.any({ tenant: stand.tenant.id })).toBe(false)
})

test('a place that is wrong is put right, a good copy elsewhere is left to be the one', async () => {
  await using place = await world()
  const { stand, store, pack, ids } = place
  const heads = (await store.locate(ids)).map((at, index) => ({ id: ids[index]!, offset: at!.offset }))
  shiftRecords(stand.folder, [ids[3]!], 5)
  expect(await proofOf(stand).look(pack, heads)).toBe(40)
  expect((await store.locate([ids[3]!]))[0]).toMatchObject({ pack, offset: heads[3]!.offset })
  // as another copy sees it
  expect(await proofOf(stand).look('11111111-1111-4111-8111-111111111111', heads)).toBe(0)
  expect((await store.locate(ids)).every((one) => one?.pack === pack)).toBe(true)
  expect(await proofOf(stand).look(pack, [])).toBe(0)
})
