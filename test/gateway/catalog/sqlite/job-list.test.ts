// Jobs as they are listed: newest first whatever clocks said, narrowed, never across tenants.
import type { JobsAsked } from '../../../../gateway/catalog/jobs.ts'
import path from 'node:path'
import { expect, test } from 'vitest'
import { jobsStatement, PAGE_UPLOADS } from '../../../../gateway/catalog/sqlite/job-list.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { DISKS_MAX, PAGE_DISKS_MAX } from '../../../../protocol/limits.ts'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, startJob } from '../../catalog.ts'

test('jobs are listed newest first, narrowed to a machine or an agent, never across tenants', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme)
  const stranger = await addAgent(catalog, other)
  const ids: string[] = []
  for (const [index, name] of ['a', 'b', 'c'].entries())
    ids.push(await startJob(catalog, acme, await addMachine(catalog, acme, agent, name), { nowMs: 100 - index }))
  const foreign = await startJob(catalog, other, await addMachine(catalog, other, stranger, 'a'), { nowMs: 9 })
  const page = (rest: Partial<JobsAsked>) =>
    catalog.jobs.list({ tenant: acme.id, agent: null, machine: null, after: null, limit: 10, ...rest })
  const list = async (rest: Partial<JobsAsked>) => (await page(rest)).jobs.map(({ job }) => job.id)
  expect(await list({})).toEqual(ids.toReversed())
  expect(await list({ limit: 2 })).toEqual([ids[2], ids[1]])
  expect([(await page({ limit: 2 })).more, (await page({ limit: 3 })).more]).toEqual([true, false])
  expect(await list({ after: ids[1]! })).toEqual([ids[0]])
  expect(await list({ after: ids[2]!, machine: 'a' })).toEqual([ids[0]])
  expect(await list({ after: ids[0]!, agent })).toEqual([])
  expect(await list({ machine: 'a' })).toEqual([ids[0]])
  expect(await list({ agent: stranger })).toEqual([])
  expect(await catalog.jobs.get({ tenant: acme.id, job: foreign })).toBeNull()
})

test('jobs are listed along an index, their uploads by one statement, whatever else there is', async () => {
  await using authority = await testAuthority()
  using sql = new Sql(path.join(authority.folder, 'catalog.db'))
  for (const machine of [null, 'db1'])
    for (const agent of [null, 'a'])
      for (const after of [null, 'x']) {
        const [text, ...values] = jobsStatement({ tenant: 1, agent, machine, after, limit: 50 })
        const plan = sql.plan(text, ...values)
        expect(plan.filter((step) => step.startsWith('SCAN') || step.includes('TEMP B-TREE'))).toEqual([])
      }
  const plan = sql.plan(PAGE_UPLOADS, '[]', 10).join('\n')
  expect(plan).toContain('SEARCH upload USING PRIMARY KEY (job=?)')
  expect(plan).not.toMatch(/^SCAN (?!page\b)/mu)
})

test('a job comes with its disks in their order, and a list ends where there would be too many', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const names = Array.from({ length: DISKS_MAX }, (_, index) => `disk${index}`)
  const ids: string[] = []
  for (let index = 0; index < 17; index++)
    ids.push(await addPoint(catalog, acme, machine, { timeMs: 100 + index, names }))
  const { jobs, more } = await catalog.jobs.list({
    tenant: acme.id,
    agent: null,
    machine: 'a',
    after: null,
    limit: 100,
  })
  expect(more).toBe(true)
  expect(jobs.map(({ job }) => job.id)).toEqual(ids.toReversed().slice(0, PAGE_DISKS_MAX / DISKS_MAX))
  for (const { uploads } of jobs) expect(uploads.map(({ disk }) => disk)).toEqual(names)
  expect(jobs[0]!.job).not.toHaveProperty('begun')
  const one = await catalog.jobs.get({ tenant: acme.id, job: ids[0]! })
  expect(one?.uploads.map(({ disk }) => disk)).toEqual(names)
})
