// A record is whole where its place, its checksum and the id of its content are right, whatever its type.
import { expect, test } from 'vitest'
import { WholeRecords } from '../../../gateway/datastore/whole-record.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { Damager } from '../../support/damage.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from '../maintenance/stand.ts'

test('reads records of every type and says what the index says of them', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const plains = randomDisk(3)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const store = datastore.tenantStore(tenant)
  await store.writeState()
  const records = new WholeRecords(tenant, store.packs)
  const { records: named } = await datastore.catalog.collection.roots({ tenant: tenant.id })
  const ids = [stand.idOf(plains[0]!), root!, ...named]
  const types: number[] = []
  for (const [index, location] of (await store.locate(ids)).entries()) {
    const { pack, offset, ...rest } = location!
    const record = await records.read(ids[index]!, pack, offset)
    expect(record).toMatchObject({ id: ids[index], pack, offset, ...rest })
    types.push(record!.type)
  }
  expect(new Set(types)).toEqual(new Set([RECORD.chunk, RECORD.node, RECORD.manifest, RECORD.state]))
})

test('another record in its place, a flipped bit, and a pack that is not there are told apart', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const plains = randomDisk(3)
  await stand.point(await stand.machine('db1'), plains)
  const records = new WholeRecords(tenant, datastore.tenantStore(tenant).packs)
  const damager = new Damager(stand.folder)
  const [one, other] = [stand.idOf(plains[0]!), stand.idOf(plains[1]!)]
  const { pack, offset } = damager.place(one)
  expect(await codeOf(records.read(other, pack, offset))).toBe('DATA_DAMAGED')
  await damager.flip(one)
  expect(await codeOf(records.read(one, pack, offset))).toBe('DATA_DAMAGED')
  expect(await codeOf(records.read(one, '00000000-0000-4000-8000-000000000000', offset))).toBe('NOT_FOUND')
})
