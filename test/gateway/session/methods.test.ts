// What each role may do and what each tenant sees: every method of the table against every role, and against another
// tenant's things.
import { announced } from '../../support/announced.ts'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { asVarveError } from '../../../protocol/errors.ts'
import {
  METHODS,
  type MachineStatus,
  type MethodName,
  type MethodsServedBy,
  type Params,
} from '../../../protocol/methods.ts'
import { ROLES, type Role } from '../../../protocol/claims.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { POLICY_DEFAULT } from '../../../protocol/schemas.ts'
import { drillOutcome } from '../../support/drill.ts'
import { eventually } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addPoint, beginJob, fullDisk, startJob } from '../catalog.ts'
import { MAIL } from '../notify/stand.ts'
import { REFUSAL_WINDOW_MS } from '../../../gateway/auth/audit.ts'
import { sessionHandlers } from '../../../gateway/session/methods.ts'
import type { Door } from '../../../gateway/service/door.ts'
import { TestServices, type TestAgent } from '../services.ts'

type Served = MethodsServedBy<'gateway'>

interface Things {
  readonly machine: string
  readonly job: string
  readonly point: string
  readonly agent: string
}

const MISSING: Things = { machine: 'nowhere', job: randomUUID(), point: randomUUID(), agent: randomUUID() }

const PAGE = { after: null, limit: 10 }

const NO_IMAGES = { checkpoint: true, disks: [], attachments: [], missing: [] }

/** Parameters of every method of the gateway, about these things. */
const paramsOf = ({ machine, job, point, agent }: Things): { [N in Served]: Params<N> } => ({
  'session.renew': { token: 'a.b.c' },
  'tenants.list': { tenant: null, ...PAGE },
  'tenants.add': { tenant: 'new', chunkBytes: 65_536, firstPlan: true },
  'tenants.setQuota': { tenant: 'acme', hardBytes: null },
  'agents.list': { enrolment: null, ...PAGE },
  'agents.rotateKey': { publicKey: 'x' },
  'tokens.issue': { subject: 's', role: 'viewer', ttlMs: 1 },
  'login.issue': { subject: 's', role: 'viewer', ttlMs: 1 },
  'tokens.list': PAGE,
  'tokens.revoke': { token: agent },
  'enrolments.issue': { ttlMs: 1 },
  'keys.list': {},
  'keys.rotate': {},
  'audit.check': {},
  'store.forecast': {},
  'coverage.list': { states: null, machine: null, group: null, plan: null, contains: null, order: 'name', ...PAGE },
  'coverage.days': { days: 7, untilDay: null, zone: 'UTC', contains: null, states: null, order: 'name', ...PAGE },
  'coverage.summary': {},
  'coverage.tenants': PAGE,
  'events.list': { kinds: null, machine: null, ...PAGE },
  'events.watch': { kinds: null, machine, after: null },
  'runs.list': { machine: null, kind: null, state: null, ...PAGE },
  'store.checkFolder': {},
  'agents.revoke': { agent },
  'agents.setSite': { agent, site: 'dc1' },
  'audit.list': { newest: true, contains: 'x', failed: true, ...PAGE },
  'machines.list': { machine: null, ...PAGE },
  'machines.status': { machine },
  'machines.checkpoints': { machine },
  'machines.forget': { machine, disk: null },
  'machines.lease': { machine, target: 't1', ttlMs: 60_000, full: false, consistency: null },
  'machines.renewLease': { machine, lease: job, ttlMs: 60_000 },
  'machines.endLease': { machine, lease: job, success: true },
  'machines.targets': { machine },
  'machines.removeTarget': { machine, target: 't1' },
  'machines.setGroup': { machine, group: 'web' },
  'machines.exclude': { machine, reason: 'rebuilt', untilMs: null },
  'machines.include': { machine },
  'machines.assign': { machine, agent: MISSING.agent },
  'machines.qmp': { machine, command: 'query-status', arguments: '{}' },
  'machines.events': { machine },
  'backup.start': { machine, full: false, compare: true },
  'jobs.list': { machine: null, running: true, ...PAGE },
  'jobs.watch': { job },
  'jobs.cancel': { job },
  'points.list': { machine: null, untilMs: null, ...PAGE },
  'points.get': { point },
  'image.download': { point, disk: 'vda', position: 0, skipDamaged: false },
  'image.read': { point, disk: 'vda' },
  'points.hold': { point, held: true },
  'points.use': { use: point, point, ttlMs: 1 },
  'points.lock': { point, untilMs: 1 },
  'points.prune': { machine, group: null, plan: null, rules: null, points: null, dryRun: true },
  'points.lost': { point, ...PAGE },
  'restores.places': { agent, places: [] },
  'restores.start': {
    point,
    agent,
    disks: [{ disk: 'vda', to: '/srv/vda', format: null, how: 'new' }],
    overwrite: false,
  },
  'restores.list': { machine: null, state: null, ...PAGE },
  'restores.watch': { restore: job },
  'restores.cancel': { restore: job },
  'drills.add': { drill: job, point, outcome: drillOutcome(), log: '', picture: null },
  'drills.list': { machine: null, point: null, ...PAGE },
  'drills.get': { drill: job },
  'points.changes': {
    from: point,
    to: point,
    disk: 'vda',
    fromDisk: null,
    offset: 0,
    bytes: null,
    limit: 10,
    granularity: null,
  },
  'plans.list': PAGE,
  'plans.get': { plan: 'nightly' },
  'plans.apply': { plans: [], merge: false, remove: [], replace: false, dryRun: false },
  'plans.next': { plan: null, machine, count: 1 },
  'plans.timeline': { plan: null, fromMs: 1, untilMs: 2, stepMs: 900_000, ...PAGE },
  'store.growth': { days: 30 },
  'store.proof': { limit: 10 },
  'store.damage': PAGE,
  'store.collect': { dryRun: true, thresholdPercent: 50, bytesPerSecond: null },
  'store.verify': { point, machine: null, olderThanDays: null, bytesPerSecond: null },
  'store.check': { bytesPerSecond: null },
  'store.usage': { machine, points: false },
  'notify.targets': {},
  'notify.setTarget': { target: 'mail', settings: MAIL, secrets: {}, hourly: 1, rule: true },
  'notify.removeTarget': { target: 'mail' },
  'notify.test': { target: 'mailbox' },
  'notify.rules': {},
  'notify.setRule': { rule: 'all', match: {}, targets: ['mailbox'], quiet: null, repeatMs: null },
  'notify.removeRule': { rule: 'all' },
  'notify.mutes': {},
  'notify.mute': { match: {}, reason: 'work', untilMs: 1 },
  'notify.unmute': { mute: job },
  'notify.outbox': { state: null, ...PAGE },
  'notify.retry': { notice: job },
  'notify.drop': { notice: job },
  'notify.digest': { target: 'mailbox' },
  'notify.ping': {},
  'notify.setPing': { url: null, everyMs: 60_000, insecure: false },
  'agent.inventory': { host: 'h', machines: [], jobs: [] },
  'backup.progress': { job, step: null, spent: null },
  'backup.begin': {
    job,
    timeMs: 1,
    leadMs: 0,
    consistency: 'crash',
    note: null,
    configuration: '{}',
    leftOut: [],
    ...NO_IMAGES,
  },
  'image.content': { job, disk: 'vda', before: 9, limit: 1 },
  'image.compare': { job, disk: 'vda', positions: [0], ids: new Uint8Array(32) },
  'image.upload': { job, disk: 'vda' },
  'backup.commit': { job, bytesRead: 0, steps: [], frozenMs: null, scratch: null },
  'backup.fail': { job, code: 'X', message: 'x', steps: [] },
  'backup.released': { job },
})

const NAMES = Object.keys(METHODS).filter((name) => METHODS[name as MethodName].servedBy === 'gateway') as Served[]

const call = (peer: Peer, name: Served, things: Things): Promise<unknown> =>
  peer.open(name, paramsOf(things)[name]).result

/** The roles of each method as the protocol's document has them. */
const documented = new Map(
  [
    ...readFileSync('protocol/PROTOCOL.md', 'utf8').matchAll(
      /^\| `([a-z]+\.[a-zA-Z]+)` +\| gateway +\| ([a-z, ]+?) +\|/gmu,
    ),
  ].map(([, name, roles]) => [name!, roles!.split(', ')] as const),
)

const peerOf = async (test: TestServices, role: Role): Promise<Peer> =>
  role === 'agent' ? (await test.session((await test.agent()).assertion())).peer : test.person(role)

test('the document has every method', () => {
  expect([...documented.keys()].toSorted()).toEqual(NAMES.toSorted())
})

test.each(ROLES)('the role %s may use what the document says, and nothing else', async (role) => {
  await using test = await TestServices.open()
  const peer = await peerOf(test, role)
  for (const [index, name] of NAMES.entries()) {
    // more refusals in one window would only be counted
    if (index > 0 && index % 40 === 0) await test.pass(REFUSAL_WINDOW_MS)
    const code = await codeOf(call(peer, name, MISSING))
    const allowed = documented.get(name)?.includes(role) ?? false
    expect([name, code === 'ROLE_FORBIDDEN']).toEqual([name, !allowed])
  }
  const refused = (await test.audited(role === 'platform' ? null : test.acme)).filter(
    ({ outcome }) => outcome === 'ROLE_FORBIDDEN',
  )
  const forbidden = NAMES.filter((name) => documented.get(name)?.includes(role) !== true)
  expect(refused.map(({ action }) => action)).toEqual(forbidden)
})

/** A tenant with an agent, a machine, a running job and a restore point. */
const furnish = async (test: TestServices, tenant: TestAgent['tenant']): Promise<Things & { agentOf: TestAgent }> => {
  const agentOf = await test.agent(tenant)
  const { catalog } = test.services.datastore
  const machine = `machine-of-${tenant.name}`
  const declared = { tenant: tenant.id, agent: agentOf.id, machines: [announced(machine)], nowMs: 1 }
  await catalog.machines.declare(declared)
  const row = await catalog.machines.get({ tenant: tenant.id, name: machine })
  const point = await addPoint(catalog, tenant, row)
  const job = await startJob(catalog, tenant, row, { nowMs: 50 })
  await beginJob(catalog, { id: job, agent: agentOf.id }, [{ ...fullDisk('vda', 4096), reason: 'bitmap-missing' }])
  return { machine, job, point, agent: agentOf.id, agentOf }
}

const ABOUT_THINGS: Served[] = NAMES.filter((name) => JSON.stringify(paramsOf(MISSING)[name]).match(/nowhere|-.*-.*-/u))

test.each(['owner', 'agent'] as const)('another tenant’s things are for %s as if they were not there', async (role) => {
  await using test = await TestServices.open()
  const mine = await furnish(test, test.acme)
  const theirs = await furnish(test, test.other)
  const peer =
    role === 'agent' ? (await test.session(mine.agentOf.assertion(), { serving: true })).peer : await test.person(role)
  const tellOf = async (name: Served, things: Things): Promise<string> => {
    const words = (text: string) =>
      Object.entries(things).reduce(
        (sum, [key, value]) => (typeof value === 'string' ? sum.replaceAll(value, key) : sum),
        text,
      )
    return call(peer, name, things).then(
      (result) => `result ${JSON.stringify(result)}`,
      (thrown: unknown) => {
        const { code, message, details } = asVarveError(thrown)
        return words(`${code}: ${message} ${JSON.stringify(details)}`)
      },
    )
  }
  for (const name of NAMES.filter((one) => one.endsWith('.list') && documented.get(one)?.includes(role) === true)) {
    const seen = JSON.stringify(await call(peer, name, MISSING))
    for (const [kind, thing] of Object.entries(theirs))
      if (typeof thing === 'string') expect([name, kind, seen.includes(thing)]).toEqual([name, kind, false])
  }
  expect(ABOUT_THINGS.length).toBeGreaterThan(12)
  for (const name of ABOUT_THINGS) {
    if (documented.get(name)?.includes(role) !== true) continue
    const told = await tellOf(name, theirs)
    expect([name, told]).toEqual([name, await tellOf(name, MISSING)])
    expect([name, told.startsWith('NOT_FOUND')]).toEqual([name, true])
  }
  const state = await test.services.datastore.catalog.jobs.get({ tenant: test.other.id, job: theirs.job })
  expect(state?.job.state).toBe('running')
  expect(await test.audited(test.other)).not.toContainEqual(expect.objectContaining({ outcome: 'NOT_FOUND' }))
  expect(await test.audited(test.acme)).toContainEqual(
    expect.objectContaining({ action: 'points.get', resource: `point=${theirs.point}`, outcome: 'NOT_FOUND' }),
  )
})

test('an agent sees its own machines, jobs and points, and none of a neighbour’s', async () => {
  await using test = await TestServices.open()
  const mine = await furnish(test, test.acme)
  const neighbour = await test.agent()
  const { peer } = await test.session(neighbour.assertion(), { serving: true })
  expect(await peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  expect(await peer.call('jobs.list', { machine: null, limit: 10 })).toEqual({ jobs: [], next: null })
  expect(await peer.call('points.list', { machine: null, limit: 10 })).toEqual({
    points: [],
    next: null,
  })
  for (const name of ABOUT_THINGS.filter((one) => documented.get(one)?.includes('agent') === true))
    expect([name, await codeOf(call(peer, name, mine))]).toEqual([name, 'NOT_FOUND'])
  const own = (await test.session(mine.agentOf.assertion())).peer
  expect((await own.call('machines.list', {})).machines.map(({ name }) => name)).toEqual([mine.machine])
  expect((await own.call('jobs.list', { machine: null, limit: 10 })).jobs.map(({ id }) => id)).toContain(mine.job)
  expect((await own.call('points.get', { point: mine.point.slice(0, 8) })).point.id).toBe(mine.point)
})

test('a relayed call goes to the machine’s agent and its answer comes back', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const operator = await test.person('operator')
  const status: MachineStatus = {
    name: 'db1',
    reachable: true,
    runState: 'running',
    hypervisor: 'QEMU 7.2.0',
    lease: null,
    target: null,
    problem: null,
    disks: [],
    leftOut: [],
  }
  const machineCalls: string[] = []
  await test.serve(agent, ['db1'], {
    'agent.status': async () => status,
    'agent.qmp': async ({ command, arguments: text }) => {
      machineCalls.push(command)
      return { value: text }
    },
    'agent.events': async (_, { send, signal }) => {
      await send({ event: 'RESET', timeMs: 5, data: '{}' })
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      machineCalls.push('events over')
      return {}
    },
  })
  expect(await operator.call('machines.status', { machine: 'db1' })).toEqual({ ...status, uuid: null, site: null })
  const qmp = { machine: 'db1', command: 'query-status', arguments: '{"a":1}' }
  expect(await operator.call('machines.qmp', qmp)).toEqual({ value: '{"a":1}' })
  const events = operator.open('machines.events', { machine: 'db1' })
  const first = await events.messages[Symbol.asyncIterator]().next()
  expect(first.value).toEqual({ event: 'RESET', timeMs: 5, data: '{}' })
  events.cancel()
  await eventually(() => machineCalls.includes('events over'))
  expect(machineCalls).toEqual(['query-status', 'events over'])
  const [machine] = (await operator.call('machines.list', {})).machines
  expect(machine).toMatchObject({ name: 'db1', agent: agent.id, host: 'host1', online: true, policy: POLICY_DEFAULT })
})

test('without its agent a machine is known and cannot be reached; a break is the agent’s, not the caller’s', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const operator = await test.person('operator')
  const asked = Promise.withResolvers<void>()
  const peer = await test.serve(agent, ['db1'], {
    'agent.status': () => {
      asked.resolve()
      return new Promise(() => {})
    },
  })
  const status = operator.call('machines.status', { machine: 'db1' })
  await asked.promise
  test.services.registry.agent(agent.id).transportClosed(asVarveError(new Error('cut')))
  expect(await codeOf(status)).not.toBe('none')
  void peer
  await eventually(() => !test.services.registry.online(agent.id))
  expect(await codeOf(operator.call('machines.status', { machine: 'db1' }))).toBe('AGENT_OFFLINE')
  expect(await codeOf(operator.call('backup.start', { machine: 'db1', full: false }))).toBe('AGENT_OFFLINE')
  expect((await operator.call('machines.list', {})).machines).toMatchObject([{ name: 'db1', online: false }])
})

test('a backup is started, followed and cancelled by people, and every change is in the audit log', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const orders: Params<'agent.backup'>[] = []
  const serving = await test.serve(agent, ['db1'], {
    'agent.backup': async (order) => {
      orders.push(order)
      return {}
    },
    'agent.cancel': async () => ({}),
  })
  const operator = await test.person('operator')
  const policy = { consistency: 'none', refuseFull: ['bitmap-missing'] } as const
  const plans = [{ ...policy, name: 'p', refuseFull: [...policy.refuseFull], covers: { others: true } }]
  await (await test.person('owner')).call('plans.apply', { plans })
  const { job } = await operator.call('backup.start', { machine: 'db1', full: true })
  expect(orders).toMatchObject([{ job, machine: 'db1', full: true, policy }])
  expect(await codeOf(operator.call('backup.start', { machine: 'db1', full: true }))).toBe('JOB_RUNNING')
  expect((await operator.call('machines.list', {})).machines).toMatchObject([{ job, policy }])
  await operator.call('jobs.cancel', { job })
  await serving.call('backup.released', { job })
  const watched = operator.open('jobs.watch', { job })
  expect(await watched.result).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  const entries = (await test.audited(test.acme)).map(({ subject, action, resource, outcome }) =>
    [subject, action, resource, outcome].join(' '),
  )
  expect(entries.filter((entry) => entry.startsWith('a operator'))).toEqual([
    'a operator backup.start machine=db1 ok',
    'a operator backup.start machine=db1 JOB_RUNNING',
    `a operator jobs.cancel job=${job} ok`,
  ])
  const text = JSON.stringify(await test.audited(test.acme))
  for (const token of test.tokens) expect(text).not.toContain(token)
  expect(text).not.toContain(Buffer.from(test.acme.idKey).toString('hex'))
  expect(text).not.toContain(Buffer.from(test.acme.idKey).toString('base64'))
})

test('an owner revokes an agent: its sessions end, its jobs fail and it cannot come back', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const serving = await test.serve(agent, ['db1'], { 'agent.backup': async () => ({}) })
  const owner = await test.person('owner')
  const { job } = await owner.call('backup.start', { machine: 'db1', full: false })
  expect((await owner.call('agents.list', {})).agents).toMatchObject([
    { id: agent.id, host: 'host1', seenMs: expect.any(Number) as number, revokedMs: null, online: true },
  ])
  await owner.call('agents.revoke', { agent: agent.id })
  expect((await serving.closed).code).toBe('AGENT_REVOKED')
  expect(await codeOf(test.session(agent.assertion()))).toBe('AGENT_REVOKED')
  const { result } = owner.open('jobs.watch', { job })
  expect(await result).toMatchObject({ state: 'failed', error: { code: 'AGENT_REVOKED' } })
  expect((await owner.call('agents.list', {})).agents).toMatchObject([
    { revokedMs: expect.any(Number) as number, online: false },
  ])
  const log = (await owner.call('audit.list', { limit: 100 })).entries
  expect(log).toContainEqual(
    expect.objectContaining({
      action: 'agents.revoke',
      resource: `agent=${agent.id}`,
      subject: 'a owner',
      outcome: 'ok',
    }),
  )
})

test('a name that another host serves is refused with its holder, and an inventory tells of jobs', async () => {
  await using test = await TestServices.open()
  const [first, second] = [await test.agent(test.acme, 'alpha'), await test.agent(test.acme, 'beta')]
  await test.serve(first, ['db1'])
  const { peer } = await test.session(second.assertion(), { serving: true })
  const unknown = randomUUID()
  const answer = await peer.call('agent.inventory', {
    host: 'beta',
    machines: [announced('db1'), announced('db2')],
    jobs: [unknown],
  })
  expect(answer.refused).toMatchObject([{ machine: 'db1', code: 'EXISTS' }])
  expect(answer.refused[0]!.message).toContain('alpha')
  expect(answer.jobs).toEqual([{ job: unknown, state: null, keys: null }])
  const platform = await test.person('platform')
  expect((await platform.call('tenants.list', {})).tenants.map(({ name }) => name)).toEqual(['acme', 'other'])
})

test('a disk that a point does not have is not found', async () => {
  await using test = await TestServices.open()
  const { point } = await furnish(test, test.acme)
  const owner = await test.person('owner')
  const missing = owner.open('image.download', { point, disk: 'vdz', position: 0, skipDamaged: false })
  await expect(missing.result).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: `restore point ${point} has no disk or attachment "vdz"`,
  })
})

test('a restore is in the audit log before its first byte and with its end; one that sends nothing only with its end', async () => {
  await using test = await TestServices.open()
  const { point } = await furnish(test, test.acme)
  const owner = await test.person('owner')
  const download = owner.open('image.download', { point, disk: 'vda', position: 0, skipDamaged: false })
  let early: string[] | null = null
  for await (const _message of download.messages)
    early ??= (await test.audited(test.acme))
      .filter(({ action }) => action === 'image.download')
      .map(({ outcome }) => outcome)
  await download.result
  const missing = owner.open('image.download', { point, disk: 'vdz', position: 0, skipDamaged: false })
  expect(await codeOf(missing.result)).toBe('NOT_FOUND')
  const outcomes = (await test.audited(test.acme)).filter(({ action }) => action === 'image.download')
  expect(early![0]).toBe('begun')
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['begun', 'ok', 'NOT_FOUND'])
})

test('a session serves every method of the gateway, and holds nothing for one that is not called', async () => {
  const called: string[] = []
  const door = { run: async (name: string) => void called.push(name) } as unknown as Door
  const handlers = sessionHandlers(door, {} as never, {} as never)
  expect(Object.getOwnPropertyNames(handlers)).toEqual([])
  const names = Object.keys(paramsOf(MISSING)) as Served[]
  for (const name of names) await handlers[name]!({} as never, {} as never)
  expect(called).toEqual(names)
  const served = (Object.keys(METHODS) as MethodName[]).filter((name) => METHODS[name].servedBy === 'agent')
  expect(served.filter((name) => handlers[name] !== undefined)).toEqual([])
})
