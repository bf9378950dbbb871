// Coverage over sessions: pages and filters, a tenant as a whole, and what the platform sees of it.
import { expect, test } from 'vitest'
import type { Asked, Result } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addPoint, declareMachines, setPlan, startJob } from '../catalog.ts'
import { TestServices } from '../services.ts'

const HOUR_MS = 3_600_000

/** Machines m1 to m6 of a plan: the odd ones have a point, of now; m6 is in no plan. */
const furnish = async (test: TestServices): Promise<void> => {
  const { catalog } = test.services.datastore
  const agent = await test.agent()
  const names = ['m1', 'm2', 'm3', 'm4', 'm5', 'm6']
  await declareMachines(catalog, { tenant: test.acme, agent: agent.id, nowMs: test.clock.now() }, names)
  await setPlan(catalog, test.acme, 'gold', { rpoMs: 4 * HOUR_MS }, { machines: names.slice(0, 5) })
  for (const name of ['m1', 'm3', 'm5']) {
    const machine = await catalog.machines.get({ tenant: test.acme.id, name })
    await addPoint(catalog, test.acme, machine, { timeMs: test.clock.now(), nowMs: test.clock.now() })
  }
}

const statesIn = async (peer: Peer, asked: Asked<'coverage.list'>): Promise<string[]> => {
  const found: string[] = []
  let after: string | null = null
  do {
    const page: Result<'coverage.list'> = await peer.call('coverage.list', { ...asked, after })
    found.push(...page.machines.map(({ machine, state }) => `${machine} ${state}`))
    after = page.next
  } while (after !== null)
  return found
}

test('machines come by name, page by page, narrowed by state and plan', async () => {
  await using test = await TestServices.open()
  await furnish(test)
  const viewer = await test.person('viewer')
  const all = ['m1 fresh', 'm2 never', 'm3 fresh', 'm4 never', 'm5 fresh', 'm6 uncovered']
  for (const limit of [1, 2, 250]) {
    expect(await statesIn(viewer, { limit })).toEqual(all)
    expect(await statesIn(viewer, { limit, states: ['never'] })).toEqual(['m2 never', 'm4 never'])
    expect(await statesIn(viewer, { limit, states: ['never', 'uncovered'] })).toEqual([
      'm2 never',
      'm4 never',
      'm6 uncovered',
    ])
    expect(await statesIn(viewer, { limit, states: ['fresh', 'never'], plan: 'gold' })).toEqual(all.slice(0, 5))
  }
  expect(await statesIn(viewer, { machine: 'm3' })).toEqual(['m3 fresh'])
  expect(await codeOf(viewer.call('coverage.list', { machine: 'm9' }))).toBe('NOT_FOUND')
  const first = await viewer.call('coverage.list', { limit: 1 })
  expect(await codeOf(viewer.call('coverage.list', { after: first.next, states: ['late'] }))).toBe('PARAMS_INVALID')
  expect(first.machines[0]).toMatchObject({
    machine: 'm1',
    plan: 'gold',
    online: false,
    deadlineMs: test.clock.now() + 4 * HOUR_MS,
    lastPointMs: test.clock.now(),
    exclusion: null,
  })
  // no other tenant sees any of it
  expect(await statesIn(await test.person('owner', test.other), {})).toEqual([])
})

test('worst first and by a part of the name, page by page, with what was read last', async () => {
  await using test = await TestServices.open()
  await furnish(test)
  const viewer = await test.person('viewer')
  const worst = ['m6 uncovered', 'm2 never', 'm4 never', 'm1 fresh', 'm3 fresh', 'm5 fresh']
  for (const limit of [1, 4, 250]) {
    expect(await statesIn(viewer, { limit, order: 'worst' })).toEqual(worst)
    expect(await statesIn(viewer, { limit, order: 'worst', plan: 'gold', states: ['never', 'fresh'] })).toEqual(
      worst.slice(1),
    )
    for (const order of ['name', 'worst'] as const)
      for (const contains of ['m3', 'M3', '3'])
        expect(await statesIn(viewer, { contains, order })).toEqual(['m3 fresh'])
  }
  const { machines } = await viewer.call('coverage.list', { order: 'worst' })
  expect(machines[0]).toMatchObject({ machine: 'm6', targetMs: null, last: null })
  expect(machines[1]).toMatchObject({ machine: 'm2', targetMs: 4 * HOUR_MS, last: null })
  expect(machines[3]).toMatchObject({
    machine: 'm1',
    targetMs: 4 * HOUR_MS,
    last: { kind: 'full', reason: 'requested', consistency: 'crash', bytesRead: 4096, bytesSent: 5 },
  })
  expect(await codeOf(viewer.call('coverage.list', { contains: '%' }))).toBe('PARAMS_INVALID')
})

test('what has just happened is in the order, without a wait', async () => {
  await using test = await TestServices.open()
  await furnish(test)
  const owner = await test.person('owner')
  const never = (): Promise<string[]> => statesIn(owner, { states: ['never', 'uncovered'], order: 'worst' })
  expect(await never()).toEqual(['m6 uncovered', 'm2 never', 'm4 never'])
  const { catalog } = test.services.datastore
  const machine = await catalog.machines.get({ tenant: test.acme.id, name: 'm2' })
  await addPoint(catalog, test.acme, machine, { timeMs: test.clock.now(), nowMs: test.clock.now() })
  expect(await never()).toEqual(['m6 uncovered', 'm4 never'])
  await owner.call('machines.exclude', { machine: 'm4', reason: 'a test', untilMs: null })
  expect(await never()).toEqual(['m6 uncovered'])
  const { counts } = await owner.call('coverage.summary', {})
  expect(counts).toMatchObject({ fresh: 4, never: 0, uncovered: 1, excluded: 1 })
  await owner.call('machines.include', { machine: 'm4' })
  expect(await never()).toEqual(['m6 uncovered', 'm4 never'])
})

test('days of machines: what was on each, by the clock of a zone', async () => {
  await using test = await TestServices.open()
  await furnish(test)
  const { catalog } = test.services.datastore
  const nowMs = test.clock.now()
  const find = (name: string) => catalog.machines.get({ tenant: test.acme.id, name })
  const lost = await addPoint(catalog, test.acme, await find('m1'), {
    timeMs: nowMs - 24 * HOUR_MS,
    nowMs: nowMs - 24 * HOUR_MS,
  })
  await catalog.points.verified({ tenant: test.acme.id, points: [lost], nowMs })
  for (const [name, code] of [
    ['m2', 'QMP_FAILED'],
    ['m4', 'CANCELLED'],
  ] as const) {
    const { agent } = await find(name)
    const job = await startJob(catalog, test.acme, await find(name), { nowMs: nowMs - 48 * HOUR_MS })
    await catalog.jobs.fail({ job, agent, code, message: 'no', nowMs })
  }
  const viewer = await test.person('viewer')
  const all: Result<'coverage.days'>['machines'][number][] = []
  for (let after: string | null = null; ;) {
    const page: Result<'coverage.days'> = await viewer.call('coverage.days', { days: 7, limit: 2, after })
    expect(page.bounds.length).toBe(8)
    all.push(...page.machines)
    after = page.next
    if (after === null) break
  }
  expect(all.map(({ machine, state }) => `${machine} ${state}`)).toEqual([
    'm1 late',
    'm2 failing',
    'm3 fresh',
    'm4 never',
    'm5 fresh',
    'm6 uncovered',
  ])
  const none = { points: 0, failed: 0, skipped: 0, skipReason: null, fullReason: null, damaged: 0, verified: 0 }
  const point = { ...none, points: 1, fullReason: 'requested' }
  expect(all[0]!.cells).toEqual([
    { ...point, day: 5, verified: 1 },
    { ...point, day: 6 },
  ])
  expect(all[1]!.cells).toEqual([{ ...none, day: 4, failed: 1 }])
  expect(all[3]!.cells).toEqual([])
  const one = await viewer.call('coverage.days', { days: 1, contains: 'm2', states: ['failing'], order: 'worst' })
  expect(one.machines).toEqual([{ machine: 'm2', state: 'failing', cells: [] }])
  expect(await codeOf(viewer.call('coverage.days', { days: 1, untilDay: '2026-02-30' }))).toBe('PARAMS_INVALID')
  expect(await codeOf(viewer.call('coverage.days', { days: 1, zone: 'Mars/Base' }))).toBe('PARAMS_INVALID')
  const others = await test.person('viewer', test.other)
  expect((await others.call('coverage.days', { days: 7 })).machines).toEqual([])
})

test('a tenant as a whole, for itself with names and for the platform without', async () => {
  await using test = await TestServices.open()
  await furnish(test)
  test.clock.set(test.clock.now() + 5 * HOUR_MS)
  const { counts, oldest, quota, proof } = await (await test.person('auditor')).call('coverage.summary', {})
  expect(counts).toMatchObject({ fresh: 0, late: 3, never: 2, uncovered: 1, failing: 0 })
  expect(oldest).toMatchObject({ machine: 'm1' })
  expect([quota.hardBytes, proof.verifiedMs, proof.unverified]).toEqual([null, null, 3])
  const platform = await test.person('platform')
  const { tenants } = await platform.call('coverage.tenants', {})
  expect(tenants.map(({ tenant, counts: { late, never, uncovered } }) => [tenant, late, never, uncovered])).toEqual([
    ['acme', 3, 2, 1],
    ['other', 0, 0, 0],
  ])
  expect(JSON.stringify(tenants)).not.toMatch(/m\d/u)
  expect(await codeOf(platform.call('coverage.list', {}))).toBe('ROLE_FORBIDDEN')
})
