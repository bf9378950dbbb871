// What plans that change cost: only points that go by the change are counted, under the plan that has their machine afterwards.
import { expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { shorter } from '../../../gateway/maintenance/shorter.ts'
import { wholePlan } from '../plans/whole-plan.ts'
import { KEEP_OFF, type Covers, type KeepRules, type Plan } from '../../../protocol/plans.ts'
import { testAuthority } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'

const DAY_MS = 24 * 3_600_000

const NOW_MS = 100 * DAY_MS

const plan = (name: string, keep: Partial<KeepRules>, covers: Partial<Covers>): Plan =>
  wholePlan({ name, keep: { ...KEEP_OFF, ...keep }, covers })

/** Machines with a point on each of ten days. */
const furnish = async (catalog: Catalog, tenant: Tenant, names: readonly string[]): Promise<void> => {
  const agent = await addAgent(catalog, tenant)
  for (const name of names) {
    const machine = await addMachine(catalog, tenant, agent, name)
    for (let day = 1; day <= 10; day++)
      await addPoint(catalog, tenant, machine, { timeMs: day * DAY_MS, nowMs: day * DAY_MS })
  }
}

test('points that the new rules remove and the old ones kept are counted for each plan, with the newest', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await furnish(catalog, acme, ['a', 'b', 'c'])
  const cost = (before: Plan[], after: Plan[]): Promise<string[]> =>
    shorter({ catalog, tenant: acme.id, before, after, nowMs: NOW_MS })
  const all = { others: true }
  expect(await cost([plan('p', { daily: 7 }, all)], [plan('p', { daily: 5 }, all)])).toEqual([
    'plan p: the next prune removes 6 restore points of 3 machines that stayed before, the newest of 1970-01-06 00:00 UTC',
  ])
  // longer rules, the same rules and no rules cost nothing, and what goes anyway is no cost of the change
  for (const keep of [{ daily: 9 }, { daily: 7 }, {}])
    expect(await cost([plan('p', { daily: 7 }, all)], [plan('p', keep, all)])).toEqual([])
  // a machine that comes under another plan, or under one at all
  const own = plan('own', { last: 9 }, { machines: ['b'] })
  expect(await cost([plan('p', { daily: 7 }, all)], [plan('p', { daily: 7 }, all), own])).toEqual([])
  expect(await cost([], [own])).toEqual([
    'plan own: the next prune removes 1 restore point of 1 machine that stayed before, the newest of 1970-01-02 00:00 UTC',
  ])
  // a plan that goes keeps everything
  expect(await cost([own], [])).toEqual([])
})
