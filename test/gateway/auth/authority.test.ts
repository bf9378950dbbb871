// The gateway's name and keys are made once and found again.
import { mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openAuthority } from '../../../gateway/auth/authority.ts'
import { LocalDatabase } from '../../../gateway/datastore/database/database.ts'
import { NOW_MS } from './test-authority.ts'
import { tempFolder } from '../../support/temp.ts'

test('name and keys survive, also where a command opens them beside the gateway', async () => {
  await using temp = await tempFolder()
  using database = new LocalDatabase(temp.join('catalog.db'))
  using beside = new LocalDatabase(temp.join('catalog.db'))
  const first = await openAuthority({ folder: temp.path, database, nowMs: NOW_MS })
  const again = await openAuthority({ folder: temp.path, database: beside, nowMs: NOW_MS })
  expect(first.issuer).toMatch(/^varve:[0-9a-f-]{36}$/u)
  expect(again.issuer).toBe(first.issuer)
  expect(again.keys.newest.kid).toBe(first.keys.newest.kid)
})

test('two gateways have different names and keys', async () => {
  await using temp = await tempFolder()
  const open = async (name: string) => {
    await mkdir(temp.join(name))
    using database = new LocalDatabase(temp.join(name, 'catalog.db'))
    return await openAuthority({ folder: temp.join(name), database, nowMs: NOW_MS })
  }
  const [a, b] = [await open('a'), await open('b')]
  expect(a.issuer).not.toBe(b.issuer)
  expect(a.keys.newest.kid).not.toBe(b.keys.newest.kid)
})
