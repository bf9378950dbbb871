// Jobs as they are listed: newest first whatever clocks said, narrowed, never across tenants.
import { expect, test } from 'vitest'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, startJob } from '../../catalog.ts'

test('jobs are listed newest first, narrowed to a machine or an agent, never across tenants', async () => {
  await using authority = await testAuthority()
  const { database, acme, other } = authority
  const agent = await addAgent(database, acme)
  const stranger = await addAgent(database, other)
  const ids: string[] = []
  for (const [index, name] of ['a', 'b', 'c'].entries())
    ids.push(await startJob(database, acme, await addMachine(database, acme, agent, name), { nowMs: 100 - index }))
  const foreign = await startJob(database, other, await addMachine(database, other, stranger, 'a'), { nowMs: 9 })
  const list = async (rest: { agent?: string; machine?: string; limit?: number }) => {
    const args = { tenant: acme.id, agent: null, machine: null, limit: 10, ...rest }
    return (await database.call('job.list', args)).map(({ job }) => job.id)
  }
  expect(await list({})).toEqual(ids.toReversed())
  expect(await list({ limit: 2 })).toEqual([ids[2], ids[1]])
  expect(await list({ machine: 'a' })).toEqual([ids[0]])
  expect(await list({ agent: stranger })).toEqual([])
  expect(await database.call('job.get', { tenant: acme.id, job: foreign })).toBeNull()
})
