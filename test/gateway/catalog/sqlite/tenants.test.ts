// Tenants and settings: names are unique, a setting's first value stays.
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'

test('a tenant is found by each of its names, and added once', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const idKey = new Uint8Array(randomBytes(32))
  const uuid = randomUUID()
  const added = await catalog.tenants.add({ name: 'third', uuid, idKey, chunkBytes: 4096, nowMs: 7 })
  expect(added).toMatchObject({ name: 'third', uuid, chunkBytes: 4096, createdMs: 7 })
  expect(Buffer.from(added.idKey).equals(idKey)).toBe(true)
  expect(await catalog.tenants.byName({ name: 'third' })).toEqual(added)
  expect(await catalog.tenants.byUuid({ uuid })).toEqual(added)
  expect(await catalog.tenants.byId({ id: added.id })).toEqual(added)
  const again = catalog.tenants.add({ name: 'third', uuid: randomUUID(), idKey, chunkBytes: 8192, nowMs: 8 })
  expect(await codeOf(again)).toBe('EXISTS')
  expect(await catalog.tenants.list()).toEqual([acme, other, added])
  expect(await catalog.tenants.byName({ name: 'Third' })).toBeNull()
  expect(await catalog.tenants.byUuid({ uuid: randomUUID() })).toBeNull()
  expect(await catalog.tenants.byId({ id: 99 })).toBeNull()
})

test('a setting keeps its first value', async () => {
  await using authority = await testAuthority()
  const { catalog } = authority
  expect(await catalog.settings.get({ name: 'x' })).toBeNull()
  expect(await catalog.settings.init({ name: 'x', value: 'one' })).toBe('one')
  expect(await catalog.settings.init({ name: 'x', value: 'two' })).toBe('one')
  expect(await catalog.settings.get({ name: 'x' })).toBe('one')
})

test('a quota is of one tenant, is audited, and makes what packs know of the tenant stale', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const none = { softBytes: null, hardBytes: null }
  const [one, two] = [
    { uuid: acme.uuid, name: acme.name, ...none },
    { uuid: other.uuid, name: other.name, ...none },
  ]
  expect(await catalog.quotas.list()).toEqual([one, two])
  const by = { subject: 'anna', role: 'platform' } as const
  await catalog.quotas.set({ tenant: acme.id, softBytes: 5, hardBytes: 2 ** 50, nowMs: 9 })
  expect(await catalog.quotas.list()).toEqual([{ ...one, softBytes: 5, hardBytes: 2 ** 50 }, two])
  const entries = await catalog.audit.list({ tenant: acme.id, afterSeq: 0, limit: 10 })
  expect(entries.at(-1)).toMatchObject({ action: 'tenant.quota', subject: 'anna', timeMs: 9, outcome: 'ok' })
  expect(entries.at(-1)!.details).toEqual({ softBytes: 5, hardBytes: 2 ** 50 })
  await catalog.quotas.set({ tenant: acme.id, ...none, nowMs: 9 })
  expect(await catalog.quotas.list()).toEqual([one, two])
})
