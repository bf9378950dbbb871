// The gateway's name and keys are made once and found again.
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openAuthority, rotateKeys } from '../../../gateway/auth/authority.ts'
import { unaudited } from '../../../gateway/catalog/change.ts'
import { SigningKeys } from '../../../gateway/auth/keys.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { addAgent } from '../catalog.ts'
import { NOW_MS } from './test-authority.ts'
import { tempFolder } from '../../support/temp.ts'

test('name and keys survive, also where a command opens them beside the gateway', async () => {
  await using temp = await tempFolder()
  using catalog = openLocal(temp.join('catalog.db'))
  using beside = openLocal(temp.join('catalog.db'))
  const first = await openAuthority({ folder: temp.path, catalog, nowMs: NOW_MS })
  const again = await openAuthority({ folder: temp.path, catalog: beside, nowMs: NOW_MS })
  expect(first.issuer).toMatch(/^varve:[0-9a-f-]{36}$/u)
  expect(again.issuer).toBe(first.issuer)
  expect(again.keys.newest.kid).toBe(first.keys.newest.kid)
})

test('lost keys are not made anew unless somebody asks for it; a key that is not the known one neither', async () => {
  await using temp = await tempFolder()
  using catalog = openLocal(temp.join('catalog.db'))
  const options = { folder: temp.path, catalog, nowMs: NOW_MS }
  const first = await openAuthority(options)
  await rename(temp.join('keys'), temp.join('away'))
  const missing = { code: 'KEYS_MISSING', message: expect.stringContaining('varve-gateway keys new') as string }
  for (let start = 0; start < 2; start++) await expect(openAuthority(options)).rejects.toMatchObject(missing)
  expect(existsSync(temp.join('keys'))).toBe(false)
  await SigningKeys.open(temp.join('keys'), NOW_MS)
  await expect(openAuthority(options)).rejects.toMatchObject(missing)
  const renewed = await openAuthority({ ...options, acceptLostKeys: true })
  expect(renewed.issuer).toBe(first.issuer)
  const kid = await rotateKeys(renewed, NOW_MS + 1, unaudited)
  expect([renewed.keys.newest.kid, (await openAuthority(options)).keys.newest.kid]).toEqual([kid, kid])
})

test('a catalog that was rebuilt, with agents and without a known key, does not get keys silently', async () => {
  await using temp = await tempFolder()
  using catalog = openLocal(temp.join('catalog.db'))
  const options = { folder: temp.path, catalog, nowMs: NOW_MS }
  const tenant = { name: 'a', id: randomUUID(), idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }
  await addAgent(catalog, await catalog.tenants.add(tenant))
  await catalog.settings.init({ name: 'gateway', value: randomUUID() })
  await mkdir(temp.join('keys'))
  await expect(openAuthority(options)).rejects.toMatchObject({ code: 'KEYS_MISSING' })
})

test('two gateways have different names and keys', async () => {
  await using temp = await tempFolder()
  const open = async (name: string) => {
    await mkdir(temp.join(name))
    using catalog = openLocal(temp.join(name, 'catalog.db'))
    return await openAuthority({ folder: temp.join(name), catalog, nowMs: NOW_MS })
  }
  const [a, b] = [await open('a'), await open('b')]
  expect(a.issuer).not.toBe(b.issuer)
  expect(a.keys.newest.kid).not.toBe(b.keys.newest.kid)
})
