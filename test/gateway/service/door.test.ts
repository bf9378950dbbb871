// What the door does around every action: the role first, one entry with the change or after it, and no word of the inside.
import { announced } from '../../support/announced.ts'
import { intercept } from '../../support/intercept.ts'
import { expect, test } from 'vitest'
import type { Action, Actions, Actor, Context, Served } from '../../../gateway/service/action.ts'
import { Door } from '../../../gateway/service/door.ts'
import { outward } from '../../../gateway/service/outward.ts'
import type { Role } from '../../../protocol/claims.ts'
import type { Params, Result } from '../../../protocol/methods.ts'
import { VarveError, type ErrorCode } from '../../../protocol/errors.ts'
import { eventually } from '../../support/temp.ts'
import { TestServices } from '../services.ts'
import { servedCall, testAccount } from '../../support/served-call.ts'

const call = servedCall<never>()

const actorOf = (test: TestServices, role: Role): Actor => ({
  subject: 'anna',
  role,
  tenant: role === 'platform' ? null : test.acme,
  agent: role === 'agent' ? 'anna' : null,
  tokenId: '',
  address: '192.0.2.7',
})

/** One call through a door whose action of this name does something else. */
const pass = <N extends Served>(
  { services }: TestServices,
  actor: Actor,
  [name, run, params]: [N, Action<N>['run'], Params<N>],
): Promise<Result<N>> => {
  const { catalog } = services.datastore
  const actions = { [name]: { run } } as unknown as Actions
  return new Door({ ...services, actions, catalog }).run(name, params, { actor, call, account: testAccount() })
}

const run = (test: TestServices, role: Role, work: Action<'machines.setGroup'>['run']) =>
  pass(test, actorOf(test, role), ['machines.setGroup', work, { machine: 'db1', group: 'web' }])

const JOINED = { group: null, plan: null, newGroup: false }

test('the code of a forbidden method does not run', async () => {
  await using test = await TestServices.open()
  let ran = false
  const code = async () => {
    ran = true
    return JOINED
  }
  await expect(run(test, 'viewer', code)).rejects.toMatchObject({ code: 'ROLE_FORBIDDEN' })
  expect(ran).toBe(false)
  await run(test, 'owner', code)
  expect(ran).toBe(true)
  const entries = (await test.audited(test.acme)).map(({ role, outcome, resource }) => [role, outcome, resource])
  expect(entries).toEqual([
    ['viewer', 'ROLE_FORBIDDEN', 'machine=db1'],
    ['owner', 'ok', 'machine=db1'],
  ])
})

test('what fails inside reaches the caller without its words, and the audit log with its code', async () => {
  await using test = await TestServices.open()
  const failing = run(test, 'owner', () => Promise.reject(new TypeError('secret of /the/inside')))
  await expect(failing).rejects.toMatchObject({ code: 'INTERNAL', message: 'the gateway failed; its log says more' })
  expect(await test.audited(test.acme)).toMatchObject([{ outcome: 'INTERNAL', details: { address: '192.0.2.7' } }])
  const known = new VarveError('JOB_RUNNING', 'words', { details: { job: 'j' } })
  expect(outward(known)).toBe(known)
})

test('of damage a caller is told the id, and not where it lies', async () => {
  await using test = await TestServices.open()
  const details = { id: 'ab', type: 1, pack: 'p', offset: 48, lostCount: 2 }
  const error = new VarveError('DATA_DAMAGED', 'words', { details })
  const failing = run(test, 'owner', () => Promise.reject(error))
  const told = { code: 'DATA_DAMAGED', message: 'words', details: { id: 'ab', lostCount: 2 } }
  expect(await failing.catch(({ code, message, details }: VarveError) => ({ code, message, details }))).toEqual(told)
})

test('a change and its entry are one: neither is there without the other, and a call has one entry', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const agent = await test.agent()
  await catalog.machines.declare({
    tenant: test.acme.id,
    agent: agent.id,
    machines: [announced('db1')],
    nowMs: 1,
  })
  const join = (context: Context<'machines.setGroup'>, name: string) =>
    context.change((entry) => catalog.machines.setGroup({ tenant: test.acme.id, name, group: 'web' }, entry), {
      details: { group: 'web' },
    })
  const before = (await test.audited(test.acme)).length
  const entries = async () =>
    (await test.audited(test.acme)).slice(before).map(({ outcome, details }) => [outcome, details])
  const address = '192.0.2.7'
  await expect(run(test, 'owner', (_, context) => join(context, 'db9'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
  })
  expect(await entries()).toEqual([['NOT_FOUND', { address }]])
  // the change is made: what fails behind it does not make it undone
  const late = run(test, 'owner', async (_, context) => {
    await join(context, 'db1')
    throw new VarveError('STORE_FAILED', 'later')
  })
  await expect(late).rejects.toMatchObject({ code: 'STORE_FAILED' })
  expect((await entries()).slice(1)).toEqual([['ok', { group: 'web', address }]])
  // an entry that cannot be written takes the change with it
  const broken = run(test, 'owner', (_, context) =>
    context.change((entry) =>
      catalog.machines.setGroup({ tenant: test.acme.id, name: 'db1', group: 'other' }, { ...entry!, tenant: 'nobody' }),
    ),
  )
  await expect(broken).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(await catalog.machines.get({ tenant: test.acme.id, name: 'db1' })).toMatchObject({ group: 'web' })
})

test('the platform is told that a method takes a tenant, and how it gets one', async () => {
  await using test = await TestServices.open()
  const joined = run(test, 'platform', async () => JOINED)
  await expect(joined).rejects.toMatchObject({
    code: 'ROLE_FORBIDDEN',
    message: expect.stringContaining('take a token of the tenant') as string,
  })
  const listed = pass(test, actorOf(test, 'platform'), [
    'audit.list',
    async (_, { tenant }) => ({ chain: null, entries: [], next: tenant.name }),
    { newest: false, contains: null, failed: false, after: null, limit: 1 },
  ])
  await expect(listed).rejects.toMatchObject({ code: 'ROLE_FORBIDDEN' })
  expect(await test.audited(null)).toMatchObject([{ action: 'machines.setGroup' }, { action: 'audit.list' }])
})

test('what an agent says in words that nobody knows is its failure, and never one of the gateway', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const said = ['MOON_PHASE', 'INTERNAL', 'STORE_FULL', 'TOKEN_EXPIRED']
  const serving = await test.serve(
    agent,
    said.map((_, index) => `m${index}`),
    {
      'agent.backup': async ({ machine }) => {
        throw new VarveError(said[Number(machine.slice(1))] as ErrorCode, 'not today', { details: { a: 1 } })
      },
      'agent.status': async ({ machine }) => {
        throw new VarveError(said[Number(machine.slice(1))] as ErrorCode, 'not today')
      },
    },
  )
  const operator = await test.person('operator')
  for (const [index, code] of said.entries()) {
    const machine = `m${index}`
    const failure = { code: 'PEER_FAILED', message: `the other side failed (${code}): not today`, details: { code } }
    await expect(operator.call('machines.status', { machine })).rejects.toMatchObject(failure)
    await expect(operator.call('backup.start', { machine, full: false })).rejects.toMatchObject(failure)
    const [job] = (await operator.call('jobs.list', { machine, limit: 1 })).jobs
    expect(job).toMatchObject({ state: 'failed', error: { code: 'PEER_FAILED', message: failure.message } })
  }
  expect((await serving.call('machines.list', {})).machines.length).toBe(said.length)
  const outcomes = (await test.audited(test.acme)).map(({ outcome }) => outcome)
  expect(outcomes).toContain('PEER_FAILED')
  expect(outcomes).not.toContain('INTERNAL')
})

test('the reason with which an agent ends a job keeps its words, whatever its code', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const serving = await test.serve(agent, ['db1'], { 'agent.backup': async () => ({}) })
  const operator = await test.person('operator')
  for (const [code, kept] of [
    ['MOON_PHASE', 'PEER_FAILED'],
    ['INTERNAL', 'PEER_FAILED'],
    ['x'.repeat(5000), 'PEER_FAILED'],
    ['CATALOG_DAMAGED', 'PEER_FAILED'],
    ['TOKEN_REVOKED', 'PEER_FAILED'],
    ['LEASE_LOST', 'LEASE_LOST'],
  ] as const) {
    const { job } = await operator.call('backup.start', { machine: 'db1', full: false })
    await serving.call('backup.fail', { job, code, message: 'not today' })
    const [ended] = (await operator.call('jobs.list', { machine: 'db1', limit: 1 })).jobs
    expect(ended).toMatchObject({ id: job, state: 'failed', error: { code: kept } })
    expect(ended!.error!.message).toContain('not today')
    expect(ended!.error!.message).toContain(kept === 'PEER_FAILED' ? code.slice(0, 64) : '')
  }
})

test('one session looks once at a time, the others wait, and the data path waits for none of them', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const serving = await test.serve(agent, ['db1'], { 'agent.backup': async () => ({}) })
  const { catalog } = test.services.datastore
  const release = Promise.withResolvers<void>()
  let looking = 0
  let most = 0
  intercept(catalog, async (name, _, call) => {
    if (name !== 'points.list') return await call()
    looking++
    most = Math.max(most, looking)
    await release.promise
    looking--
    return await call()
  })
  const page = { machine: null, limit: 250 }
  const viewers = [await test.person('viewer'), await test.person('viewer'), await test.person('auditor')]
  const listings = viewers.flatMap((viewer) => Array.from({ length: 64 }, () => viewer.call('points.list', page)))
  await eventually(() => looking > 0)
  const operator = await test.person('operator')
  // while all of them wait, a backup begins, fails and is released, and another tenant looks
  const { job } = await operator.call('backup.start', { machine: 'db1', full: true })
  await serving.call('backup.fail', { job, code: 'LEASE_LOST', message: 'x' })
  await serving.call('backup.released', { job })
  expect((await (await test.person('viewer', test.other)).call('machines.list', {})).machines).toEqual([])
  expect(looking).toBe(2)
  release.resolve()
  expect((await Promise.all(listings)).length).toBe(192)
  expect(most).toBe(2)
  expect(test.services.registry.turns.listing.busy).toBe(0)
})

test('leases that take long to begin keep no turn from what else is asked of agents', async () => {
  await using test = await TestServices.open()
  const release = Promise.withResolvers<never>()
  let begun = 0
  await test.serve(await test.agent(), ['db1'], {
    'agent.lease': () => {
      begun++
      return release.promise
    },
    'agent.targets': async () => ({ targets: [] }),
  })
  const operator = await test.person('operator')
  const asked = { machine: 'db1', target: 't', ttlMs: 60_000, full: false }
  const leases = Array.from({ length: 9 }, () => operator.call('machines.lease', asked))
  await eventually(() => begun === 8)
  expect(await operator.call('machines.targets', { machine: 'db1' })).toEqual({ targets: [] })
  release.reject(new VarveError('MACHINE_OFF', 'x'))
  for (const ended of await Promise.allSettled(leases)) expect(ended.status).toBe('rejected')
  expect(test.services.registry.turns.lease.busy).toBe(0)
})
