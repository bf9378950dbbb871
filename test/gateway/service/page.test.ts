// Pages: a cursor leads on where the page ended, in its own list only, and whatever else comes is refused.
import { expect, test } from 'vitest'
import { COUNT_KEY, keyBehind, nextOf, pageOf, TEXT_KEY } from '../../../gateway/service/page.ts'
import { everyRow } from '../../../protocol/paging.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, startJob } from '../catalog.ts'
import { TestServices } from '../services.ts'

const key = (list: string, after: string | null): string =>
  (() => {
    try {
      return String(keyBehind(list, after, TEXT_KEY))
    } catch (error) {
      return String(Reflect.get(error as object, 'code'))
    }
  })()

test('a cursor is good for its list, and nothing else is a cursor', () => {
  const page = pageOf(['a', 'b', 'c'], 2)
  expect(page).toEqual({ rows: ['a', 'b'], more: true })
  const next = nextOf('list', page, (row) => [row])
  expect(next).toMatch(/^[A-Za-z0-9_-]+$/u)
  expect(key('list', next)).toBe('b')
  expect(key('list', null)).toBe('null')
  expect(nextOf('list', pageOf(['a'], 2), (row) => [row])).toBeNull()
  const wrong = [
    nextOf('other', page, (row) => [row]),
    nextOf('list', page, () => [7]),
    nextOf('list', page, (row) => [row, row]),
    Buffer.from('["list"').toString('base64url'),
    'AAAA',
  ]
  for (const cursor of wrong) expect(key('list', cursor)).toBe('PARAMS_INVALID')
  expect(() =>
    keyBehind(
      'list',
      nextOf('list', page, () => [-1]),
      COUNT_KEY,
    ),
  ).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})

test('every list gives each of its rows once, page by page, and takes no cursor of another one', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const owner = await test.person('owner')
  const platform = await test.person('platform')
  for (let index = 0; index < 5; index++) {
    const agent = await addAgent(catalog, test.acme)
    const machine = await addMachine(catalog, test.acme, agent, `m${index}`)
    await addPoint(catalog, test.acme, machine, { timeMs: 100 + index })
    await startJob(catalog, test.acme, machine, { nowMs: 200 + index })
    await test.token('viewer')
    await owner.call('plans.apply', { plans: [{ name: `p${index}` }] })
    await catalog.tenants.add({
      ...test.acme,
      name: `t${index}`,
      id: `0000000${index}-0000-4000-8000-000000000000`,
      nowMs: 1,
    })
  }
  const limit = 2
  const lists: Record<string, (after: string | null) => Promise<{ rows: unknown[]; next: string | null }>> = {
    agents: async (after) => rowsOf(await owner.call('agents.list', { after, limit }), 'agents'),
    tokens: async (after) => rowsOf(await owner.call('tokens.list', { after, limit }), 'tokens'),
    machines: async (after) => rowsOf(await owner.call('machines.list', { after, limit }), 'machines'),
    jobs: async (after) => rowsOf(await owner.call('jobs.list', { machine: null, after, limit }), 'jobs'),
    points: async (after) => rowsOf(await owner.call('points.list', { machine: null, after, limit }), 'points'),
    plans: async (after) => rowsOf(await owner.call('plans.list', { after, limit }), 'plans'),
    tenants: async (after) => rowsOf(await platform.call('tenants.list', { after, limit }), 'tenants'),
    entries: async (after) => rowsOf(await owner.call('audit.list', { after, limit }), 'entries'),
  }
  const cursors: [string, string][] = []
  for (const [name, ask] of Object.entries(lists)) {
    const { next } = await ask(null)
    cursors.push([name, next!])
    const rows = await everyRow(ask, (page) => page.rows)
    expect([name, rows.length >= 5]).toEqual([name, true])
    expect([name, new Set(rows.map((row) => JSON.stringify(row))).size]).toEqual([name, rows.length])
  }
  for (const [name, ask] of Object.entries(lists))
    for (const [from, cursor] of cursors)
      if (from !== name) expect([name, from, await codeOf(ask(cursor))]).toEqual([name, from, 'PARAMS_INVALID'])
  // narrowed otherwise it is another list
  const [first] = (await owner.call('points.list', { machine: 'm1', limit: 1 })).points
  expect(first!.machine).toBe('m1')
  expect(
    await codeOf(owner.call('points.list', { machine: 'm1', after: cursors.find(([name]) => name === 'points')![1] })),
  ).toBe('PARAMS_INVALID')
})

const rowsOf = <K extends string, R>(
  page: { readonly [N in K]: readonly R[] } & { readonly next: string | null },
  name: K,
): { rows: R[]; next: string | null } => ({ rows: [...page[name]], next: page.next })
