// The lock of new points: from the plan of the machine, in parts of days, and none where no plan says so.
import { expect, test } from 'vitest'
import { lockOfNewPoint } from '../../../gateway/jobs/lock.ts'
import { testAuthority } from '../auth/test-authority.ts'
import { addAgent, addMachine, setPlan } from '../catalog.ts'

test('a new point is locked for as long as the plan of its machine says', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await addMachine(catalog, acme, await addAgent(catalog, acme), 'db1')
  const lock = (): Promise<number | null> => lockOfNewPoint(catalog, acme, 'db1', 1000)
  expect(await lock()).toBe(null)
  await setPlan(catalog, acme, 'all', { lockDays: 0.5 })
  expect(await lock()).toBe(1000 + 12 * 3_600_000)
  await setPlan(catalog, acme, 'own', { lockDays: 0 }, { machines: ['db1'] })
  expect(await lock()).toBe(null)
  // one that is off locks all the same
  await setPlan(catalog, acme, 'own', { lockDays: 2, enabled: false }, { machines: ['db1'] })
  expect(await lock()).toBe(1000 + 48 * 3_600_000)
})
