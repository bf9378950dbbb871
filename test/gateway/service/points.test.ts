// Holds, locks, prune and rules over sessions: what each role can and cannot do to a point, and what the audit log says of it.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { REFUSALS_PER_WINDOW_MAX } from '../../../gateway/auth/audit.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { POINT_USES_OF_ONE_MAX } from '../../../protocol/limits.ts'
import { KEEP_OFF } from '../../../protocol/plans.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addMachine, addPoint } from '../catalog.ts'
import { TestServices, type TestAgent } from '../services.ts'

const DAY_MS = 24 * 3_600_000
const USE = '0192aaaa-0000-4000-8000-0000c0ffee42'
const USE_MS = 30_000
const PRUNE = { machine: null, group: null, rules: null, points: null, dryRun: false } as const

/** A machine with three points, a day apart, newest last. */
const furnish = async (test: TestServices): Promise<{ agent: TestAgent; ids: string[] }> => {
  const agent = await test.agent()
  const { catalog } = test.services.datastore
  const machine = await addMachine(catalog, test.acme, agent.id, 'db1')
  const ids: string[] = []
  for (const day of [1, 2, 3])
    ids.push(await addPoint(catalog, test.acme, machine, { timeMs: day * DAY_MS, nowMs: day * DAY_MS }))
  return { agent, ids }
}

const pointIds = async (peer: Peer): Promise<string[]> =>
  (await peer.call('points.list', { machine: 'db1', limit: 10 })).points.map(({ id }) => id)

test('a hold keeps a point from everybody’s prune until somebody releases it', async () => {
  await using test = await TestServices.open()
  const { ids } = await furnish(test)
  const operator = await test.person('operator')
  const owner = await test.person('owner')
  const [first, second, third] = ids as [string, string, string]
  const held = await operator.call('points.hold', { point: first.slice(0, 13), held: true })
  expect(held.point).toMatchObject({ id: first, held: true, lockedUntilMs: null })
  expect(await codeOf(owner.call('points.prune', { ...PRUNE, points: [first] }))).toBe('POINT_HELD')
  const rules = { keep: { ...KEEP_OFF, last: 1 }, timeZone: 'UTC' }
  const done = await operator.call('points.prune', { ...PRUNE, machine: 'db1', rules })
  expect(done.points).toEqual([
    { point: second, machine: 'db1', timeMs: 2 * DAY_MS, keptBy: [] },
    { point: third, machine: 'db1', timeMs: 3 * DAY_MS, keptBy: ['last', 'last-good'] },
    { point: first, machine: 'db1', timeMs: DAY_MS, keptBy: ['held'] },
  ])
  expect(await pointIds(owner)).toEqual([third, first])
  expect((await owner.call('points.hold', { point: first, held: false })).point.held).toBe(false)
  expect(await operator.call('points.prune', { ...PRUNE, points: [first] })).toMatchObject({ removed: 1 })
  const audited = (await test.audited(test.acme)).map(({ subject, action, resource, outcome }) =>
    [subject, action, resource, outcome].join(' ').trim(),
  )
  expect(audited.filter((line) => line.startsWith('a o'))).toEqual([
    `a operator points.hold point=${first.slice(0, 13)} ok`,
    'a owner points.prune  POINT_HELD',
    `a operator points.remove point=${second} ok`,
    'a operator points.prune machine=db1 ok',
    `a owner points.hold point=${first} ok`,
    `a operator points.remove point=${first} ok`,
    'a operator points.prune  ok',
  ])
})

test('a point in use stays, for its own agent and for people; it goes once the use is ended, over, or its agent revoked', async () => {
  await using test = await TestServices.open()
  const { agent, ids } = await furnish(test)
  const owner = await test.person('owner')
  const operator = await test.person('operator')
  const peer = (await test.session(agent.assertion())).peer
  const stranger = (await test.session((await test.agent()).assertion())).peer
  const [first, second, third] = ids as [string, string, string]
  const use = (of: Peer, point: string, ttlMs: number, id = USE) => of.call('points.use', { use: id, point, ttlMs })
  const prune = (points: string[]) => codeOf(owner.call('points.prune', { ...PRUNE, points }))
  expect(await codeOf(use(stranger, first, USE_MS))).toBe('NOT_FOUND')
  expect(await codeOf(use(await test.person('viewer'), first, USE_MS))).toBe('ROLE_FORBIDDEN')
  const { untilMs } = await use(peer, first, USE_MS)
  expect(untilMs).toBe(test.clock.now() + USE_MS)
  expect((await owner.call('points.get', { point: first })).point.usedUntilMs).toBe(untilMs)
  expect(await prune([first])).toBe('POINT_HELD')
  const rules = { keep: { ...KEEP_OFF, last: 1 }, timeZone: 'UTC' }
  const plan = await operator.call('points.prune', { ...PRUNE, machine: 'db1', rules, dryRun: true })
  expect(plan.points.find(({ point }) => point === first)?.keptBy).toEqual(['in-use'])
  // another caller's use of the same id is another one
  await use(operator, second, USE_MS)
  await use(stranger, first, 0)
  await use(operator, first, 0, randomUUID())
  expect(await prune([first])).toBe('POINT_HELD')
  // its time is over, unless it is renewed
  await test.pass(USE_MS - 1)
  await use(peer, first, USE_MS)
  await test.pass(1)
  expect(await prune([first])).toBe('POINT_HELD')
  expect(await prune([second])).toBe('none')
  await use(peer, first, 0)
  expect(await prune([first])).toBe('none')
  expect(await codeOf(use(peer, first, USE_MS))).toBe('NOT_FOUND')
  // who cannot come back cannot renew
  await use(peer, third, USE_MS)
  await owner.call('agents.revoke', { agent: agent.id })
  expect(await prune([third])).toBe('none')
})

test('uses of points are bounded, for each user', async () => {
  await using test = await TestServices.open()
  const { agent, ids } = await furnish(test)
  const peer = (await test.session(agent.assertion())).peer
  const use = (of: Peer, ttlMs: number, id: string) => codeOf(of.call('points.use', { use: id, point: ids[0]!, ttlMs }))
  for (let count = 0; count < POINT_USES_OF_ONE_MAX; count++) expect(await use(peer, USE_MS, randomUUID())).toBe('none')
  expect(await use(peer, USE_MS, USE)).toBe('LIMIT_REACHED')
  expect(await use(await test.person('operator'), USE_MS, USE)).toBe('none')
  await test.pass(USE_MS)
  expect(await use(peer, USE_MS, USE)).toBe('none')
})

test('a lock is an owner’s to set, and no role can shorten or remove it; when its time is over it is over', async () => {
  await using test = await TestServices.open()
  const { agent, ids } = await furnish(test)
  const owner = await test.person('owner')
  const operator = await test.person('operator')
  const serving = (await test.session(agent.assertion())).peer
  const point = ids[0]!
  const nowMs = test.clock.now()
  const lock = (peer: Peer, untilMs: number): Promise<string> => codeOf(peer.call('points.lock', { point, untilMs }))
  for (const peer of [operator, serving]) expect(await lock(peer, nowMs + DAY_MS)).toBe('ROLE_FORBIDDEN')
  expect(await lock(owner, nowMs)).toBe('PARAMS_INVALID')
  expect(await lock(owner, nowMs + 36_501 * DAY_MS)).toBe('PARAMS_INVALID')
  expect(await lock(owner, nowMs + 60_000)).toBe('none')
  for (const untilMs of [nowMs + 1, nowMs + 60_000]) expect(await lock(owner, untilMs)).toBe('POINT_HELD')
  expect(await codeOf(owner.call('points.hold', { point, held: false }))).toBe('none')
  for (const peer of [owner, operator]) {
    expect(await codeOf(peer.call('points.prune', { ...PRUNE, points: [point] }))).toBe('POINT_HELD')
    const rules = { keep: { ...KEEP_OFF, last: 1 }, timeZone: 'UTC' }
    const planned = await peer.call('points.prune', { ...PRUNE, rules, dryRun: true })
    expect(planned.points.find((one) => one.point === point)?.keptBy).toEqual(['locked'])
  }
  await test.pass(60_000)
  const again = await test.person('owner')
  expect(await again.call('points.prune', { ...PRUNE, points: [point] })).toMatchObject({ removed: 1 })
})

test('an agent can neither prune, hold, lock, group nor change plans, whatever it names', async () => {
  await using test = await TestServices.open()
  const { agent, ids } = await furnish(test)
  const { peer } = await test.session(agent.assertion())
  const point = ids[0]!
  const refused = await Promise.all([
    codeOf(peer.call('points.prune', { ...PRUNE, points: [point] })),
    codeOf(peer.call('points.prune', { ...PRUNE, machine: 'db1', dryRun: true })),
    codeOf(peer.call('points.hold', { point, held: false })),
    codeOf(peer.call('points.lock', { point, untilMs: test.clock.now() + DAY_MS })),
    codeOf(peer.call('plans.apply', { plans: [{ name: 'p', keep: { last: 1 } }] })),
    codeOf(peer.call('plans.list', {})),
    codeOf(peer.call('machines.setGroup', { machine: 'db1', group: 'web' })),
    codeOf(peer.call('machines.exclude', { machine: 'db1', reason: 'mine', untilMs: null })),
  ])
  expect(refused).toEqual(Array.from({ length: 8 }, () => 'ROLE_FORBIDDEN'))
  expect(await pointIds(await test.person('viewer'))).toEqual(ids.toReversed())
})

test('a group is an owner’s to give, as the rules and locks of its plan come with it', async () => {
  await using test = await TestServices.open()
  const { ids } = await furnish(test)
  const operator = await test.person('operator')
  for (const group of ['web', null])
    expect(await codeOf(operator.call('machines.setGroup', { machine: 'db1', group }))).toBe('ROLE_FORBIDDEN')
  const owner = await test.person('owner')
  const viewer = await test.person('viewer')
  expect(await codeOf(owner.call('machines.setGroup', { machine: 'db1', group: 'none' }))).toBe('PARAMS_INVALID')
  const webs = { name: 'webs', keep: { daily: 2 }, timeZone: 'Europe/Berlin', covers: { groups: ['web'] } }
  await owner.call('plans.apply', { plans: [webs] })
  expect(await owner.call('points.prune', PRUNE)).toMatchObject({ removed: 0 })
  const joined = { group: 'web', plan: 'webs', newGroup: false }
  expect(await owner.call('machines.setGroup', { machine: 'db1', group: 'web' })).toEqual(joined)
  expect((await viewer.call('machines.list', {})).machines).toMatchObject([{ name: 'db1', group: 'web', plan: 'webs' }])
  expect(await owner.call('points.prune', PRUNE)).toMatchObject({ removed: 1 })
  expect(await pointIds(viewer)).toEqual([ids[2], ids[1]])
})

test('the audit log says what was done', async () => {
  await using test = await TestServices.open()
  const { ids } = await furnish(test)
  const [first, second] = ids as [string, string]
  const owner = await test.person('owner')
  const untilMs = test.clock.now() + DAY_MS
  const rules = { keep: { ...KEEP_OFF, last: 1 }, timeZone: 'UTC' }
  const slow = { bytesPerSecond: 1 << 20 }
  await owner.call('machines.setGroup', { machine: 'db1', group: 'web' })
  await owner.call('plans.apply', { plans: [{ name: 'webs', keep: { last: 1 }, covers: { groups: ['web'] } }] })
  await owner.call('plans.apply', { plans: [{ name: 'webs', keep: { last: 2 } }], merge: true })
  await owner.call('points.hold', { point: first, held: true })
  await owner.call('points.lock', { point: second, untilMs })
  expect(await codeOf(owner.call('points.prune', { ...PRUNE, points: [first, second] }))).toBe('POINT_HELD')
  await owner.call('points.hold', { point: first, held: false })
  await owner.call('points.prune', { ...PRUNE, group: 'web', rules, dryRun: true })
  await owner.call('points.prune', { ...PRUNE, group: 'web', rules })
  await owner.call('plans.apply', { plans: [], remove: ['webs'] })
  await owner.call('points.list', { machine: null, limit: 1 })
  // these points have no packs
  const collect = { thresholdPercent: 70, ...slow }
  expect(await codeOf(owner.call('store.collect', { dryRun: true, ...collect }))).toBe('CATALOG_DAMAGED')
  const accepting = { dryRun: false, ...collect, acceptLoss: [second] }
  expect(await codeOf(owner.call('store.collect', accepting))).toBe('POINT_HELD')
  await owner.call('store.verify', { point: null, machine: 'db1', olderThanDays: 1, bytesPerSecond: null })
  await owner.call('store.check', slow)
  await (await test.person('viewer')).call('store.usage', { machine: 'db1', points: true })
  const audited = (await test.audited(test.acme)).flatMap(({ action, resource, outcome, details }) => {
    const { address: _, ...said } = details
    return /^(?:points?|plans|store|machines)\./u.test(action) ? [[action, resource, outcome, said]] : []
  })
  const text = JSON.stringify(rules)
  expect(audited).toEqual([
    ['machines.setGroup', 'machine=db1', 'ok', { group: 'web' }],
    ['plans.apply', '', 'ok', { changes: 'webs added' }],
    ['plans.apply', '', 'ok', { changes: 'webs changed: keep.last 1 to 2' }],
    ['points.hold', `point=${first}`, 'ok', { id: first, held: true }],
    ['points.lock', `point=${second}`, 'ok', { id: second, untilMs }],
    ['points.prune', '', 'POINT_HELD', { dryRun: false, named: 2 }],
    ['points.hold', `point=${first}`, 'ok', { id: first, held: false }],
    ['points.remove', `point=${first}`, 'ok', { machine: 'db1', timeMs: DAY_MS }],
    ['points.prune', '', 'ok', { dryRun: false, group: 'web', rules: text, removed: 1 }],
    ['plans.apply', '', 'ok', { changes: 'webs removed' }],
    ['points.acceptLoss', `point=${second}`, 'asked', {}],
    ['store.collect', '', 'POINT_HELD', { dryRun: false, ...collect, acceptLoss: 1 }],
    ['store.verify', 'machine=db1', 'ok', { olderThanDays: 1, bytesPerSecond: null }],
    ['store.check', '', 'ok', { bytesPerSecond: 1 << 20 }],
  ])
})

test('calls that are refused because one runs cannot fill the audit log', async () => {
  await using test = await TestServices.open()
  const viewer = await test.person('viewer')
  const calls = Array.from({ length: 200 }, () => codeOf(viewer.call('store.usage', { machine: null, points: false })))
  const codes = await Promise.all(calls)
  const refused = codes.filter((code) => code === 'MAINTENANCE_RUNNING')
  expect(refused.length).toBeGreaterThan(REFUSALS_PER_WINDOW_MAX)
  const entries = await test.audited(test.acme)
  expect(entries.filter(({ outcome }) => outcome === 'MAINTENANCE_RUNNING')).toHaveLength(REFUSALS_PER_WINDOW_MAX)
})

test('points up to a time are listed page by page, and the cursor of one time is not another’s', async () => {
  await using test = await TestServices.open()
  const { ids } = await furnish(test)
  const [first, second] = ids as [string, string, string]
  const viewer = await test.person('viewer')
  const list = async (untilMs: number, after: string | null, limit: number): Promise<[string[], string | null]> => {
    const { points, next } = await viewer.call('points.list', { machine: 'db1', untilMs, after, limit })
    return [points.map(({ id }) => id), next]
  }
  expect(await list(2 * DAY_MS, null, 10)).toEqual([[second, first], null])
  expect(await list(2 * DAY_MS - 1, null, 10)).toEqual([[first], null])
  expect(await list(DAY_MS - 1, null, 10)).toEqual([[], null])
  const [page, next] = await list(2 * DAY_MS, null, 1)
  expect(page).toEqual([second])
  expect(await list(2 * DAY_MS, next, 1)).toEqual([[first], null])
  expect(await codeOf(list(3 * DAY_MS, next, 1))).toBe('PARAMS_INVALID')
})
