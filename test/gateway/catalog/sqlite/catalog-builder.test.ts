// A catalog that is built from an old one: tenants keep their numbers where they can, what belongs to no tenant comes
// along, and it counts itself.
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { CatalogBuilder } from '../../../../gateway/catalog/sqlite/catalog-builder.ts'
import { catalogOver, openLocal } from '../../../../gateway/catalog/sqlite/database.ts'
import { OldCatalog } from '../../../../gateway/catalog/sqlite/old-catalog.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { tempFolder } from '../../../support/temp.ts'

test('tenants, tokens with and without one, settings and the audit log are taken over, and the log is whole', async () => {
  await using temp = await tempFolder()
  const file = temp.join('old.db')
  const tokens = { own: randomUUID(), none: randomUUID() }
  let tenant = ''
  {
    using catalog = openLocal(file)
    const row = { name: 'acme', id: randomUUID(), idKey: new Uint8Array(randomBytes(32)), chunkBytes: 4096, nowMs: 1 }
    tenant = (await catalog.tenants.add(row)).id
    const entry = {
      timeMs: 1,
      tenant,
      subject: 's',
      role: 'owner',
      action: 'a',
      resource: '',
      outcome: 'ok',
      details: {},
    }
    await catalog.settings.set({ name: 'x', value: 'y' }, entry)
    for (const [id, of] of [
      [tokens.own, tenant],
      [tokens.none, null],
    ] as const)
      await catalog.tokens.add({ id, tenant: of, subject: 's', role: 'viewer', nowMs: 1, expiresMs: 2 })
  }
  using old = OldCatalog.open(file)
  using sql = new Sql(temp.join('new.db'))
  const builder = new CatalogBuilder(sql)
  old.copyOwn(builder)
  const [known] = old.tenants()
  const built = builder.addTenant(known!)
  expect(built).toMatchObject({ row: 1, id: tenant, name: 'acme' })
  old.copyTenant(builder, known!.row, built)
  // of two with one name the second gets another, and its own number where that is free
  expect(builder.addTenant({ ...known!, id: randomUUID() })).toMatchObject({
    row: 2,
    name: expect.not.stringMatching(/^acme$/u) as string,
  })
  expect(old.problems).toEqual([])
  const catalog = catalogOver(sql)
  expect(await catalog.settings.get({ name: 'x' })).toBe('y')
  expect(await catalog.tokens.byId({ id: tokens.own })).toMatchObject({ tenant, tenantName: 'acme' })
  expect(await catalog.tokens.byId({ id: tokens.none })).toMatchObject({ tenant: null })
  expect(await catalog.audit.list({ tenant, afterSeq: 0, limit: 9 })).toMatchObject([{ action: 'a', tenant }])
  expect(await catalog.audit.check({ after: null })).toMatchObject({ brokenSeq: null })
  expect(await catalog.condition.examine({ trusted: false })).toEqual([])
})
