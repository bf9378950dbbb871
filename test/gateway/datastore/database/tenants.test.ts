// Tenants and settings: names are unique, a setting's first value stays.
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'

test('a tenant is found by each of its names, and added once', async () => {
  await using authority = await testAuthority()
  const { database, acme, other } = authority
  const idKey = new Uint8Array(randomBytes(32))
  const uuid = randomUUID()
  const added = await database.call('tenant.add', { name: 'third', uuid, idKey, chunkBytes: 4096, nowMs: 7 })
  expect(added).toMatchObject({ name: 'third', uuid, chunkBytes: 4096, createdMs: 7 })
  expect(Buffer.from(added.idKey).equals(idKey)).toBe(true)
  expect(await database.call('tenant.byName', { name: 'third' })).toEqual(added)
  expect(await database.call('tenant.byUuid', { uuid })).toEqual(added)
  expect(await database.call('tenant.byId', { id: added.id })).toEqual(added)
  const again = database.call('tenant.add', { name: 'third', uuid: randomUUID(), idKey, chunkBytes: 8192, nowMs: 8 })
  expect(await codeOf(again)).toBe('EXISTS')
  expect(await database.call('tenant.list', {})).toEqual([acme, other, added])
  expect(await database.call('tenant.byName', { name: 'Third' })).toBeNull()
  expect(await database.call('tenant.byUuid', { uuid: randomUUID() })).toBeNull()
  expect(await database.call('tenant.byId', { id: 99 })).toBeNull()
})

test('a setting keeps its first value', async () => {
  await using authority = await testAuthority()
  const { database } = authority
  expect(await database.call('setting.get', { name: 'x' })).toBeNull()
  expect(await database.call('setting.init', { name: 'x', value: 'one' })).toBe('one')
  expect(await database.call('setting.init', { name: 'x', value: 'two' })).toBe('one')
  expect(await database.call('setting.get', { name: 'x' })).toBe('one')
})
