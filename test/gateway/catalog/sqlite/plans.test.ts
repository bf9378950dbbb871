// Plans in the catalog: applied all or none, resolved in the transaction that asks; what was derived never outlives them.
import path from 'node:path'
import { expect, test } from 'vitest'
import type { AuditRecord } from '../../../../gateway/catalog/audit-record.ts'
import type { Catalog } from '../../../../gateway/catalog/catalog.ts'
import { coveringIn, putPlan } from '../../../../gateway/catalog/sqlite/plans.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { tenantRow } from '../../../../gateway/catalog/sqlite/tenant-row.ts'
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { FIRST_PLAN, PLAN_RULES_DEFAULT, PLANS_MAX, type Covers, type Plan } from '../../../../protocol/plans.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine } from '../../catalog.ts'

const plan = (name: string, covers: Partial<Covers> = {}, rules: Partial<Plan> = {}): Plan => ({
  ...PLAN_RULES_DEFAULT,
  ...rules,
  covers: { ...PLAN_RULES_DEFAULT.covers, ...covers },
  name,
})

/** An entry that cannot be written: it is of a tenant that is not there. */
const BROKEN: AuditRecord = {
  timeMs: 1,
  tenant: '00000000-0000-4000-8000-000000000000',
  subject: 'ann',
  role: 'owner',
  action: 'test',
  resource: '',
  outcome: 'ok',
  details: {},
}

const furnish = async (catalog: Catalog, tenant: Tenant, names: readonly string[]): Promise<void> => {
  const agent = await addAgent(catalog, tenant)
  for (const name of names) await addMachine(catalog, tenant, agent, name)
}

test('the nearest plan covers a machine, and each tenant has its own', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  await furnish(catalog, acme, ['db1', 'web1', 'web2', 'x'])
  await furnish(catalog, other, ['db1'])
  const nearest = async (machine: string, tenant = acme) =>
    (await catalog.plans.of({ tenant: tenant.id, machine }))?.name ?? null
  expect(await nearest('db1')).toBe(null)
  const wanted = [
    FIRST_PLAN,
    plan('databases', { machines: ['db1'] }),
    plan('webs', { groups: ['web'] }),
    plan('names', { patterns: ['web*'] }),
  ]
  const changes = await catalog.plans.apply({ tenant: acme.id, plans: wanted })
  expect(changes.map(({ plan: name, change }) => [name, change])).toEqual([
    ['databases', 'added'],
    ['names', 'added'],
    ['nightly', 'added'],
    ['webs', 'added'],
  ])
  await catalog.machines.setGroup({ tenant: acme.id, name: 'web2', group: 'web' })
  expect(await Promise.all(['db1', 'web1', 'web2', 'x'].map((name) => nearest(name)))).toEqual([
    'databases',
    'names',
    'webs',
    'nightly',
  ])
  expect(await nearest('db1', other)).toBe(null)
  const rows = await catalog.machines.list({ tenant: acme.id, agent: null, after: null, limit: 9 })
  expect(rows.map(({ name, plan: of }) => [name, of])).toEqual([
    ['db1', 'databases'],
    ['web1', 'names'],
    ['web2', 'webs'],
    ['x', 'nightly'],
  ])
  await catalog.plans.apply({ tenant: acme.id, plans: [], remove: ['webs', 'nightly'] })
  expect(await Promise.all(['web2', 'x'].map((name) => nearest(name)))).toEqual(['names', null])
  expect(await codeOf(catalog.plans.of({ tenant: acme.id, machine: 'nobody' }))).toBe('NOT_FOUND')
  expect(await catalog.plans.machines({ tenant: acme.id })).toContainEqual({ name: 'web2', group: 'web' })
})

test('plans are applied all or none, with their entry, and what is there is not written again', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const apply = (plans: Plan[], rest: object = {}, entry?: AuditRecord) =>
    catalog.plans.apply({ tenant: acme.id, plans, ...rest }, entry)
  await apply([FIRST_PLAN])
  expect(await codeOf(apply([plan('a'), plan('b', { others: true })]))).toBe('PARAMS_INVALID')
  expect(await codeOf(apply([plan('a')], { remove: ['nobody'] }))).toBe('NOT_FOUND')
  expect(await codeOf(apply([plan('a')], {}, BROKEN))).not.toBe('none')
  const many = Array.from({ length: PLANS_MAX }, (_, index) => plan(`p${index}`))
  expect(await codeOf(apply(many))).toBe('LIMIT_REACHED')
  expect(await catalog.plans.list({ tenant: acme.id })).toEqual([FIRST_PLAN])
  expect(await catalog.plans.list({ tenant: other.id })).toEqual([])
  using sql = new Sql(path.join(authority.folder, 'catalog.db'))
  const dirtyAfter = async (work: () => Promise<unknown>) => {
    sql.run('UPDATE tenant SET state_dirty = 0')
    await work()
    return sql.get<{ dirty: number }>('SELECT state_dirty AS dirty FROM tenant WHERE uuid = ?', acme.id)!.dirty
  }
  expect(await dirtyAfter(() => apply([FIRST_PLAN], { replace: true }))).toBe(0)
  expect(await dirtyAfter(() => apply([{ ...FIRST_PLAN, lockDays: 7 }]))).toBe(1)
  expect(await dirtyAfter(() => apply([plan('b')], { replace: true }))).toBe(1)
  expect((await catalog.plans.page({ tenant: acme.id, after: 'a', limit: 1 })).map(({ name }) => name)).toEqual(['b'])
  expect(await codeOf(catalog.plans.get({ tenant: acme.id, name: 'nightly' }))).toBe('NOT_FOUND')
  expect(await catalog.plans.get({ tenant: acme.id, name: 'b' })).toEqual(plan('b'))
})

test('what was derived of plans that were undone is not believed', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await catalog.plans.apply({ tenant: acme.id, plans: [plan('a', { others: true })] })
  using sql = new Sql(path.join(authority.folder, 'catalog.db'))
  const tenant = tenantRow(sql, acme.id)
  const covering = () => coveringIn(sql, tenant)({ name: 'db1', group: null })?.name ?? null
  expect(covering()).toBe('a')
  const undone = () =>
    sql.transaction(() => {
      putPlan(sql, tenant, plan('b', { machines: ['db1'] }))
      expect(covering()).toBe('b')
      throw new Error('undone')
    })
  expect(undone).toThrow('undone')
  expect(covering()).toBe('a')
  sql.transaction(() => putPlan(sql, tenant, plan('c', { machines: ['db1'] })))
  expect(covering()).toBe('c')
  // by another connection
  await catalog.plans.apply({ tenant: acme.id, plans: [], replace: true })
  expect(covering()).toBe(null)
})

test('a machine is left out with who, why and until when, and taken in again', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  await furnish(catalog, acme, ['db1', 'db2'])
  const shown = async () => (await catalog.machines.get({ tenant: acme.id, name: 'db1' })).exclusion
  const exclusion = { by: 'ann', reason: 'it is rebuilt', sinceMs: 5, untilMs: 100 }
  expect(await shown()).toBe(null)
  await catalog.plans.exclude({ tenant: acme.id, machine: 'db1', exclusion })
  expect(await shown()).toEqual(exclusion)
  await catalog.plans.exclude({ tenant: acme.id, machine: 'db1', exclusion: { ...exclusion, untilMs: null } })
  expect(await shown()).toEqual({ ...exclusion, untilMs: null })
  const rows = await catalog.machines.list({ tenant: acme.id, agent: null, after: null, limit: 9 })
  expect(rows.map((row) => row.exclusion?.by ?? null)).toEqual(['ann', null])
  expect(await codeOf(catalog.plans.exclude({ tenant: other.id, machine: 'db1', exclusion }))).toBe('NOT_FOUND')
  expect(await codeOf(catalog.plans.include({ tenant: acme.id, machine: 'db9' }))).toBe('NOT_FOUND')
  expect(await catalog.plans.include({ tenant: acme.id, machine: 'db1' })).toBe(true)
  expect(await catalog.plans.include({ tenant: acme.id, machine: 'db1' })).toBe(false)
  expect(await shown()).toBe(null)
})
