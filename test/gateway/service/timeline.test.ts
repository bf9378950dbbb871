// The timeline through the door: plans page by page, with their machines, exclusions and usual durations; what is too long is
// refused, and no other tenant is in it.
import { expect, test } from 'vitest'
import { codeOf } from '../auth/test-authority.ts'
import { addPoint, declareMachines, setPlan } from '../catalog.ts'
import { TestServices } from '../services.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

test('each plan tells when its machines start, or why it cannot; excluded ones do not', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const operator = await test.person('operator')
  const agent = await test.agent()
  const names = ['m1', 'm2', 'm3', 'm4']
  await declareMachines(catalog, { tenant: test.acme, agent: agent.id, nowMs: test.clock.now() }, names)
  await setPlan(catalog, test.acme, 'a', { schedule: 'every 4h' }, { machines: ['m1', 'm2', 'm3'] })
  await setPlan(catalog, test.acme, 'b', { rpoMs: HOUR_MS })
  await operator.call('machines.exclude', { machine: 'm3', reason: 'rebuilt', untilMs: null })
  const m1 = await catalog.machines.get({ tenant: test.acme.id, name: 'm1' })
  await addPoint(catalog, test.acme, m1, { nowMs: test.clock.now() })
  const viewer = await test.person('viewer')
  const fromMs = Math.ceil(test.clock.now() / DAY_MS) * DAY_MS
  const asked = { fromMs, untilMs: fromMs + DAY_MS, stepMs: HOUR_MS }
  const { plans, next } = await viewer.call('plans.timeline', asked)
  expect(next).toBe(null)
  expect(plans).toEqual([
    {
      plan: 'a',
      machines: 3,
      excluded: 1,
      usualMs: 1,
      reason: null,
      starts: [0, 4, 8, 12, 16, 20].map((hour) => ({ atMs: fromMs + hour * HOUR_MS, machines: 2 })),
      untilMs: asked.untilMs,
    },
    {
      plan: 'b',
      machines: 1,
      excluded: 0,
      usualMs: null,
      reason: expect.stringContaining('the gateway chooses the time') as string,
      starts: [],
      untilMs: asked.untilMs,
    },
  ])
  const first = await viewer.call('plans.timeline', { ...asked, limit: 1 })
  expect(first.plans).toEqual(plans.slice(0, 1))
  const second = await viewer.call('plans.timeline', { ...asked, limit: 1, after: first.next })
  expect([second.plans, second.next]).toEqual([plans.slice(1), null])
  for (const wrong of [
    { untilMs: fromMs },
    { untilMs: fromMs + 63 * DAY_MS },
    { untilMs: fromMs + 60 * DAY_MS, stepMs: 300_000 },
  ])
    expect(await codeOf(viewer.call('plans.timeline', { ...asked, ...wrong }))).toBe('PARAMS_INVALID')
  expect((await (await test.person('owner', test.other)).call('plans.timeline', asked)).plans).toEqual([])
})
