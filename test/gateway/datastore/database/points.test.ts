// Restore points: listing by page, finding by the first characters of an id, and who sees them.
import { expect, test } from 'vitest'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, assignMachine, revokeAgent } from '../../catalog.ts'

const LIST = { agent: null, machine: null, before: null, limit: 100 }

test('points are listed newest first, page by page, narrowed to a machine', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  const agent = await addAgent(database, acme)
  const a = await addMachine(database, acme, agent, 'a')
  const b = await addMachine(database, acme, agent, 'b')
  const ids: string[] = []
  for (let index = 0; index < 6; index++)
    ids.push(await addPoint(database, acme, index % 2 === 0 ? a : b, { timeMs: 100 + index, nowMs: 50 - index * 3 }))
  const list = async (rest: { machine?: string; before?: { timeMs: number; id: string }; limit?: number }) =>
    (await database.call('point.list', { ...LIST, tenant: acme.id, ...rest })).points.map(({ id }) => id)
  const newest = ids.toReversed()
  expect(await list({})).toEqual(newest)
  expect(await list({ limit: 4 })).toEqual(newest.slice(0, 4))
  expect(await list({ limit: 4, before: { timeMs: 102, id: ids[2]! } })).toEqual(newest.slice(4))
  // points of one millisecond are told apart by their ids
  const twin = await addPoint(database, acme, a, { timeMs: 102, nowMs: 0 })
  const [first, second] = [twin, ids[2]!].sort().toReversed()
  expect(await list({ limit: 1, before: { timeMs: 102, id: first! } })).toEqual([second])
  expect(await list({ machine: 'b' })).toEqual([ids[5], ids[3], ids[1]])
})

test('a point is found by the beginning of its id, if that is enough', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  const machine = await addMachine(database, acme, await addAgent(database, acme), 'a')
  const ids: string[] = []
  for (let index = 0; index < 20; index++) ids.push(await addPoint(database, acme, machine, { timeMs: index }))
  const find = (prefix: string) => database.call('point.find', { tenant: acme.id, agent: null, prefix })
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
  const { database, acme, other } = authority
  const agent = await addAgent(database, acme)
  const machine = await addMachine(database, acme, agent, 'a')
  const point = await addPoint(database, acme, machine)
  const stranger = await addAgent(database, acme)
  const words = (tenant: number, prefix: string, onlyAgent: string | null) =>
    database.call('point.find', { tenant, agent: onlyAgent, prefix }).then(
      () => 'found',
      (error: Error) => error.message.replace(prefix, 'ID'),
    )
  const missing = await words(acme.id, 'ffffffff-ffff', null)
  expect(missing).toBe('there is no restore point ID')
  expect(await words(other.id, point, null)).toBe(missing)
  expect(await words(acme.id, point, stranger)).toBe(missing)
  expect(await words(acme.id, point, agent)).toBe('found')
  expect(await database.call('point.list', { ...LIST, tenant: other.id })).toEqual([])
  expect(await database.call('point.list', { ...LIST, tenant: acme.id, agent: stranger })).toEqual([])
  // a machine that passed on takes its points along
  await revokeAgent(database, acme, agent)
  expect(await words(acme.id, point, stranger)).toBe(missing)
  await assignMachine(database, acme, stranger, 'a')
  expect(await words(acme.id, point, stranger)).toBe('found')
})
