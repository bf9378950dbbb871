// A tenant over its hard quota: backups are refused before anything begins, the rest of its calls are not, and other
// tenants notice nothing.
import { expect, test } from 'vitest'
import { TestServices } from '../services.ts'

test('a backup is refused at its start, and begins as soon as there is room', async () => {
  await using setting = await TestServices.open()
  const { services, acme, other } = setting
  const { catalog, space } = services.datastore
  const setHard = (hardBytes: number | null): Promise<unknown> =>
    catalog.quotas.set({ tenant: acme.id, softBytes: null, hardBytes })
  const orders: string[] = []
  const handlers = {
    'agent.backup': async ({ machine }: { machine: string }) => {
      orders.push(machine)
      return {}
    },
  }
  await setting.serve(await setting.agent(acme), ['db1'], handlers)
  await setting.serve(await setting.agent(other), ['web1'], handlers)
  const person = await setting.person('operator')
  space.quotas.add(acme.id, 5000)
  await setHard(5000)
  const refused = person.call('backup.start', { machine: 'db1', full: false })
  await expect(refused).rejects.toMatchObject({
    code: 'QUOTA_EXCEEDED',
    details: { usedBytes: 5000, quotaBytes: 5000 },
  })
  await expect(refused).rejects.toThrow(/tenant acme uses 4\.9 KiB of its quota of 4\.9 KiB/u)
  expect(orders).toEqual([])
  expect((await person.call('jobs.list', { machine: null, limit: 10 })).jobs).toEqual([])
  expect((await person.call('points.list', { machine: null, limit: 10 })).points).toEqual([])

  const stranger = await setting.person('operator', other)
  await stranger.call('backup.start', { machine: 'web1', full: false })
  expect(orders).toEqual(['web1'])

  await setHard(5001)
  await person.call('backup.start', { machine: 'db1', full: false })
  expect(orders).toEqual(['web1', 'db1'])
})
