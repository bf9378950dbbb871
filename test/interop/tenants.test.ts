// Tenants with identical disks share nothing, and no call of one shows anything of the other.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { RECORD } from '../../gateway/packs/format.ts'
import { hex } from '../../protocol/chunk.ts'
import { splitIds } from '../../protocol/host/bytes.ts'
import type { Role } from '../../protocol/claims.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { BackupAnswer, Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

const CONTENT = new Dice(40).bytes(4 * MIB)

/** Two tenants with a host each, whose machines have other names and the same disk. */
let stand: Stand
const hosts = new Map<string, Host>()
const answers = new Map<string, BackupAnswer>()

const host = (tenant: string): Host => hosts.get(tenant)!
const answer = (tenant: string): BackupAnswer => answers.get(tenant)!

beforeAll(async () => {
  stand = await Stand.start()
  for (const [tenant, machine] of [
    ['one', 'db-one'],
    ['two', 'db-two'],
  ] as const) {
    const added = await stand.addHost({ tenant })
    hosts.set(tenant, added)
    await added.addMachine(machine, [{ id: 'vda', format: 'qcow2', size: 4 * MIB, content: CONTENT }])
    await added.start()
    answers.set(tenant, await added.backup(machine))
  }
})

afterAll(() => stand[Symbol.asyncDispose]())

test('nothing deduplicates across tenants: the second sends and stores as much as the first', () => {
  const one = answer('one')
  const two = answer('two')
  // the command lines differ by some letters
  expect(Math.abs(two.bytesStored - one.bytesStored)).toBeLessThan(64)
  expect(two.bytesStored).toBeGreaterThan(4 * MIB)
  expect(Math.abs(two.bytesSent - one.bytesSent)).toBeLessThan(64)
})

test('the same bytes have other ids in other tenants, in chunks and in trees', async () => {
  using catalog = openLocal(stand.catalogFile)
  const of = async (name: string) => {
    const { id: tenant } = await catalog.tenants.named({ name })
    const { ids, types } = await catalog.collection.page({ tenant, after: null, end: null })
    const { images } = await catalog.collection.roots({ tenant })
    // what a tenant keeps about itself comes when it comes
    const shared = splitIds(ids).filter((_, index) => types[index] === RECORD.chunk || types[index] === RECORD.node)
    return { ids: new Set(shared.map(hex)), roots: images.map(({ root }) => hex(root!)) }
  }
  const [one, two] = [await of('one'), await of('two')]
  expect(one.ids.size).toBe(two.ids.size)
  expect(one.ids.size).toBeGreaterThanOrEqual(64)
  expect(one.ids.intersection(two.ids).size).toBe(0)
  // of the disk and of what goes with it
  expect(new Set([...one.roots, ...two.roots]).size).toBe(4)
})

test('each tenant restores its own', async () => {
  for (const [tenant, { point, machine }] of answers)
    expectDisks(await stand.restore(point, tenant), host(tenant).machine(machine).snapshot())
})

interface Refusal {
  readonly code: string
  readonly message: string
  readonly details: unknown
}

const refusalOf = async (work: Promise<unknown>): Promise<Refusal> => {
  try {
    return { code: 'none', message: `answered with ${JSON.stringify(await work)}`, details: null }
  } catch (thrown) {
    const { code, message, details } = asVarveError(thrown)
    return { code, message, details }
  }
}

/** Every call that names something, by what it names. */
const named: Readonly<
  Record<string, (peer: Peer, name: { point: string; job: string; machine: string }) => Promise<unknown>>
> = {
  'points.get': (peer, { point }) => peer.call('points.get', { point }),
  'points.get by prefix': (peer, { point }) => peer.call('points.get', { point: point.slice(0, 8) }),
  'image.download': (peer, { point }) =>
    peer.open('image.download', { point, disk: 'vda', position: 0, skipDamaged: false }).result,
  'jobs.watch': (peer, { job }) => peer.open('jobs.watch', { job }).result,
  'jobs.cancel': (peer, { job }) => peer.call('jobs.cancel', { job }),
  'points.list': (peer, { machine }) => peer.call('points.list', { machine, limit: 100 }),
  'machines.status': (peer, { machine }) => peer.call('machines.status', { machine }),
  'machines.checkpoints': (peer, { machine }) => peer.call('machines.checkpoints', { machine }),
  'machines.forget': (peer, { machine }) => peer.call('machines.forget', { machine, disk: null }),
  'machines.lease': (peer, { machine }) =>
    peer.call('machines.lease', { machine, target: 't1', ttlMs: 60_000, full: false }),
  'machines.renewLease': (peer, { machine, job: lease }) =>
    peer.call('machines.renewLease', { machine, lease, ttlMs: 60_000 }),
  'machines.endLease': (peer, { machine, job: lease }) =>
    peer.call('machines.endLease', { machine, lease, success: true }),
  'machines.targets': (peer, { machine }) => peer.call('machines.targets', { machine }),
  'machines.removeTarget': (peer, { machine }) => peer.call('machines.removeTarget', { machine, target: 't1' }),
  'machines.setGroup': (peer, { machine }) => peer.call('machines.setGroup', { machine, group: 'web' }),
  'machines.exclude': (peer, { machine }) => peer.call('machines.exclude', { machine, reason: 'mine', untilMs: null }),
  'machines.include': (peer, { machine }) => peer.call('machines.include', { machine }),
  'plans.next': (peer, { machine }) => peer.call('plans.next', { plan: null, machine }),
  'machines.qmp': (peer, { machine }) =>
    peer.call('machines.qmp', { machine, command: 'query-status', arguments: '{}' }),
  'machines.events': (peer, { machine }) => peer.open('machines.events', { machine }).result,
  'backup.start': (peer, { machine }) => peer.call('backup.start', { machine, full: false }),
}

/** An error with what was named in it taken out. */
const wordsOf = ({ code, message, details }: Refusal, names: Record<string, string>): string => {
  let text = JSON.stringify({ code, message, details })
  for (const name of Object.values(names)) text = text.replaceAll(name, '…').replaceAll(name.slice(0, 8), '…')
  return text
}

test.each(Object.entries(named))(
  '%s answers the same for what another tenant has as for what nobody has',
  async (_, call) => {
    const { point, machine } = answer('two')
    const foreign = { point, job: point, machine }
    const nobodys = { point: randomUUID(), job: randomUUID(), machine: 'db-xyz' }
    const peer = await stand.peer('owner', 'one')
    const asForeign = await refusalOf(call(peer, foreign))
    expect(asForeign.code).toBe('NOT_FOUND')
    expect(wordsOf(asForeign, foreign)).toBe(wordsOf(await refusalOf(call(peer, nobodys)), nobodys))
  },
)

test.each(['owner', 'operator', 'viewer', 'auditor'] as const)(
  'lists of a tenant’s %s name nothing of the other',
  async (role: Exclude<Role, 'agent'>) => {
    const peer = await stand.peer(role, 'one')
    const { machines } = await peer.call('machines.list', {})
    const { points } = await peer.call('points.list', { machine: null, limit: 100 })
    const { jobs } = await peer.call('jobs.list', { machine: null, limit: 100 })
    expect(machines.map(({ name }) => name)).toEqual(['db-one'])
    expect(points.map(({ id }) => id)).toEqual([answer('one').point])
    expect(jobs.map(({ id }) => id)).toEqual([answer('one').point])
  },
)

test('agents and the audit log show nothing of another tenant, and its agent cannot be revoked', async () => {
  const peer = await stand.peer('owner', 'one')
  const { agents } = await peer.call('agents.list', {})
  expect(agents.map(({ id }) => id)).toEqual([host('one').agentId])
  const foreign = await refusalOf(peer.call('agents.revoke', { agent: host('two').agentId }))
  const nobodys = randomUUID()
  expect(foreign.code).toBe('NOT_FOUND')
  expect(wordsOf(foreign, { agent: host('two').agentId })).toBe(
    wordsOf(await refusalOf(peer.call('agents.revoke', { agent: nobodys })), { agent: nobodys }),
  )
  const { entries } = await peer.call('audit.list', { limit: 250 })
  // what this tenant itself asked about in vain stands there too
  const told = JSON.stringify(entries.filter(({ outcome }) => outcome === 'ok'))
  expect(told).toContain(answer('one').point)
  expect(told).not.toContain(host('two').agentId)
})

test('an agent sees only the machines it serves, also within its tenant', async () => {
  await using other = await stand.addHost({ tenant: 'one' })
  await other.addMachine('web', [{ id: 'vda', format: 'raw', size: MIB }])
  await other.start()
  expect(await other.points()).toEqual([])
  const restored = await other.run('restore', answer('one').point, '--disk', 'vda', '--to', stand.folder.join('stolen'))
  expect(restored.code).toBe(1)
  expect(restored.stderr).toContain('NOT_FOUND')
  const started = await other.run('backup', 'db-one')
  expect(started.stderr).toContain('NOT_FOUND')
})
