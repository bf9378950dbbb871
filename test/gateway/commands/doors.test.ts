// One act is one entry of the audit log, whichever way a command took to its gateway; and each method that people may call
// has a command.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { Role } from '../../../protocol/claims.ts'
import { METHODS, type MethodName } from '../../../protocol/methods.ts'
import { Peer } from '../../../protocol/peer.ts'
import { runHere, type Said } from '../../commands/run-here.ts'
import { startGateway, TENANT, type TestGateway } from '../../support/gateway.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint, startJob } from '../catalog.ts'

interface Place {
  readonly temp: TempFolder
  readonly data: string
  /** Of a second agent, which serves nothing yet. */
  readonly agent: string
  readonly point: string
  readonly job: string
}

/** A data folder of a stopped gateway: the tenant with two agents, a machine that nobody serves now, a point and a job. */
const furnish = async (temp: TempFolder, name: string): Promise<Place> => {
  const data = temp.join(name)
  await using gateway = await startGateway({ folder: data })
  const tenant = await gateway.addTenant(TENANT)
  const { catalog } = gateway
  const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant, 'host1'), 'db1')
  const agent = await addAgent(catalog, tenant, 'host2')
  const point = await addPoint(catalog, tenant, machine, { root: null, size: 65_536 })
  return { temp, data, agent, point, job: await startJob(catalog, tenant, machine) }
}

type Act = (place: Place, found: Readonly<Record<string, string>>) => readonly string[]

/**
 * What people may ask of a gateway, by the command that asks it; those that need a tenant and a role in it, and those of
 * the platform.
 */
const ACTS: readonly (readonly [MethodName, Exclude<Role, 'agent'>, Act])[] = [
  ['agents.list', 'owner', () => ['agent', 'list']],
  ['machines.list', 'owner', () => ['machine', 'list']],
  ['machines.status', 'owner', () => ['machine', 'status', 'db1']],
  ['machines.setGroup', 'owner', () => ['machine', 'group', 'db1', 'web']],
  ['machines.exclude', 'owner', () => ['machine', 'exclude', 'db1', '--reason', 'rebuilt']],
  ['machines.include', 'owner', () => ['machine', 'include', 'db1']],
  ['machines.assign', 'owner', ({ agent }) => ['machine', 'assign', 'db1', '--agent', agent]],
  ['machines.checkpoints', 'owner', () => ['machine', 'checkpoints', 'db1']],
  ['machines.forget', 'owner', () => ['machine', 'forget', 'db1', '--disk', 'vda']],
  ['machines.qmp', 'owner', () => ['machine', 'qmp', 'db1', 'query-status']],
  ['machines.events', 'owner', () => ['machine', 'events', 'db1', '--for', '1s']],
  ['backup.start', 'owner', () => ['backup', 'db1', '--full', '--detach']],
  ['jobs.list', 'owner', () => ['job', 'list', '--machine', 'db1']],
  ['jobs.cancel', 'owner', ({ job }) => ['job', 'cancel', job]],
  ['jobs.watch', 'owner', () => ['job', 'watch', '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214']],
  ['points.list', 'owner', () => ['points']],
  ['points.get', 'owner', ({ point }) => ['point', 'show', point]],
  ['points.changes', 'owner', ({ point }) => ['diff', 'none', point]],
  ['points.lost', 'owner', ({ point }) => ['point', 'lost', point]],
  ['points.hold', 'owner', ({ point }) => ['hold', point]],
  ['points.lock', 'owner', ({ point }) => ['hold', point, '--until', '2999-01-01']],
  ['points.prune', 'owner', () => ['prune', '--keep-last', '1']],
  ['drills.list', 'owner', () => ['drills', 'list']],
  ['drills.get', 'owner', ({ job }) => ['drills', 'show', job]],
  ['plans.apply', 'owner', () => ['plan', 'set', 'gold', '--keep-last', '3']],
  ['plans.list', 'owner', () => ['plan', 'list']],
  ['plans.get', 'owner', () => ['plan', 'show', 'gold']],
  ['plans.next', 'owner', () => ['plan', 'next', '--machine', 'db1']],
  ['store.collect', 'owner', () => ['gc', '--threshold', '50']],
  ['store.verify', 'owner', ({ point }) => ['verify', '--point', point]],
  ['coverage.list', 'owner', () => ['coverage', '--fail-on', 'none']],
  ['coverage.summary', 'owner', () => ['coverage', '--machine', 'db1', '--fail-on', 'none']],
  ['events.list', 'owner', () => ['events', '--kind', 'job.done']],
  ['events.watch', 'owner', () => ['events', '--follow', '--after', '0', '--limit', '1']],
  ['store.usage', 'owner', () => ['usage', '--points']],
  ['store.check', 'owner', () => ['repair', '--check']],
  ['tokens.issue', 'owner', () => ['token', 'issue', '--role', 'viewer', '--subject', 'anna']],
  ['login.issue', 'owner', () => ['login', '--role', 'viewer', '--subject', 'anna']],
  ['tokens.list', 'owner', () => ['token', 'list']],
  ['tokens.revoke', 'owner', (_, { token }) => ['token', 'revoke', token!]],
  ['enrolments.issue', 'owner', () => ['enrol']],
  ['agents.setSite', 'owner', ({ agent }) => ['agent', 'site', agent, 'dc1']],
  ['notify.setTarget', 'owner', () => ['notify', 'target', 'add', 'hook', '--webhook', 'https://127.0.0.1:1/x']],
  ['notify.targets', 'owner', () => ['notify', 'target', 'list']],
  ['notify.test', 'owner', () => ['notify', 'test', 'hook']],
  ['notify.setRule', 'owner', () => ['notify', 'rule', 'set', 'r', '--target', 'hook', '--time-zone', 'UTC']],
  ['notify.rules', 'owner', () => ['notify', 'rule', 'list']],
  ['notify.removeRule', 'owner', () => ['notify', 'rule', 'remove', 'r']],
  ['notify.mute', 'owner', () => ['notify', 'mute', '--for', '1h', '--reason', 'work']],
  ['notify.mutes', 'owner', () => ['notify', 'mutes']],
  ['notify.unmute', 'owner', ({ job }) => ['notify', 'unmute', job]],
  ['notify.digest', 'owner', () => ['notify', 'digest', 'hook']],
  ['notify.outbox', 'owner', () => ['notify', 'outbox']],
  ['notify.retry', 'owner', ({ job }) => ['notify', 'retry', job]],
  ['notify.drop', 'owner', ({ job }) => ['notify', 'drop', job]],
  ['notify.removeTarget', 'owner', () => ['notify', 'target', 'remove', 'hook']],
  ['agents.revoke', 'owner', ({ agent }) => ['agent', 'revoke', agent]],
  ['runs.list', 'owner', () => ['runs', '--state', 'failed']],
  ['audit.list', 'owner', () => ['audit', 'list']],
  ['tenants.add', 'platform', () => ['tenant', 'add', 'beta']],
  ['tenants.list', 'platform', () => ['tenant', 'list']],
  ['tenants.setQuota', 'platform', () => ['tenant', 'quota', 'beta', '--hard', '1T']],
  ['keys.list', 'platform', () => ['keys', 'list']],
  ['keys.rotate', 'platform', () => ['keys', 'new']],
  ['notify.ping', 'platform', () => ['notify', 'ping']],
  ['notify.setPing', 'platform', () => ['notify', 'ping', '--off']],
  ['audit.check', 'platform', () => ['audit', 'check']],
  ['coverage.tenants', 'platform', () => ['coverage', '--tenants']],
  ['store.forecast', 'platform', () => ['forecast']],
  ['store.checkFolder', 'platform', () => ['repair', '--check']],
]

/** What only the console asks for, or an agent that reads points; the table of methods has them through both doors. */
const ELSEWHERE: readonly MethodName[] = [
  'machines.lease',
  'machines.renewLease',
  'machines.endLease',
  'machines.targets',
  'machines.removeTarget',
  'plans.timeline',
  'image.download',
  'image.read',
  'points.use',
  'restores.places',
  'restores.start',
  'restores.list',
  'restores.watch',
  'restores.cancel',
  'drills.add',
  'store.growth',
  'store.proof',
  'store.damage',
  'coverage.days',
]

/** Methods that were called by the commands of this process. */
const called = new Set<string>()

const { open } = Peer.prototype

const listen = (): Disposable => {
  Peer.prototype.open = function (this: Peer, ...args: Parameters<typeof open>) {
    called.add(args[0])
    return open.apply(this, args)
  } as typeof open
  return { [Symbol.dispose]: () => void (Peer.prototype.open = open) }
}

type Way = 'local socket' | 'no gateway runs' | 'token'

const WAYS: readonly Way[] = ['local socket', 'no gateway runs', 'token']

const tokenFile = async (gateway: TestGateway, temp: TempFolder, role: Exclude<Role, 'agent'>): Promise<string> => {
  const file = temp.join(`${role}-${gateway.port}`)
  await writeFile(file, await gateway.tokenFor(role), { mode: 0o600 })
  return file
}

interface Entry {
  readonly action: string
  readonly resource: string
  readonly outcome: string
  readonly details: Readonly<Record<string, unknown>>
}

/** What differs with the way, the run or the clock: whose, ids that were made, instants, the address. */
const settled = (entry: Entry, { agent, point, job }: Place, made: readonly string[]): object => {
  const names: Readonly<Record<string, string>> = {
    [agent]: '<agent>',
    [point]: '<point>',
    [job]: '<job>',
    ...Object.fromEntries(made.map((id) => [id, '<made>'])),
  }
  const plain = (text: string): string =>
    Object.entries(names).reduce((before, [id, name]) => before.replaceAll(id, name), text)
  const { address: _address, ...details } = entry.details
  return {
    action: entry.action,
    resource: plain(entry.resource),
    outcome: entry.outcome,
    details: plain(JSON.stringify(details)).replaceAll(/"(\w*Ms|key|enrolment|token)":(?:\d+|"[^"]*")/gu, '"$1":"<n>"'),
  }
}

/** Runs every act by one way; the entries that people left, in order. */
const actsBy = async (way: Way, place: Place): Promise<object[]> => {
  const { temp, data } = place
  await using stack = new AsyncDisposableStack()
  const gateway = way === 'no gateway runs' ? null : stack.use(await startGateway({ folder: data }))
  const found: Record<string, string> = {}
  const made: string[] = []
  for (const [method, role, act] of ACTS) {
    const at =
      way === 'token'
        ? ['--gateway', gateway!.url, '--token-file', await tokenFile(gateway!, temp, role)]
        : ['--data', data, ...(role === 'platform' ? [] : ['--tenant', TENANT])]
    const said: Said = await runHere('varve-gateway', [...act(place, found), ...at, '--json'])
    // what the state of the place does not allow is refused in the same way by each
    expect([way, method, said.stderr], said.stdout).not.toContain('INTERNAL')
    const document = JSON.parse(said.stdout) as { id?: string; token?: string; key?: string }
    if (method === 'tokens.issue') found['token'] = document.id!
    for (const id of [document.id, document.key]) if (id !== undefined) made.push(id)
  }
  using catalog = openLocal(`${data}/catalog.db`)
  const { id } = (await catalog.tenants.byName({ name: TENANT }))!
  const entries: Entry[] = []
  for (const tenant of [id, null])
    for (const { action, resource, outcome, details } of await catalog.audit.list({ tenant, afterSeq: 0, limit: 1000 }))
      entries.push({ action, resource, outcome, details })
  // the last act looks inside tenants only where it can
  const checks = entries.filter(({ action }) => action === 'store.check')
  expect(checks[0]).toMatchObject({ outcome: 'ok' })
  const other = new Set(['connect', 'store.check'])
  return entries.filter(({ action }) => !other.has(action)).map((entry) => settled(entry, place, made))
}

test('an act is audited the same way through the local socket, without a running gateway, and with a token over the network', async () => {
  await using temp = await tempFolder()
  using _listening = listen()
  const entries: Record<string, object[]> = {}
  for (const way of WAYS) entries[way] = await actsBy(way, await furnish(temp, way.replaceAll(' ', '-')))
  expect(entries['local socket']!.length).toBeGreaterThan(15)
  expect(entries['no gateway runs']).toEqual(entries['local socket'])
  expect(entries['token']).toEqual(entries['local socket'])

  const ofPeople = Object.entries(METHODS)
    .filter(([, { servedBy, roles }]) => servedBy === 'gateway' && roles.some((role) => role !== 'agent'))
    .map(([name]) => name)
  expect(ofPeople.filter((name) => !called.has(name))).toEqual(ELSEWHERE)
  expect(ACTS.map(([method]) => method).toSorted()).toEqual(
    ofPeople.filter((name) => !(ELSEWHERE as readonly string[]).includes(name)).toSorted(),
  )
})
