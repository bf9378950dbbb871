// The lock of new points: from the nearest policy, in parts of days, and none where none says so.
import { expect, test } from 'vitest'
import { lockOfNewPoint } from '../../../gateway/jobs/lock.ts'
import { RETENTION_OFF } from '../../../protocol/retention.ts'
import { testAuthority } from '../auth/test-authority.ts'
import { addAgent, addMachine } from '../catalog.ts'

test('a new point is locked for as long as the nearest policy says', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await addMachine(catalog, acme, await addAgent(catalog, acme), 'db1')
  const lock = (): Promise<number | null> => lockOfNewPoint(catalog, acme, 'db1', 1000)
  const set = (scope: 'tenant' | 'machine', lockDays: number): Promise<void> =>
    catalog.retention.set({
      tenant: acme.id,
      scope,
      name: scope === 'tenant' ? '' : 'db1',
      rules: { ...RETENTION_OFF, lockDays },
    })
  expect(await lock()).toBe(null)
  await set('tenant', 0.5)
  expect(await lock()).toBe(1000 + 12 * 3_600_000)
  await set('machine', 0)
  expect(await lock()).toBe(null)
  await set('machine', 2)
  expect(await lock()).toBe(1000 + 48 * 3_600_000)
})
