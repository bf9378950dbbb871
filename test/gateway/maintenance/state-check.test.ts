// The copy of the state in the packs: whole, damaged and written again, replaced meanwhile.
import { expect, test } from 'vitest'
import { damageOfState, refreshState } from '../../../gateway/maintenance/state-check.ts'
import { Damager } from '../../support/damage.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from './stand.ts'

test('a damaged state is written again, a whole one is left alone', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(3))
  const { datastore, tenant } = stand
  const { catalog } = datastore
  const store = datastore.tenantStore(tenant)
  const records = () => catalog.states.records({ tenant: tenant.id })
  // the first is only written
  expect(await refreshState(catalog, store)).toBe(0)
  const before = await records()
  expect(before).toHaveLength(32)
  expect(await refreshState(catalog, store)).toBe(0)
  expect(await records()).toEqual(before)
  await new Damager(stand.folder).flip(before)
  expect(await damageOfState(catalog, store)).toHaveLength(1)
  expect(await refreshState(catalog, store)).toBe(1)
  const after = await records()
  expect(after).not.toEqual(before)
  await store.readRecord(after)
  expect(await damageOfState(catalog, store)).toEqual([])
  expect(await catalog.states.changed()).toEqual([])
})

test('one that was replaced while it was read is no damage', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const { catalog } = datastore
  const store = datastore.tenantStore(tenant)
  await store.writeState()
  await new Damager(stand.folder).flip(await catalog.states.records({ tenant: tenant.id }))
  const readRecord: typeof store.readRecord = async (id) => {
    await catalog.states.spoil({ tenant: tenant.id })
    await store.writeState()
    return await store.readRecord(id)
  }
  expect(await damageOfState(catalog, { tenant, readRecord })).toEqual([])
})
