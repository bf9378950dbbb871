// The table of methods through both doors: every audited method leaves one entry when it is done and one when it fails, the
// same over the wire and over
// the local socket. Method: one story in which each of them is called rightly and wrongly, told twice.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import type { AuditEntry } from '../../../gateway/catalog/audit.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { METHODS, methodOf, type Asked, type MethodName, type Params, type Result } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { drillOutcome } from '../../support/drill.ts'
import { codeOf } from '../auth/test-authority.ts'
import { finishDisk, fullDisk } from '../catalog.ts'
import { MAIL } from '../notify/stand.ts'
import { MemorySession, TestServices } from '../services.ts'

const DAY_MS = 24 * 60 * 60 * 1000

const NAMES = Object.keys(METHODS) as MethodName[]

type Door = 'wire' | 'local'

/** A session over this door; the local socket asks for no token. */
const enter = async (test: TestServices, door: Door, role: 'owner' | 'platform'): Promise<Peer> => {
  if (door === 'wire') return test.person(role)
  const claims = await test.services.admission.local(role === 'owner' ? test.acme.name : null)
  const session = new MemorySession(test.services, claims)
  await session.hello(test.services, {})
  return session.peer
}

/** Every entry of the whole log, in its order. */
const logOf = async (test: TestServices): Promise<AuditEntry[]> => {
  const { catalog } = test.services.datastore
  const tenants = await catalog.tenants.list()
  const logs = [null, ...tenants.map(({ id }) => id)].map((tenant) =>
    catalog.audit.list({ tenant, afterSeq: 0, limit: 1000 }),
  )
  return (await Promise.all(logs)).flat().toSorted((a, b) => a.seq - b.seq)
}

/** What an entry says, without who came from where, and without ids and times that differ between two stories. */
const said = ({ action, resource, outcome, details }: AuditEntry): string => {
  const { address: _, expiresMs: _end, key: _key, ...asked } = details
  return JSON.stringify([action, resource, outcome, asked]).replaceAll(
    /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gu,
    '#',
  )
}

const LEASE = randomUUID()

const tell = async (door: Door): Promise<{ readonly told: string[]; readonly called: Set<MethodName> }> => {
  await using test = await TestServices.open()
  const called = new Set<MethodName>()
  const told: string[] = []
  const owner = await enter(test, door, 'owner')
  const platform = await enter(test, door, 'platform')
  const viewer = await test.person('viewer')
  const [agent, spare] = [await test.agent(), await test.agent()]
  const serving = await test.serve(agent, ['db1'], {
    'agent.backup': async () => ({}),
    'agent.cancel': async () => ({}),
    'agent.qmp': async () => ({ value: '{}' }),
    'agent.checkpoints': async () => ({ checkpoints: [], omitted: 0 }),
    'agent.forget': async () => ({ removed: [], left: [] }),
    'agent.lease': async ({ machine, target, consistency }) => {
      // without a wish it is that of the machine's plan
      expect(consistency).toBe('freeze')
      const instant = { timeMs: 1, consistency: 'crash', note: null, expiresMs: 2, base: null } as const
      return { lease: LEASE, machine, target, ...instant, records: true, disks: [], leftOut: [] }
    },
    'agent.renewLease': async () => ({ expiresMs: 3 }),
    'agent.endLease': async () => ({}),
    'agent.targets': async () => ({ targets: [] }),
    'agent.removeTarget': async () => ({}),
    // all places are open, and nothing more comes until it is cancelled
    'agent.restore': async ({ disks }, call) => {
      await call.send({ disk: disks[0]!.disk, doneBytes: 0, bytesReceived: 0, differBytes: null, writtenBytes: 0 })
      await once(call.signal, 'abort')
      throw new VarveError('CANCELLED', 'cancelled')
    },
  })
  /** The one entry that a call left. */
  const entryOf = async (name: MethodName, work: () => Promise<unknown>): Promise<AuditEntry> => {
    const before = (await logOf(test)).length
    await work()
    const left = (await logOf(test)).slice(before)
    const own = left.filter(({ action, outcome }) => action === name && outcome !== 'begun')
    expect([name, own.length]).toEqual([name, 1])
    told.push(...left.map(said))
    return own[0]!
  }
  const good = async <N extends MethodName>(peer: Peer, name: N, params: Asked<N>): Promise<Result<N>> => {
    let result: Promise<Result<N>> | null = null
    const entry = await entryOf(name, () => {
      const call = peer.open(name, params)
      // it goes on until its caller ends it
      if (name === 'image.read') call.end()
      return (result = call.result)
    })
    expect([name, entry.outcome]).toEqual([name, 'ok'])
    called.add(name)
    return await result!
  }
  const bad = async <N extends MethodName>(peer: Peer, name: N, params: Asked<N>, code: string): Promise<void> => {
    const failure = () =>
      peer.open(name, params).result.then(
        () => 'none',
        (thrown: unknown) => asVarveError(thrown).code,
      )
    let told = ''
    const entry = await entryOf(name, async () => (told = await failure()))
    expect([name, told, entry.outcome]).toEqual([name, code, code])
  }
  const start = async (): Promise<string> => (await good(owner, 'backup.start', { machine: 'db1', full: true })).job
  const begun = (job: string): Asked<'backup.begin'> => ({
    job,
    timeMs: test.clock.now(),
    consistency: 'crash',
    note: null,
    configuration: '{}',
    leftOut: [],
    checkpoint: true,
    disks: [fullDisk('vda', 4096, 'requested')],
  })

  await good(platform, 'tenants.add', { tenant: 'new', chunkBytes: 65_536 })
  await bad(platform, 'tenants.add', { tenant: 'acme', chunkBytes: 65_536 }, 'EXISTS')
  const set = await good(platform, 'tenants.setQuota', { tenant: 'acme', softBytes: 2 ** 40 })
  expect(set.tenant.quota).toEqual({ softBytes: 2 ** 40, hardBytes: null })
  await bad(platform, 'tenants.setQuota', { tenant: 'acme', hardBytes: 5 }, 'PARAMS_INVALID')
  const person = { subject: 'eve', role: 'viewer', ttlMs: DAY_MS } as const
  const { id } = await good(owner, 'tokens.issue', person)
  await bad(owner, 'tokens.issue', { ...person, ttlMs: 91 * DAY_MS }, 'PARAMS_INVALID')
  await bad(owner, 'tokens.issue', { ...person, role: 'platform' }, 'PARAMS_INVALID')
  await good(platform, 'tokens.issue', { ...person, tenant: 'acme' })
  await good(platform, 'tokens.issue', { ...person, role: 'platform', tenant: null })
  await good(owner, 'login.issue', person)
  await bad(owner, 'login.issue', { ...person, ttlMs: 91 * DAY_MS }, 'PARAMS_INVALID')
  await bad(owner, 'login.issue', { ...person, role: 'platform' }, 'PARAMS_INVALID')
  await good(platform, 'login.issue', { ...person, role: 'platform', tenant: null })
  await good(owner, 'tokens.revoke', { token: id })
  await bad(owner, 'tokens.revoke', { token: randomUUID() }, 'NOT_FOUND')
  await good(owner, 'enrolments.issue', { ttlMs: DAY_MS })
  await bad(platform, 'enrolments.issue', { ttlMs: DAY_MS }, 'PARAMS_INVALID')
  await good(platform, 'keys.rotate', {})
  await bad(owner, 'keys.rotate', {}, 'ROLE_FORBIDDEN')
  expect(await good(platform, 'audit.check', {})).toMatchObject({ brokenSeq: null })
  await bad(owner, 'audit.check', {}, 'ROLE_FORBIDDEN')
  expect(await good(platform, 'store.checkFolder', {})).toEqual({ problems: [] })
  await bad(owner, 'store.checkFolder', {}, 'ROLE_FORBIDDEN')

  const joined = await good(owner, 'machines.setGroup', { machine: 'db1', group: 'web' })
  expect(joined).toEqual({ group: 'web', plan: null, newGroup: true })
  await bad(owner, 'machines.setGroup', { machine: 'db9', group: null }, 'NOT_FOUND')
  await good(owner, 'machines.exclude', { machine: 'db1', reason: 'rebuilt', untilMs: null })
  await bad(owner, 'machines.exclude', { machine: 'db1', reason: 'rebuilt', untilMs: 1 }, 'PARAMS_INVALID')
  await good(owner, 'machines.include', { machine: 'db1' })
  await bad(owner, 'machines.include', { machine: 'db9' }, 'NOT_FOUND')
  for (const to of [spare, agent]) await good(owner, 'machines.assign', { machine: 'db1', agent: to.id })
  await bad(owner, 'machines.assign', { machine: 'db1', agent: randomUUID() }, 'NOT_FOUND')
  await good(owner, 'machines.qmp', { machine: 'db1', command: 'query-status', arguments: '{}' })
  await bad(owner, 'machines.qmp', { machine: 'db9', command: 'query-status', arguments: '{}' }, 'NOT_FOUND')
  expect(await viewer.call('machines.checkpoints', { machine: 'db1' })).toEqual({ checkpoints: [], omitted: 0 })
  await good(owner, 'machines.forget', { machine: 'db1', disk: null })
  await bad(viewer, 'machines.forget', { machine: 'db1', disk: null }, 'ROLE_FORBIDDEN')
  const wanted = { machine: 'db1', target: 't1', ttlMs: 60_000, full: false }
  await good(owner, 'machines.lease', wanted)
  await bad(viewer, 'machines.lease', wanted, 'ROLE_FORBIDDEN')
  expect(await owner.call('machines.renewLease', { machine: 'db1', lease: LEASE, ttlMs: 60_000 })).toEqual({
    expiresMs: 3,
  })
  await good(owner, 'machines.endLease', { machine: 'db1', lease: LEASE, success: true })
  await bad(owner, 'machines.endLease', { machine: 'db9', lease: LEASE, success: true }, 'NOT_FOUND')
  expect(await viewer.call('machines.targets', { machine: 'db1' })).toEqual({ targets: [] })
  await good(owner, 'machines.removeTarget', { machine: 'db1', target: 't1' })

  const cancelled = await start()
  await bad(owner, 'backup.start', { machine: 'db1', full: true }, 'JOB_RUNNING')
  await good(owner, 'jobs.cancel', { job: cancelled })
  await bad(owner, 'jobs.cancel', { job: randomUUID() }, 'NOT_FOUND')
  const failed = await start()
  await good(serving, 'backup.fail', { job: failed, code: 'LEASE_LOST', message: 'gone' })
  await bad(serving, 'backup.fail', { job: randomUUID(), code: 'LEASE_LOST', message: 'gone' }, 'NOT_FOUND')
  const job = await start()
  await good(serving, 'backup.begin', begun(job))
  // the same call again, with its fields in another order
  await good(
    serving,
    'backup.begin',
    Object.fromEntries(Object.entries(begun(job)).toReversed()) as Params<'backup.begin'>,
  )
  await bad(serving, 'backup.begin', { ...begun(job), note: 'another' }, 'UPLOAD_INVALID')
  await bad(serving, 'backup.commit', { job, bytesRead: 1 }, 'IMAGE_INCOMPLETE')
  await finishDisk(test.services.datastore.catalog, { id: job, tenant: test.acme }, 'vda')
  await good(serving, 'backup.commit', { job, bytesRead: 1 })
  await good(serving, 'backup.commit', { job, bytesRead: 1 })
  const image = { point: job, disk: 'vda', position: 0, skipDamaged: false }
  await good(owner, 'image.download', image)
  await bad(owner, 'image.download', { ...image, disk: 'vdz' }, 'NOT_FOUND')
  await good(owner, 'image.read', { point: job, disk: 'vda' })
  await bad(owner, 'image.read', { point: job, disk: 'vdz' }, 'NOT_FOUND')
  const disks = [{ disk: 'vda', to: '/restores/vda.raw', format: 'raw' as const }]
  const order = { point: job, agent: agent.id, disks, overwrite: false }
  const { restore } = await good(owner, 'restores.start', order)
  await bad(owner, 'restores.start', { ...order, agent: randomUUID() }, 'NOT_FOUND')
  // an agent that does not know how refuses, instead of replacing what is there
  const onto = disks.map((disk) => ({ ...disk, how: 'onto' as const }))
  await bad(owner, 'restores.start', { ...order, disks: onto, overwrite: true }, 'METHOD_UNKNOWN')
  await good(owner, 'restores.cancel', { restore })
  await bad(owner, 'restores.cancel', { restore }, 'JOB_ENDED')

  const drill = { drill: randomUUID(), point: job, outcome: drillOutcome(), log: 'login: ', picture: null }
  await good(owner, 'drills.add', drill)
  await bad(owner, 'drills.add', { ...drill, drill: randomUUID(), point: randomUUID() }, 'NOT_FOUND')

  await good(owner, 'points.hold', { point: job, held: true })
  await bad(owner, 'points.hold', { point: randomUUID(), held: true }, 'NOT_FOUND')
  const use = { use: randomUUID(), point: job, ttlMs: DAY_MS }
  await good(owner, 'points.use', use)
  await bad(owner, 'points.use', { ...use, point: randomUUID() }, 'NOT_FOUND')
  await good(owner, 'points.lock', { point: job, untilMs: test.clock.now() + DAY_MS })
  await bad(owner, 'points.lock', { point: job, untilMs: test.clock.now() + 1 }, 'POINT_HELD')
  const prune = { machine: null, group: null, rules: null, dryRun: false }
  await good(owner, 'points.prune', { ...prune, points: null })
  await bad(owner, 'points.prune', { ...prune, points: [job] }, 'POINT_HELD')
  const plans = [{ name: 'web', covers: { groups: ['web'] } }]
  await good(owner, 'plans.apply', { plans })
  await bad(owner, 'plans.apply', { plans: [], remove: ['wbe'] }, 'NOT_FOUND')
  const slow = { bytesPerSecond: null }
  const collect = { dryRun: false, thresholdPercent: 50, ...slow }
  await good(owner, 'store.collect', collect)
  await bad(viewer, 'store.collect', collect, 'ROLE_FORBIDDEN')
  const verify = { machine: null, olderThanDays: null, ...slow }
  await good(owner, 'store.verify', { ...verify, point: null })
  await bad(owner, 'store.verify', { ...verify, point: randomUUID() }, 'NOT_FOUND')
  await good(owner, 'store.check', slow)
  await bad(viewer, 'store.check', slow, 'ROLE_FORBIDDEN')

  const settings = { ...MAIL, host: '127.0.0.1', security: 'none', port: 1 } as const
  const mail = { target: 'mail', settings }
  for (const peer of [owner, platform]) await good(peer, 'notify.setTarget', mail)
  await bad(owner, 'notify.setTarget', { ...mail, settings: { ...settings, host: 'a.example' } }, 'PARAMS_INVALID')
  const rule = { rule: 'nights', match: {}, targets: ['mail'], quiet: null, repeatMs: null }
  await good(owner, 'notify.setRule', rule)
  await bad(owner, 'notify.setRule', { ...rule, targets: ['nowhere'] }, 'NOT_FOUND')
  await good(owner, 'notify.removeRule', { rule: 'nights' })
  await bad(owner, 'notify.removeRule', { rule: 'nights' }, 'NOT_FOUND')
  // nothing listens there, which is an answer as well
  expect(await good(platform, 'notify.test', { target: 'mail' })).toMatchObject({ sent: false })
  await bad(viewer, 'notify.test', { target: 'mail' }, 'ROLE_FORBIDDEN')
  const { notice } = await good(owner, 'notify.digest', { target: 'mail' })
  await bad(owner, 'notify.digest', { target: 'nowhere' }, 'NOT_FOUND')
  await good(owner, 'notify.retry', { notice })
  await bad(platform, 'notify.retry', { notice }, 'NOT_FOUND')
  await good(owner, 'notify.drop', { notice })
  await bad(owner, 'notify.drop', { notice }, 'NOT_FOUND')
  const quiet = { match: {}, reason: 'work', untilMs: test.clock.now() + DAY_MS }
  const { mute } = await good(owner, 'notify.mute', quiet)
  await bad(owner, 'notify.mute', { ...quiet, untilMs: 1 }, 'PARAMS_INVALID')
  await good(owner, 'notify.unmute', { mute: mute.id })
  await bad(owner, 'notify.unmute', { mute: mute.id }, 'NOT_FOUND')
  await good(owner, 'notify.removeTarget', { target: 'mail' })
  await bad(owner, 'notify.removeTarget', { target: 'mail' }, 'NOT_FOUND')
  await good(platform, 'notify.setPing', { url: 'https://127.0.0.1/secret', everyMs: 60_000 })
  await bad(owner, 'notify.setPing', { url: null, everyMs: 60_000 }, 'ROLE_FORBIDDEN')

  const publicKey = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x!
  await good(serving, 'agents.rotateKey', { publicKey })
  await bad(serving, 'agents.rotateKey', { publicKey: 'no key' }, 'PARAMS_INVALID')
  await good(owner, 'agents.setSite', { agent: agent.id, site: 'dc1' })
  await bad(owner, 'agents.setSite', { agent: randomUUID(), site: 'dc1' }, 'NOT_FOUND')
  await bad(viewer, 'agents.setSite', { agent: agent.id, site: null }, 'ROLE_FORBIDDEN')
  await good(owner, 'agents.revoke', { agent: agent.id })
  await bad(owner, 'agents.revoke', { agent: randomUUID() }, 'NOT_FOUND')
  expect(await test.services.audit.check()).toMatchObject({ brokenSeq: null })
  return { told, called }
}

test('every audited method leaves one entry, done or failed, and the same one through either door', async () => {
  const [wire, local] = [await tell('wire'), await tell('local')]
  expect(local.told).toEqual(wire.told)
  expect([...wire.called].toSorted()).toEqual(NAMES.filter((name) => methodOf(name).audited !== false).toSorted())
  for (const entry of wire.told) expect(entry).not.toMatch(/^\["(?:agent|token|machine|tenant|enrolment)\./u)
})

test('a look leaves no entry, whatever it ends with, but what refuses it does: a dry run is a look', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const viewer = await test.person('viewer')
  const all = { machine: null, group: null, rules: null, points: null }
  const collect = { thresholdPercent: 50, bytesPerSecond: null }
  /** Each method of which a dry run looks: one that is well, and the same as an act. */
  const dry = {
    'points.prune': (dryRun: boolean) => owner.call('points.prune', { ...all, dryRun }),
    'plans.apply': (dryRun: boolean) => owner.call('plans.apply', { plans: [{ name: 'p' }], dryRun }),
    'store.collect': (dryRun: boolean) => owner.open('store.collect', { ...collect, dryRun }).result,
  }
  expect(Object.keys(dry).toSorted()).toEqual(
    NAMES.filter((name) => methodOf(name).audited === 'unless dryRun').toSorted(),
  )
  for (const [name, call] of Object.entries(dry)) {
    const before = (await logOf(test)).length
    await call(true)
    expect([name, (await logOf(test)).slice(before)]).toEqual([name, []])
    await call(false)
    expect((await logOf(test)).slice(before)).toMatchObject([{ action: name, outcome: 'ok' }])
  }
  const before = (await logOf(test)).length
  await owner.open('store.usage', { machine: null, points: true }).result
  // fails as it looks: nothing was to be changed
  const twice = [
    { name: 'q', covers: { others: true } },
    { name: 'r', covers: { others: true } },
  ]
  expect(await codeOf(owner.call('plans.apply', { plans: twice, dryRun: true }))).toBe('PARAMS_INVALID')
  expect((await logOf(test)).slice(before)).toEqual([])
  // what somebody may not do, or names that are not there, is told of looks as of acts
  expect(await codeOf(viewer.call('points.prune', { ...all, dryRun: true }))).toBe('ROLE_FORBIDDEN')
  expect(await codeOf(owner.call('store.usage', { machine: 'db9', points: true }))).toBe('NOT_FOUND')
  expect((await logOf(test)).slice(before)).toMatchObject([
    { action: 'points.prune', outcome: 'ROLE_FORBIDDEN', details: { dryRun: true } },
    { action: 'store.usage', outcome: 'NOT_FOUND', resource: 'machine=db9' },
  ])
})

test('every method of the table has an action', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  for (const name of NAMES.filter((one) => methodOf(one).servedBy === 'gateway')) {
    const code = await codeOf(owner.open(name, {}).result)
    expect([name, ['METHOD_UNKNOWN', 'INTERNAL', 'PEER_FAILED'].includes(code)]).toEqual([name, false])
  }
})
