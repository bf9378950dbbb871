// What is lost with tree nodes: whose loss may be accepted, which points it touches, and which packs damage lies in.
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal, type LocalCatalog } from '../../../../gateway/catalog/sqlite/database.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { CATALOG_NAME } from '../../../../gateway/datastore/datastore.ts'
import { RECORD } from '../../../../gateway/packs/format.ts'
import { codeOf } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'
import { temporaryFolder } from '../../datastore/fixture.ts'

const addTenant = (catalog: LocalCatalog): Promise<Tenant> =>
  catalog.tenants.add({ name: 'acme', id: randomUUID(), idKey: id(9), chunkBytes: 4096, nowMs: 1 })

const id = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)

test('a point that is held or locked is nobody’s to give up; a lock that is over is none', async () => {
  await using folder = await temporaryFolder()
  using catalog = openLocal(path.join(folder.path, CATALOG_NAME))
  const tenant = await addTenant(catalog)
  const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'db1')
  const point = await addPoint(catalog, tenant, machine)
  const ask = (nowMs = 100): Promise<string> => {
    const accepted = { points: [point], nowMs }
    const swept = catalog.collection.sweep({ tenant: tenant.id, ids: id(1), accepted })
    return codeOf(swept.then(() => catalog.losses.acceptable({ tenant: tenant.id, accepted })))
  }
  const set = (text: string): void => {
    using sql = new Sql(path.join(folder.path, CATALOG_NAME))
    sql.run(`UPDATE point SET ${text}`)
  }
  expect(await ask()).toBe('none')
  set('held = 1')
  expect(await ask()).toBe('POINT_HELD')
  set('held = 0, locked_ms = 101')
  expect(await ask()).toBe('POINT_HELD')
  set('locked_ms = 100')
  expect(await ask()).toBe('none')
  const accepted = { points: [randomUUID()], nowMs: 1 }
  expect(await codeOf(catalog.losses.acceptable({ tenant: tenant.id, accepted }))).toBe('NOT_FOUND')
})

test('points are named by the damaged tree nodes they need, and packs by the damage in them', async () => {
  await using folder = await temporaryFolder()
  using catalog = openLocal(path.join(folder.path, CATALOG_NAME))
  const tenant = await addTenant(catalog)
  const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'db1')
  const [one, other] = [await addPoint(catalog, tenant, machine), await addPoint(catalog, tenant, machine)]
  {
    using sql = new Sql(path.join(folder.path, CATALOG_NAME))
    for (const [byte, type, pack] of [
      [1, RECORD.node, 'a'],
      [2, RECORD.chunk, 'a'],
      [3, RECORD.chunk, null],
    ] as const)
      sql.run(
        'INSERT INTO damage (tenant, id, type, pack, offset, reason, found_ms) VALUES (?, ?, ?, ?, 1, ?, 1)',
        1,
        id(byte),
        type,
        pack,
        'x',
      )
    for (const [point, offset, byte] of [
      [one, 0, 1],
      [one, 4096, 1],
      [other, 0, 2],
    ] as const)
      sql.run(
        'INSERT INTO lost (point, disk, offset, length, id) VALUES (?, ?, ?, 4096, ?)',
        point,
        'vda',
        offset,
        id(byte),
      )
  }
  expect(await catalog.losses.subtrees({ tenant: tenant.id })).toEqual([
    { point: one, machine: 'db1', disk: 'vda', held: false, lockedUntilMs: null },
  ])
  expect(await catalog.damage.packs({ tenant: tenant.id })).toEqual(['a'])
  const ids = Buffer.concat([id(4), id(3), id(1)])
  expect([...(await catalog.damage.known({ tenant: tenant.id, ids }))]).toEqual([0, 1, 1])
  const page = await catalog.damage.ids({ tenant: tenant.id, after: id(1) })
  expect(Buffer.from(page)).toEqual(Buffer.concat([id(2), id(3)]))
})
