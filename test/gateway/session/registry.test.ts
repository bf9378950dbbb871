// Who is here: sessions come and go, one program serves an agent, and the last one wins.
import { announced } from '../../support/announced.ts'
import { intercept } from '../../support/intercept.ts'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { METHODS, methodOf, type MethodName } from '../../../protocol/methods.ts'
import { eventually } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { beginJob, fullDisk } from '../catalog.ts'
import { TestServices } from '../services.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('a second program that serves an agent replaces the first', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const { registry } = test.services
  expect(() => registry.agent(agent.id)).toThrow(expect.objectContaining({ code: 'AGENT_OFFLINE' }))
  const first = await test.session(agent.assertion(), { serving: true })
  const before = registry.agent(agent.id)
  const second = await test.session(agent.assertion(), { serving: true })
  expect((await first.peer.closed).code).toBe('REPLACED')
  await turn()
  expect(registry.agent(agent.id)).not.toBe(before)
  expect([registry.online(agent.id), registry.count]).toEqual([true, 1])
  second.connection.closed()
  await turn()
  expect([registry.online(agent.id), registry.count]).toEqual([false, 0])
})

test('a session that only calls does not stand in for the one that serves', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const { registry } = test.services
  const command = await test.session(agent.assertion())
  expect(registry.online(agent.id)).toBe(false)
  await test.session(agent.assertion(), { serving: true })
  command.connection.closed()
  await turn()
  expect(registry.online(agent.id)).toBe(true)
})

test('sessions are ended by choice', async () => {
  await using test = await TestServices.open()
  const viewer = await test.session(await test.token('viewer'))
  const owner = await test.session(await test.token('owner'))
  const error = new VarveError('TOKEN_REVOKED', 'gone')
  test.services.registry.endWhere(error, ({ role }) => role === 'viewer')
  expect((await viewer.peer.closed).code).toBe('TOKEN_REVOKED')
  expect(await codeOf(owner.peer.call('machines.list', {}))).toBe('none')
  test.services.registry.endWhere(new VarveError('GOING_AWAY', 'stopping'))
  expect((await owner.peer.closed).code).toBe('GOING_AWAY')
})

const SERVED = (job: string) =>
  ({
    'agent.inventory': { host: 'h', machines: [announced('db1')], jobs: [] },
    'backup.begin': { job, timeMs: 1, consistency: 'crash', note: null, configuration: '{}', leftOut: [], disks: [] },
    'backup.progress': { job, step: null, spent: null },
    'image.content': { job, disk: 'vda', before: 9, limit: 1 },
    'image.compare': { job, disk: 'vda', positions: [0], ids: new Uint8Array(32) },
    'image.upload': { job, disk: 'vda' },
    'backup.commit': { job, bytesRead: 0 },
    'backup.fail': { job, code: 'X', message: 'x' },
    'backup.released': { job },
  }) as const

test('a connection that does not serve says nothing of backups: what the serving one does goes on', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  await test.serve(agent, ['db1'], { 'agent.backup': async () => ({}) })
  const operator = await test.person('operator')
  const { job } = await operator.call('backup.start', { machine: 'db1', full: true })
  const { catalog } = test.services.datastore
  await beginJob(catalog, { id: job, agent: agent.id }, [{ ...fullDisk('vda', 4096, 'requested') }])
  const command = (await test.session(agent.assertion())).peer
  const served = Object.entries(SERVED(job)) as [MethodName, never][]
  expect(served.map(([name]) => name).sort()).toEqual(
    (Object.keys(METHODS) as MethodName[]).filter((name) => methodOf(name).serving).sort(),
  )
  for (const [name, params] of served)
    expect([name, await codeOf(command.open(name, params).result)]).toEqual([name, 'NOT_SERVING'])
  expect(await operator.call('jobs.list', { machine: null, limit: 10 })).toMatchObject({
    jobs: [{ id: job, state: 'running', released: false }],
  })
  // what it may ask as anybody of its agent it may ask on
  expect((await command.call('machines.list', {})).machines).toMatchObject([{ name: 'db1', job, online: true }])
  const refused = (await test.audited(test.acme)).filter(({ outcome }) => outcome === 'NOT_SERVING')
  expect(refused.length).toBeGreaterThan(0)
})

test('a list that was under way when another connection took over fails none of the jobs of that one', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const first = await test.session(agent.assertion(), { serving: true }, { 'agent.backup': async () => ({}) })
  await first.peer.call('agent.inventory', { host: 'h', machines: [announced('db1')], jobs: [] })
  const operator = await test.person('operator')
  const { job } = await operator.call('backup.start', { machine: 'db1', full: true })
  // the list that does not have the job stays in the database until the other connection is there
  const { catalog } = test.services.datastore
  const held = Promise.withResolvers<void>()
  let lists = 0
  intercept(catalog, async (name, _, call) => {
    const result = await call()
    if (name === 'machines.declare' && lists++ === 0) await held.promise
    return result
  })
  const late = first.peer.call('agent.inventory', { host: 'h', machines: [announced('db1')], jobs: [] })
  late.catch(() => {})
  await eventually(() => lists > 0)
  const second = await test.session(agent.assertion(), { serving: true })
  const { jobs } = await second.peer.call('agent.inventory', { host: 'h', machines: [announced('db1')], jobs: [job] })
  held.resolve()
  await turn()
  expect(jobs).toMatchObject([{ job, state: 'running' }])
  expect(await codeOf(late)).toBe('REPLACED')
  for (let waited = 0; waited < 20; waited++) await turn()
  expect(await second.peer.call('jobs.list', { machine: null, limit: 1 })).toMatchObject({
    jobs: [{ state: 'running' }],
  })
})
