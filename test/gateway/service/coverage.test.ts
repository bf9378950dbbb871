// Coverage over sessions: pages and filters, a tenant as a whole, and what the platform sees of it.
import { expect, test } from 'vitest'
import type { Asked, Result } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addPoint, declareMachines, setPlan } from '../catalog.ts'
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
  const all = ['m1 fresh', 'm2 never', 'm3 fresh', 'm4 never', 'm5 fresh', 'm6 never']
  for (const limit of [1, 2, 250]) {
    expect(await statesIn(viewer, { limit })).toEqual(all)
    expect(await statesIn(viewer, { limit, states: ['never'] })).toEqual(['m2 never', 'm4 never', 'm6 never'])
    expect(await statesIn(viewer, { limit, states: ['never'], plan: 'gold' })).toEqual(['m2 never', 'm4 never'])
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

test('a tenant as a whole, for itself with names and for the platform without', async () => {
  await using test = await TestServices.open()
  await furnish(test)
  test.clock.set(test.clock.now() + 5 * HOUR_MS)
  const { counts, oldest, quota, proof } = await (await test.person('auditor')).call('coverage.summary', {})
  expect(counts).toMatchObject({ fresh: 0, late: 3, never: 3, failing: 0 })
  expect(oldest).toMatchObject({ machine: 'm1' })
  expect([quota.hardBytes, proof.verifiedMs, proof.unverified]).toEqual([null, null, 3])
  const platform = await test.person('platform')
  const { tenants } = await platform.call('coverage.tenants', {})
  expect(tenants.map(({ tenant, counts: { late, never } }) => [tenant, late, never])).toEqual([
    ['acme', 3, 3],
    ['other', 0, 0],
  ])
  expect(JSON.stringify(tenants)).not.toMatch(/m\d/u)
  expect(await codeOf(platform.call('coverage.list', {}))).toBe('ROLE_FORBIDDEN')
})
