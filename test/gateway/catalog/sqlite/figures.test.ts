// Figures of all tenants: counts, quotas, agents and machines, bounded, with whole tables read for none of what grows.
import { expect, test } from 'vitest'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, revokeAgent, startJob } from '../../catalog.ts'

test('figures are of every tenant, its agents that are not revoked and its machines by name', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme, 'h1')
  await revokeAgent(catalog, acme, await addAgent(catalog, acme, 'h0'))
  const db = await addMachine(catalog, acme, agent, 'db')
  await addMachine(catalog, acme, agent, 'app')
  await addPoint(catalog, acme, db, { timeMs: 7000 })
  await addPoint(catalog, acme, db, { timeMs: 5000 })
  await startJob(catalog, acme, db)
  await catalog.quotas.set({ tenant: other.id, softBytes: 10, hardBytes: 20 })
  const figures = await catalog.figures.now({ machinesMax: 10, agentsMax: 10, afterMs: 0, untilMs: 2 ** 50 })
  expect(figures.tenants).toEqual([
    {
      tenant: 'acme',
      softBytes: null,
      hardBytes: null,
      packBytes: 0,
      machines: 2,
      points: 2,
      running: 1,
      lostRanges: 0,
      damaged: 0,
    },
    expect.objectContaining({ tenant: 'other', softBytes: 10, hardBytes: 20, machines: 0, running: 0 }),
  ])
  expect(figures.agents).toEqual([{ id: agent, tenant: 'acme', host: 'h1' }])
  expect(figures.runs).toEqual([{ tenant: 'acme', kind: 'backup', state: 'running', count: 1 }])
  expect(figures.ended).toEqual([{ tenant: 'acme', kind: 'backup', state: 'done', count: 2 }])
  const { ended } = await catalog.figures.now({ machinesMax: 10, agentsMax: 10, afterMs: 2 ** 50, untilMs: 2 ** 51 })
  expect([ended, figures.notices]).toEqual([[], []])
  const { tenants, names, pointMs } = figures.machines
  expect([[...tenants], names]).toEqual([
    [0, 0],
    ['app', 'db'],
  ])
  // the last one made, whatever its clock said
  expect([...pointMs]).toEqual([Number.NaN, 5000])
})

test('of very many machines and agents only so many are given', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const agents = [await addAgent(catalog, acme, 'h1'), await addAgent(catalog, acme, 'h2')]
  for (const name of ['a', 'b', 'c']) await addMachine(catalog, acme, agents[0]!, name)
  const {
    tenants,
    machines,
    agents: given,
  } = await catalog.figures.now({ machinesMax: 2, agentsMax: 1, afterMs: 0, untilMs: 1 })
  expect([tenants[0]?.machines, machines.names, given.map(({ host }) => host)]).toEqual([3, ['a', 'b'], ['h1']])
})
