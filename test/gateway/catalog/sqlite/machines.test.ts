// Machines: who serves a name, how it passes on, and the walls between tenants.
import { announced } from '../../../support/announced.ts'
import path from 'node:path'
import { expect, test } from 'vitest'
import { MACHINE } from '../../../../gateway/catalog/sqlite/machines.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { POLICY_DEFAULT } from '../../../../protocol/schemas.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, revokeAgent, setPlan, startJob } from '../../catalog.ts'

const policy = POLICY_DEFAULT

const ALL = { after: null, limit: 100 }

test('a name belongs to the agent that declared it first, until a person assigns it to another', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const first = await addAgent(catalog, acme, 'host1')
  const second = await addAgent(catalog, acme, 'host2')
  const declare = async (agent: string, names: string[], nowMs = 5) => {
    const machines = names.map((name) => announced(name))
    const { held } = await catalog.machines.declare({ tenant: acme.id, agent, machines, nowMs })
    return held.map(({ name, host }) => ({ machine: name, holder: host }))
  }
  expect(await declare(first, ['a', 'b'])).toEqual([])
  expect(await declare(first, ['b', 'a'])).toEqual([])
  expect(await declare(second, ['b', 'c'])).toEqual([{ machine: 'b', holder: 'host1' }])
  const holders = async () =>
    (await catalog.machines.list({ tenant: acme.id, agent: null, ...ALL })).map(({ name, agent }) => [name, agent])
  expect(await holders()).toEqual([
    ['a', first],
    ['b', first],
    ['c', second],
  ])
  await revokeAgent(catalog, acme, first)
  // a revoked agent's machines, whose points the new one could read, do not pass on by themselves
  expect(await declare(second, ['b'])).toEqual([{ machine: 'b', holder: 'host1' }])
  const assign = (name: string, agent: string, tenant = acme.id) => catalog.machines.assign({ tenant, name, agent })
  await assign('b', second)
  expect(await declare(second, ['b'])).toEqual([])
  expect(await codeOf(assign('b', first))).toBe('AGENT_REVOKED')
  expect(await codeOf(assign('b', 'nobody'))).toBe('NOT_FOUND')
  expect(await codeOf(assign('z', second))).toBe('NOT_FOUND')
  expect(await codeOf(assign('b', second, other.id))).toBe('NOT_FOUND')
  expect(await holders()).toEqual([
    ['a', first],
    ['b', second],
    ['c', second],
  ])
})

test('what a revoked agent was doing ends, and what it did stays', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const first = await addAgent(catalog, acme)
  const machine = await addMachine(catalog, acme, first, 'a')
  const open = await startJob(catalog, acme, machine)
  const point = await addPoint(catalog, acme, await addMachine(catalog, acme, first, 'b'))
  await revokeAgent(catalog, acme, first)
  const stateOf = async (job: string) => (await catalog.jobs.get({ tenant: acme.id, job }))?.job
  expect(await stateOf(open)).toMatchObject({
    state: 'failed',
    error: { code: 'AGENT_REVOKED' },
  })
  expect(await stateOf(point)).toMatchObject({ state: 'committed' })
})

test('a machine shows its open job and the point made last, whatever clocks said', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme, 'host1'), 'a')
  expect(machine).toMatchObject({ name: 'a', host: 'host1', policy, job: null, pointId: null, pointMs: null })
  await addPoint(catalog, acme, machine, { timeMs: 700 })
  const point = await addPoint(catalog, acme, machine, { timeMs: 300 })
  const job = await startJob(catalog, acme, machine)
  const now = await catalog.machines.get({ tenant: acme.id, name: 'a' })
  expect(now).toMatchObject({ job, pointId: point, pointMs: 300 })
})

test('a plan is a tenant’s, and one tenant’s machine is not there for another', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const theirs = await addMachine(catalog, other, await addAgent(catalog, other), 'a')
  await setPlan(catalog, acme, 'p', { consistency: 'none' })
  expect((await catalog.machines.get({ tenant: acme.id, name: 'a' })).policy.consistency).toBe('none')
  expect((await catalog.machines.get({ tenant: other.id, name: 'a' })).policy).toEqual(policy)
  await addMachine(catalog, other, theirs.agent, 'b')
  expect(await codeOf(catalog.machines.get({ tenant: acme.id, name: 'b' }))).toBe('NOT_FOUND')
  expect(await catalog.machines.list({ tenant: acme.id, agent: theirs.agent, ...ALL })).toEqual([])
})

test('machines are listed along an index, and the newest point of each is the first of one', async () => {
  await using authority = await testAuthority()
  using sql = new Sql(path.join(authority.folder, 'catalog.db'))
  for (const [where, index] of [
    ['machine.tenant = ? ORDER BY machine.name', 'sqlite_autoindex_machine_1 (tenant=?)'],
    ['machine.agent = ? AND +machine.tenant = ? ORDER BY machine.name', 'machine_agent (agent=?)'],
  ] as const) {
    const plan = sql.plan(`${MACHINE} WHERE ${where}`)
    expect(plan.filter((step) => /^SCAN|TEMP B-TREE FOR ORDER BY/u.test(step))).toEqual([])
    expect(plan.join('\n')).toContain(index)
    expect(plan.filter((step) => step.includes('point_created (machine=?)')).length).toBe(2)
  }
})
