// Tenants and settings: names are unique, a setting's first value stays.
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'

test('a tenant is found by each of its names, and added once', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const idKey = new Uint8Array(randomBytes(32))
  const id = randomUUID()
  const added = await catalog.tenants.add({ id, name: 'third', idKey, chunkBytes: 4096, nowMs: 7 })
  expect(added).toMatchObject({ id, name: 'third', chunkBytes: 4096, createdMs: 7 })
  expect(Buffer.from(added.idKey).equals(idKey)).toBe(true)
  expect(await catalog.tenants.byName({ name: 'third' })).toEqual(added)
  expect(await catalog.tenants.byId({ id: added.id })).toEqual(added)
  const again = catalog.tenants.add({ name: 'third', id: randomUUID(), idKey, chunkBytes: 8192, nowMs: 8 })
  expect(await codeOf(again)).toBe('EXISTS')
  expect(await catalog.tenants.list()).toEqual([acme, other, added])
  expect(await catalog.tenants.byName({ name: 'Third' })).toBeNull()
  expect(await catalog.tenants.byId({ id: randomUUID() })).toBeNull()
})

test('a setting keeps its first value', async () => {
  await using authority = await testAuthority()
  const { catalog } = authority
  expect(await catalog.settings.get({ name: 'x' })).toBeNull()
  expect(await catalog.settings.init({ name: 'x', value: 'one' })).toBe('one')
  expect(await catalog.settings.init({ name: 'x', value: 'two' })).toBe('one')
  expect(await catalog.settings.get({ name: 'x' })).toBe('one')
})

test('a quota is of one tenant, changes by what is given, and makes what packs know of the tenant stale', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const none = { softBytes: null, hardBytes: null }
  const [one, two] = [
    { tenant: acme.id, name: acme.name, ...none },
    { tenant: other.id, name: other.name, ...none },
  ]
  expect(await catalog.quotas.list()).toEqual([one, two])
  await catalog.quotas.set({ tenant: acme.id, softBytes: 5 })
  expect(await catalog.quotas.set({ tenant: acme.id, hardBytes: 2 ** 50 })).toEqual({
    softBytes: 5,
    hardBytes: 2 ** 50,
  })
  expect(await codeOf(catalog.quotas.set({ tenant: acme.id, hardBytes: 4 }))).toBe('PARAMS_INVALID')
  expect(await catalog.quotas.list()).toEqual([{ ...one, softBytes: 5, hardBytes: 2 ** 50 }, two])
  const asked = { only: null, after: null, limit: 10 }
  expect(await catalog.tenants.page(asked)).toMatchObject([
    { name: 'acme', softBytes: 5, hardBytes: 2 ** 50, packBytes: 0 },
    { name: other.name },
  ])
  expect((await catalog.tenants.page({ ...asked, after: 'acme' })).map(({ name }) => name)).toEqual([other.name])
  expect((await catalog.tenants.page({ ...asked, only: 'acme' })).map(({ name }) => name)).toEqual(['acme'])
  await catalog.quotas.set({ tenant: acme.id, ...none })
  expect(await catalog.quotas.list()).toEqual([one, two])
})
