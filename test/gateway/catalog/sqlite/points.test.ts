// Restore points: listing by page, finding by the first characters of an id, and who sees them.
import type { PointPage } from '../../../../gateway/catalog/points.ts'
import path from 'node:path'
import { expect, test } from 'vitest'
import { FIND_POINT, PAGE_DISKS, pageStatement } from '../../../../gateway/catalog/sqlite/points.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { DISKS_MAX, PAGE_DISKS_MAX } from '../../../../protocol/limits.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, assignMachine, revokeAgent } from '../../catalog.ts'

const LIST = { agent: null, machine: null, before: null, limit: 100 }

test('points are listed newest first, page by page, narrowed to a machine', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const agent = await addAgent(catalog, acme)
  const a = await addMachine(catalog, acme, agent, 'a')
  const b = await addMachine(catalog, acme, agent, 'b')
  const ids: string[] = []
  for (let index = 0; index < 6; index++)
    ids.push(await addPoint(catalog, acme, index % 2 === 0 ? a : b, { timeMs: 100 + index, nowMs: 50 - index * 3 }))
  const list = async (rest: { machine?: string; before?: { timeMs: number; id: string }; limit?: number }) =>
    (await catalog.points.list({ ...LIST, tenant: acme.id, ...rest })).points.map(({ id }) => id)
  const newest = ids.toReversed()
  expect(await list({})).toEqual(newest)
  expect(await list({ limit: 4 })).toEqual(newest.slice(0, 4))
  expect(await list({ limit: 4, before: { timeMs: 102, id: ids[2]! } })).toEqual(newest.slice(4))
  // points of one millisecond are told apart by their ids
  const twin = await addPoint(catalog, acme, a, { timeMs: 102, nowMs: 0 })
  const [first, second] = [twin, ids[2]!].sort().toReversed()
  expect(await list({ limit: 1, before: { timeMs: 102, id: first! } })).toEqual([second])
  expect(await list({ machine: 'b' })).toEqual([ids[5], ids[3], ids[1]])
})

test('a point is found by the beginning of its id, if that is enough', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const ids: string[] = []
  for (let index = 0; index < 20; index++) ids.push(await addPoint(catalog, acme, machine, { timeMs: index }))
  const find = (prefix: string) => catalog.points.find({ tenant: acme.id, agent: null, prefix })
  for (const id of ids) {
    expect((await find(id)).id).toBe(id)
    const alike = ids.filter((other) => other.startsWith(id[0]!)).length
    expect(await codeOf(find(id[0]!))).toBe(alike > 1 ? 'AMBIGUOUS' : 'none')
  }
  expect(await codeOf(find('gggg'))).toBe('NOT_FOUND')
  expect(await codeOf(find('%'))).toBe('NOT_FOUND')
  expect(await codeOf(find(`${ids[0]!}0`))).toBe('NOT_FOUND')
})

test('another tenant’s point, and for an agent another’s machine, is not there', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme)
  const machine = await addMachine(catalog, acme, agent, 'a')
  const point = await addPoint(catalog, acme, machine)
  const stranger = await addAgent(catalog, acme)
  const words = (tenant: string, prefix: string, onlyAgent: string | null) =>
    catalog.points.find({ tenant, agent: onlyAgent, prefix }).then(
      () => 'found',
      (error: Error) => error.message.replace(prefix, 'ID'),
    )
  const missing = await words(acme.id, 'ffffffff-ffff', null)
  expect(missing).toBe('there is no restore point ID')
  expect(await words(other.id, point, null)).toBe(missing)
  expect(await words(acme.id, point, stranger)).toBe(missing)
  expect(await words(acme.id, point, agent)).toBe('found')
  expect((await catalog.points.list({ ...LIST, tenant: other.id })).points).toEqual([])
  expect((await catalog.points.list({ ...LIST, tenant: acme.id, agent: stranger })).points).toEqual([])
  // a machine that passed on takes its points along
  await revokeAgent(catalog, acme, agent)
  expect(await words(acme.id, point, stranger)).toBe(missing)
  await assignMachine(catalog, acme, stranger, 'a')
  expect(await words(acme.id, point, stranger)).toBe('found')
})

/** Steps of a plan that look through a table, or sort more than what has one time. */
const dear = (plan: readonly string[]): string[] =>
  plan.filter((step) => /^SCAN (?!page\b)/u.test(step) || /TEMP B-TREE FOR ORDER BY/u.test(step))

test('a page costs what it has: along an index in its order, from where it begins, with no look through a table', async () => {
  await using authority = await testAuthority()
  using sql = new Sql(path.join(authority.folder, 'catalog.db'))
  const before = { timeMs: 5, id: 'x' }
  for (const cursor of [null, before])
    for (const machine of [null, 'db1'])
      for (const agent of [null, 'a']) {
        const [text, ...values] = pageStatement({ tenant: 1, agent, machine, before: cursor, limit: 50 })
        const plan = sql.plan(text, ...values)
        // the pages of an agent's machines are sorted as one
        const few = agent !== null && machine === null
        expect([plan, dear(plan).filter((step) => !few || step.startsWith('SCAN'))]).toEqual([plan, []])
        if (cursor !== null) expect(plan.join('\n')).toMatch(/point_(?:tenant|machine) \(\w+=\? AND time_ms<\?\)/u)
      }
  const disks = sql.plan(PAGE_DISKS, '[]', 10)
  expect(dear(disks).filter((step) => step.startsWith('SCAN'))).toEqual([])
  expect(disks.join('\n')).toContain('SEARCH image USING PRIMARY KEY (point=?)')
  const find = sql.plan(`${FIND_POINT} LIMIT 2`, 'a', 'a~', 1)
  expect(dear(find)).toEqual([])
  expect(find.join('\n')).toMatch(/SEARCH point USING INDEX \S+ \(id>\? AND id<\?\)/u)
})

test('an agent’s page has the newest of all its machines, and goes on behind its last', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const agent = await addAgent(catalog, acme)
  const stranger = await addAgent(catalog, acme)
  const ids: string[] = []
  for (let index = 0; index < 12; index++) {
    const owner = index % 4 === 3 ? stranger : agent
    const machine = await addMachine(catalog, acme, owner, `m${index % 4}`)
    const id = await addPoint(catalog, acme, machine, { timeMs: 100 + index })
    if (owner === agent) ids.push(id)
  }
  const newest = ids.toReversed()
  const seen: string[] = []
  for (let before: { timeMs: number; id: string } | null = null; ;) {
    const page: PointPage = await catalog.points.list({ ...LIST, agent, tenant: acme.id, before, limit: 4 })
    seen.push(...page.points.map(({ id }) => id))
    const last = page.points.at(-1)!
    before = { timeMs: last.timeMs, id: last.id }
    expect(page.more).toBe(seen.length < newest.length)
    if (!page.more) break
  }
  expect(seen).toEqual(newest)
})

test('a page ends before it has more disks than a frame may hold, and the next one goes on there', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const names = Array.from({ length: DISKS_MAX }, (_, index) => `disk${index}`)
  const ids: string[] = []
  for (let index = 0; index < 18; index++)
    ids.push(await addPoint(catalog, acme, machine, { timeMs: 100 + index, names }))
  const first = await catalog.points.list({ ...LIST, tenant: acme.id })
  expect(first.points.map(({ id }) => id)).toEqual(ids.toReversed().slice(0, PAGE_DISKS_MAX / DISKS_MAX))
  expect(first.more).toBe(true)
  for (const { disks } of first.points) expect(disks.map(({ name }) => name)).toEqual(names)
  const last = first.points.at(-1)!
  const rest = await catalog.points.list({ ...LIST, tenant: acme.id, before: last })
  expect(rest).toMatchObject({ points: [{ id: ids[1] }, { id: ids[0] }], more: false })
  const whole = await catalog.points.list({ ...LIST, tenant: acme.id, limit: 16 })
  expect([whole.points.length, whole.more]).toEqual([16, true])
})

test('a list has no configuration, which would be most of it', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const id = await addPoint(catalog, acme, machine)
  const { points } = await catalog.points.list({ ...LIST, tenant: acme.id })
  expect(points[0]).not.toHaveProperty('configuration')
  expect(await catalog.points.show({ tenant: acme.id, agent: null, prefix: id.slice(0, 8) })).toMatchObject({
    id,
    configuration: '{}',
  })
})
