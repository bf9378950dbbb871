// What every engine of the catalog must do, by subject: which changes are one transaction, and that what was answered is read.
import { announced } from '../../support/announced.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { AuditRecord } from '../../../gateway/catalog/audit-record.ts'
import type { AuditEntry } from '../../../gateway/catalog/audit.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { HAVE, type RecordCommit } from '../../../gateway/catalog/records.ts'
import type { Announced, MachineRow, Move } from '../../../gateway/catalog/machines.ts'
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { CODEC } from '../../../protocol/chunk.ts'
import { codeOf } from '../auth/test-authority.ts'
import { conditions, events } from './events-suite.ts'
import { notices } from './notices-suite.ts'
import { watching } from './watching-suite.ts'
import { addAgent, addMachine, addPoint, beginJob, finishDisk, fullDisk, setPlan, startJob } from '../catalog.ts'
import { runs } from './run-suite.ts'

/** A fresh catalog without anything in it. */
export interface Engine extends AsyncDisposable {
  readonly catalog: Catalog
}

export interface World extends Engine {
  readonly acme: Tenant
  readonly other: Tenant
  readonly agent: string
  readonly machine: MachineRow
}

const addTenant = (catalog: Catalog, name: string): Promise<Tenant> =>
  catalog.tenants.add({ id: randomUUID(), name, idKey: new Uint8Array(32).fill(3), chunkBytes: 4096, nowMs: 1 })

const entryOf = (tenant: string | null, rest: Partial<AuditRecord> = {}): AuditRecord => ({
  timeMs: 1,
  tenant,
  subject: 'ann',
  role: 'owner',
  action: 'test',
  resource: '',
  outcome: 'ok',
  details: { b: 1, a: 'x' },
  ...rest,
})

/** An entry that no engine can write: it is of a tenant that is not there. */
const BROKEN = entryOf('00000000-0000-4000-8000-000000000000')

const logOf = (catalog: Catalog, tenant: string | null): Promise<AuditEntry[]> =>
  catalog.audit.list({ tenant, afterSeq: 0, limit: 100 })

const tenants = (open: () => Promise<World>) =>
  describe('tenants', () => {
    test('are found by name and id, listed by name, and added once', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      expect(await catalog.tenants.byName({ name: 'acme' })).toEqual(acme)
      expect(await catalog.tenants.byId({ id: acme.id })).toEqual(acme)
      expect(await catalog.tenants.byId({ id: randomUUID() })).toBeNull()
      expect(await catalog.tenants.list()).toEqual([acme, other])
      expect(await codeOf(addTenant(catalog, 'acme'))).toBe('EXISTS')
      const named = catalog.tenants.named({ name: 'acne' })
      await expect(named).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: expect.stringContaining('acme') as string,
      })
    })

    test('one that is not there is an error of every subject, and no empty list', async () => {
      await using world = await open()
      const nobody = { tenant: randomUUID() }
      const { catalog } = world
      expect(await codeOf(catalog.machines.list({ ...nobody, agent: null, after: null, limit: 1 }))).toBe('NOT_FOUND')
      expect(await codeOf(catalog.packs.tenantBytes(nobody))).toBe('NOT_FOUND')
    })

    test('a quota is changed in part, and the state of its tenant alone is to be written again', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      for (const { id: tenant } of [acme, other]) {
        await catalog.states.begin({ tenant, nowMs: 1 })
        await catalog.states.commit({ ...NOTHING, tenant, ids: new Uint8Array(randomBytes(32)) })
      }
      expect(await catalog.states.changed()).toEqual([])
      await catalog.quotas.set({ tenant: acme.id, hardBytes: 2 ** 50 })
      expect(await catalog.quotas.set({ tenant: acme.id, softBytes: 5 })).toMatchObject({
        softBytes: 5,
        hardBytes: 2 ** 50,
      })
      expect(await codeOf(catalog.quotas.set({ tenant: acme.id, hardBytes: 4 }))).toBe('PARAMS_INVALID')
      expect((await catalog.quotas.list()).map(({ hardBytes }) => hardBytes)).toEqual([2 ** 50, null])
      expect(await catalog.states.changed()).toEqual([acme.id])
    })
  })

const NOTHING = { machine: null, records: [], packs: [], upload: null, progress: null } as const

const audit = (open: () => Promise<World>) =>
  describe('the audit log', () => {
    test('a change and its entry are there together, or neither is', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const set = (value: string, entry?: AuditRecord) => catalog.settings.set({ name: 'x', value }, entry)
      await set('one', entryOf(acme.id))
      // the entry fails: the change is not there
      expect(await codeOf(set('two', BROKEN))).not.toBe('none')
      expect(await catalog.settings.get({ name: 'x' })).toBe('one')
      // the change fails: the entry is not there
      const twice = { id: randomUUID(), name: 'acme', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }
      expect(await codeOf(catalog.tenants.add(twice, entryOf(acme.id)))).toBe('EXISTS')
      expect(await logOf(catalog, acme.id)).toHaveLength(1)
      expect(await catalog.audit.check({ after: null })).toMatchObject({ brokenSeq: null, done: true, seq: 1 })
    })

    test('each tenant has its own, numbered for itself; the gateway’s are apart; a page goes on behind its last one', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const records = [acme.id, other.id, null, acme.id].map((tenant) => entryOf(tenant))
      await catalog.audit.appendAll({ records })
      expect((await logOf(catalog, acme.id)).map(({ seq, tenant }) => [seq, tenant])).toEqual([
        [1, acme.id],
        [4, acme.id],
      ])
      expect((await logOf(catalog, null)).map(({ seq, tenant }) => [seq, tenant])).toEqual([[3, null]])
      const page = async (after: number) =>
        (
          await catalog.audit.page({ tenant: acme.id, after, limit: 1, newest: false, contains: null, failed: false })
        ).entries.map(({ seq, details }) => [seq, details])
      expect([await page(0), await page(1), await page(2)]).toEqual([
        [[1, { a: 'x', b: 1 }]],
        [[2, { a: 'x', b: 1 }]],
        [],
      ])
    })

    test('entries are appended all or none', async () => {
      await using world = await open()
      const { catalog, acme } = world
      expect(await codeOf(catalog.audit.appendAll({ records: [entryOf(acme.id), BROKEN] }))).not.toBe('none')
      expect(await logOf(catalog, acme.id)).toEqual([])
    })
  })

const identities = (open: () => Promise<World>) =>
  describe('identities', () => {
    test('an enrolment is used and its agent there in one, once', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const enrolment = randomUUID()
      await catalog.enrolments.add({ id: enrolment, tenant: acme.id, nowMs: 1, expiresMs: 100 })
      const enrol = (agent: string, entry?: AuditRecord) =>
        catalog.agents.enrol({ enrolment, agent, host: 'h', publicKey: 'k', nowMs: 2 }, entry)
      const [first, second] = [randomUUID(), randomUUID()]
      // the entry fails: the enrolment is as it was, and no agent is there
      expect(await codeOf(enrol(first, BROKEN))).not.toBe('none')
      expect(await catalog.agents.byId({ id: first })).toBeNull()
      expect(await enrol(second)).toMatchObject({ id: second, tenant: acme.id, tenantName: 'acme', revokedMs: null })
      expect(await codeOf(enrol(first))).toBe('ENROLMENT_USED')
      expect(await catalog.identities.check({ agents: [first, second], tokens: [] })).toEqual({
        agents: [first],
        tokens: [],
      })
    })

    test('an agent that is revoked ends its backups with it', async () => {
      await using world = await open()
      const { catalog, acme, agent, machine } = world
      const job = await startJob(catalog, acme, machine)
      await catalog.agents.revoke({ tenant: acme.id, id: agent, nowMs: 9 })
      const found = await catalog.jobs.get({ tenant: acme.id, job })
      expect(found!.job).toMatchObject({ state: 'failed', endedMs: 9, error: { code: 'AGENT_REVOKED' } })
    })

    test('a token is a tenant’s, or of none; a wall stands between them', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const add = async (tenant: string | null): Promise<string> => {
        const id = randomUUID()
        await catalog.tokens.add({ id, tenant, subject: 's', role: 'viewer', nowMs: 1, expiresMs: 5 })
        return id
      }
      const [own, none] = [await add(acme.id), await add(null)]
      const listed = async (tenant: string | null) =>
        (await catalog.tokens.list({ tenant, after: null, limit: 9 })).map(({ id, tenant: of }) => [id, of])
      expect([await listed(acme.id), await listed(null), await listed(other.id)]).toEqual([
        [[own, acme.id]],
        [[none, null]],
        [],
      ])
      for (const tenant of [other.id, null])
        expect(await codeOf(catalog.tokens.revoke({ tenant, id: own, nowMs: 2 }))).toBe('NOT_FOUND')
      expect(await catalog.tokens.revoke({ tenant: null, id: none, nowMs: 2 })).toMatchObject({ revokedMs: 2 })
    })
  })

const machines = (open: () => Promise<World>) =>
  describe('machines', () => {
    test('a group is given and taken, told whether it is new, and none is called by the word for none', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const about = { tenant: acme.id, name: 'db1' }
      expect(await codeOf(catalog.machines.setGroup({ ...about, group: 'none' }))).toBe('PARAMS_INVALID')
      expect(await catalog.machines.get(about)).toMatchObject({ policy: { consistency: 'freeze' }, group: null })
      await setPlan(catalog, acme, 'webs', { consistency: 'none' }, { groups: ['web'] })
      const joined = await catalog.machines.setGroup({ ...about, group: 'web' })
      expect(joined).toEqual({ group: 'web', plan: 'webs', newGroup: false })
      expect(await catalog.machines.get(about)).toMatchObject({
        policy: { consistency: 'none' },
        group: 'web',
        plan: 'webs',
      })
      const other = await catalog.machines.setGroup({ ...about, group: 'databases' })
      expect(other).toEqual({ group: 'databases', plan: null, newGroup: true })
      expect(await codeOf(catalog.machines.setGroup({ ...about, name: 'db9', group: null }))).toBe('NOT_FOUND')
    })

    test('a name is one tenant’s, and of one agent until a person gives it to another', async () => {
      await using world = await open()
      const { catalog, acme, other, agent } = world
      expect(await codeOf(catalog.machines.get({ tenant: other.id, name: 'db1' }))).toBe('NOT_FOUND')
      const second = await addAgent(catalog, acme, 'second')
      const declared = {
        tenant: acme.id,
        agent: second,
        machines: [announced('db1'), announced('db2')],
        nowMs: 1,
      }
      expect(await catalog.machines.declare(declared)).toMatchObject({
        held: [{ name: 'db1', agent, host: 'host' }],
        tooMany: [],
      })
      const rows = await catalog.machines.list({ tenant: acme.id, agent: null, after: null, limit: 9 })
      expect(rows.map(({ name, agent: of }) => [name, of])).toEqual([
        ['db1', agent],
        ['db2', second],
      ])
      expect(await catalog.machines.assign({ tenant: acme.id, name: 'db1', agent: second })).toBe(true)
      expect(await catalog.machines.list({ tenant: acme.id, agent, after: null, limit: 9 })).toEqual([])
    })

    test('a site is an owner’s grant: who is in it, and out of it once revoked, and the state of the tenant has it', async () => {
      await using world = await open()
      const { catalog, acme, other, agent } = world
      const [second, third] = [await addAgent(catalog, acme, 'second'), await addAgent(catalog, acme, 'third')]
      const theirs = await addAgent(catalog, other, 'theirs')
      const put = (id: string, site: string | null, tenant = acme) =>
        catalog.agents.setSite({ tenant: tenant.id, id, site })
      const mates = async (id: string) =>
        (await catalog.agents.mates({ tenant: acme.id, id })).map(({ host }) => host).toSorted()
      expect(await mates(agent)).toEqual([])
      // nobody is in no site together
      await put(theirs, 'dc1', other)
      expect(await put(agent, 'dc1')).toEqual({ host: 'host', changed: true })
      expect([await mates(agent), await mates(second)]).toEqual([[], []])
      await put(second, 'dc1')
      await put(third, 'dc1')
      expect([await mates(agent), await mates(second)]).toEqual([
        ['second', 'third'],
        ['host', 'third'],
      ])
      expect(await put(second, 'dc1')).toMatchObject({ changed: false })
      await put(third, 'dc2')
      expect(await mates(agent)).toEqual(['second'])
      const state = await catalog.states.begin({ tenant: acme.id, nowMs: 1 })
      expect(state!.agents.map(({ host, site }) => [host, site]).toSorted()).toEqual([
        ['host', 'dc1'],
        ['second', 'dc1'],
        ['third', 'dc2'],
      ])
      await catalog.agents.revoke({ tenant: acme.id, id: second, nowMs: 9 })
      expect(await mates(agent)).toEqual([])
      expect(await catalog.agents.byId({ id: second })).toMatchObject({ site: null })
      expect(await codeOf(put(second, 'dc1'))).toBe('AGENT_REVOKED')
      expect(await put(second, null)).toMatchObject({ changed: false })
      expect(await codeOf(put(theirs, 'dc1'))).toBe('NOT_FOUND')
      expect(await codeOf(put(randomUUID(), 'dc1'))).toBe('NOT_FOUND')
    })

    test('the uuid is what a machine ran under last at its own agent', async () => {
      await using world = await open()
      const { catalog, acme, agent } = world
      const [one, two] = [randomUUID(), randomUUID()]
      const declare = async (rest: Partial<Announced>, of = agent) => {
        const asked = {
          tenant: acme.id,
          agent: of,
          machines: [announced('db1', rest)],
          nowMs: 1,
        }
        const { changed } = await catalog.machines.declare(asked)
        return [changed, (await catalog.machines.get({ tenant: acme.id, name: 'db1' })).uuid]
      }
      expect(await declare({ uuid: one, here: false })).toEqual([[], null])
      expect(await declare({ uuid: one })).toEqual([[], one])
      expect(await declare({ uuid: null, here: false })).toEqual([[], one])
      expect(await declare({ uuid: two }, await addAgent(catalog, acme, 'second'))).toEqual([[], one])
      expect(await declare({ uuid: two })).toEqual([[{ machine: 'db1', from: one, to: two }], two])
    })

    test('a machine is handed over within a site, or not at all: looked at in the transaction, with its entry', async () => {
      await using world = await open()
      const { catalog, acme, other, agent } = world
      const uuid = randomUUID()
      const declared = {
        tenant: acme.id,
        agent,
        machines: [announced('db1', { uuid })],
        nowMs: 1,
      }
      await catalog.machines.declare(declared)
      const [second, outside] = [await addAgent(catalog, acme, 'second'), await addAgent(catalog, acme, 'outside')]
      const theirs = await addAgent(catalog, other, 'theirs')
      for (const id of [agent, second]) await catalog.agents.setSite({ tenant: acme.id, id, site: 'dc1' })
      await catalog.agents.setSite({ tenant: other.id, id: theirs, site: 'dc1' })
      const holder = async () => (await catalog.machines.get({ tenant: acme.id, name: 'db1' })).agent
      const move = (changes: Partial<Move> = {}, entry?: AuditRecord) =>
        catalog.machines.move(
          { tenant: acme.id, name: 'db1', from: agent, to: second, known: uuid, uuid, ...changes },
          entry,
        )
      for (const changes of [
        { to: outside },
        { to: theirs },
        { to: randomUUID() },
        { from: outside },
        { known: randomUUID() },
        { known: null },
      ])
        expect([changes, await codeOf(move(changes, entryOf(acme.id)))]).toEqual([changes, 'EXISTS'])
      expect(await codeOf(move({ tenant: other.id }))).toBe('NOT_FOUND')
      expect(await codeOf(move({}, BROKEN))).not.toBe('none')
      expect([await holder(), await logOf(catalog, acme.id)]).toEqual([agent, []])
      await move({}, entryOf(acme.id))
      expect([await holder(), await logOf(catalog, acme.id)]).toEqual([second, [expect.anything()]])
      await catalog.agents.revoke({ tenant: acme.id, id: agent, nowMs: 9 })
      expect(await codeOf(move({ from: second, to: agent }))).toBe('EXISTS')
    })

    test('rules of the plan that covers a machine hold, as they were given', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const of = { tenant: acme.id, machine: 'db1' }
      expect(await catalog.plans.of(of)).toBeNull()
      await setPlan(catalog, acme, 'all', { keep: { last: 3 } })
      await setPlan(catalog, acme, 'own', { keep: { last: 3 }, lockDays: 1 }, { machines: ['db1'] })
      expect(await catalog.plans.of(of)).toMatchObject({ name: 'own', keep: { last: 3, daily: 0 }, lockDays: 1 })
      await catalog.plans.apply({ tenant: acme.id, plans: [], remove: ['own'] })
      expect(await catalog.plans.of(of)).toMatchObject({ name: 'all', lockDays: 0 })
      expect(await catalog.plans.list({ tenant: other.id })).toEqual([])
      const change = { tenant: acme.id, plans: [{ name: 'late' }], remove: ['all'] }
      expect(await codeOf(catalog.plans.apply(change, BROKEN))).not.toBe('none')
      expect((await catalog.plans.list({ tenant: acme.id })).map(({ name }) => name)).toEqual(['all'])
    })

    test('an exclusion and its entry are one, and it is replaced and ended', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const about = { tenant: acme.id, machine: 'db1' }
      const exclusion = { by: 'ann', reason: 'rebuilt', sinceMs: 5, untilMs: null }
      const shown = async () => (await catalog.machines.get({ tenant: acme.id, name: 'db1' })).exclusion
      expect(await codeOf(catalog.plans.exclude({ ...about, exclusion }, BROKEN))).not.toBe('none')
      expect(await shown()).toBeNull()
      await catalog.plans.exclude({ ...about, exclusion })
      await catalog.plans.exclude({ ...about, exclusion: { ...exclusion, untilMs: 9 } })
      expect(await shown()).toEqual({ ...exclusion, untilMs: 9 })
      expect([await catalog.plans.include(about), await catalog.plans.include(about)]).toEqual([true, false])
      expect(await shown()).toBeNull()
    })
  })

const jobs = (open: () => Promise<World>) =>
  describe('jobs and points', () => {
    const commitOf = (job: string, agent: string) => ({
      job,
      agent,
      bytesRead: 1,
      took: { frozenMs: 0, scratch: null, steps: [{ step: 'check' as const, tookMs: 2 }] },
      nowMs: 50,
      lockedUntilMs: null,
      manifest: new Uint8Array(randomBytes(32)),
    })

    test('a commit is the point, its images and the end of the job, or none of them; again it changes nothing', async () => {
      await using world = await open()
      const { catalog, acme, agent, machine } = world
      const id = await startJob(catalog, acme, machine, { full: true })
      expect(await codeOf(startJob(catalog, acme, machine))).toBe('JOB_RUNNING')
      // whoever has the machine by now
      const second = await addAgent(catalog, acme, 'second')
      expect(await codeOf(startJob(catalog, acme, { ...machine, agent: second }))).toBe('JOB_RUNNING')
      await beginJob(catalog, { id, agent }, [fullDisk('vda', 4096, 'requested')])
      const commit = commitOf(id, agent)
      expect(await codeOf(catalog.jobs.commit(commit))).toBe('IMAGE_INCOMPLETE')
      await finishDisk(catalog, { id, tenant: acme }, 'vda')
      expect(await codeOf(catalog.jobs.commit(commit, BROKEN))).not.toBe('none')
      expect((await catalog.jobs.get({ tenant: acme.id, job: id }))!.job).toMatchObject({
        state: 'running',
        endedMs: null,
      })
      expect(await catalog.points.roots({ tenant: acme.id, point: id })).toBeNull()
      for (let round = 0; round < 2; round++) await catalog.jobs.commit(commit)
      expect((await catalog.jobs.get({ tenant: acme.id, job: id }))!.job).toMatchObject({
        state: 'committed',
        full: true,
      })
      const found = await catalog.points.find({ tenant: acme.id, agent: null, prefix: id.slice(0, 8) })
      expect(found).toMatchObject({ id, machine: 'db1', held: false, disks: [{ name: 'vda', size: 4096 }] })
      expect(found.took).toEqual(commit.took)
      const { points } = await catalog.points.list({
        tenant: acme.id,
        agent: null,
        machine: null,
        before: null,
        limit: 2,
      })
      expect(points.map(({ took }) => took)).toEqual([commit.took])
      expect(await catalog.points.roots({ tenant: acme.id, point: id })).toMatchObject({ manifest: commit.manifest })
    })

    test('a removal takes all that it names with an entry for each, or, where one may not go, none', async () => {
      await using world = await open()
      const { catalog, acme, machine } = world
      const [held, gone] = [await addPoint(catalog, acme, machine), await addPoint(catalog, acme, machine)]
      await catalog.points.hold({ tenant: acme.id, id: held, held: true })
      const by = { subject: 'ann', role: 'owner' }
      const removal = { tenant: acme.id, points: [gone, held], named: true, nowMs: 77, by }
      expect(await codeOf(catalog.points.remove(removal))).toBe('POINT_HELD')
      expect(await catalog.retention.points({ tenant: acme.id, machine: 'db1' })).toHaveLength(2)
      expect(await logOf(catalog, acme.id)).toEqual([])
      expect(await catalog.points.remove({ ...removal, points: [gone] })).toEqual({ removed: 1, left: [] })
      expect(await logOf(catalog, acme.id)).toMatchObject([{ action: 'points.remove', resource: `point=${gone}` }])
      const left = await catalog.retention.points({ tenant: acme.id, machine: 'db1' })
      expect(left).toMatchObject([{ id: held, held: true, damaged: false, inUse: false }])
    })

    test('what the plan refuses ends the job in the same step', async () => {
      await using world = await open()
      const { catalog, acme, agent, machine } = world
      await setPlan(catalog, acme, 'strict', { refuseFull: ['first'] })
      const id = await startJob(catalog, acme, machine)
      expect(await codeOf(beginJob(catalog, { id, agent }, [fullDisk('vda', 4096)]))).not.toBe('none')
      const { job, uploads } = (await catalog.jobs.get({ tenant: acme.id, job: id }))!
      expect([job.state, uploads]).toEqual(['failed', []])
    })
  })

const chunks = (open: () => Promise<World>) =>
  describe('chunks and packs', () => {
    /** A pack with three records of a machine, not yet committed. */
    const prepared = async ({ catalog, acme }: World) => {
      const pack = await catalog.packs.add({ tenant: acme.id, kind: 'data', uuid: randomUUID(), nowMs: 1 })
      const ids = new Uint8Array(randomBytes(96))
      const record = { pack, storedLength: 10, plainLength: 20, codec: CODEC.zstd, parts: 1, place: 0 }
      const records = [RECORD.chunk, RECORD.chunk, RECORD.node].map((type, at) => ({
        ...record,
        type,
        offset: at * 62,
      }))
      const packs = [{ id: pack, bytes: 186, sealed: false }]
      return { pack, ids, commit: { ...NOTHING, tenant: acme.id, machine: 'db1', ids, records, packs } as RecordCommit }
    }
    const ABSENT = [HAVE.absent, HAVE.absent, HAVE.absent]

    test('index rows, the lengths of packs and an upload’s progress are one', async () => {
      await using world = await open()
      const { catalog, acme, agent, machine } = world
      const { ids, commit } = await prepared(world)
      const have = async () => [...(await catalog.records.have({ tenant: acme.id, machine: 'db1', ids }))]
      const progress = {
        position: 1,
        state: new Uint8Array([9]),
        bytesSent: 4,
        changedBytes: 5,
        finished: false,
        root: null,
      }
      const upload = { job: randomUUID(), disk: 'vda' }
      expect(await codeOf(catalog.records.commit({ ...commit, upload, progress }))).toBe('JOB_ENDED')
      expect([await have(), await catalog.packs.tenantBytes({ tenant: acme.id })]).toEqual([ABSENT, 0])
      const job = await startJob(catalog, acme, machine)
      await beginJob(catalog, { id: job, agent }, [fullDisk('vda', 4096)])
      const stored = await catalog.records.commit({ ...commit, upload: { job, disk: 'vda' }, progress })
      expect(stored).toBeGreaterThan(30)
      // what was answered is read
      expect(await have()).toEqual([HAVE.own, HAVE.own, HAVE.absent])
      expect(await catalog.jobs.upload({ job, agent, disk: 'vda' })).toMatchObject({
        position: 1,
        bytesStored: stored,
        machine: 'db1',
      })
      expect(await catalog.packs.tenantBytes({ tenant: acme.id })).toBe(186)
    })

    test('tenants share nothing, another machine’s are another’s, and the first of two places stays', async () => {
      await using world = await open()
      const { catalog, acme, other, agent } = world
      const [one, two] = [await prepared(world), await prepared(world)]
      await catalog.records.commit(one.commit)
      expect(await catalog.records.commit({ ...two.commit, ids: one.ids })).toBe(0)
      const { ids } = one
      await addMachine(catalog, acme, agent, 'db2')
      expect([...(await catalog.records.have({ tenant: acme.id, machine: 'db2', ids }))]).toEqual([1, 1, 0])
      expect([...(await catalog.records.have({ tenant: other.id, machine: 'db1', ids }))]).toEqual(ABSENT)
      expect([...(await catalog.records.indexed({ tenant: acme.id, ids }))]).toEqual([1, 1, 1])
      expect((await catalog.records.locate({ tenant: acme.id, ids })).map((place) => place?.offset)).toEqual([
        0, 62, 124,
      ])
    })

    test('damage takes a record out of the index, and whoever stores it again heals it', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const { pack, ids, commit } = await prepared(world)
      await catalog.records.commit(commit)
      const [place] = await catalog.records.locate({ tenant: acme.id, ids: ids.subarray(0, 32) })
      const damage = { id: ids.slice(0, 32), type: RECORD.chunk, place: place!, reason: 'it rots' }
      const enter = () => catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: [damage] })
      expect([[...(await enter())], [...(await enter())]]).toEqual([[1], [0]])
      expect([...(await catalog.records.indexed({ tenant: acme.id, ids }))]).toEqual([0, 1, 1])
      expect(await catalog.damage.tenants()).toEqual([acme.id])
      // a pack with known damage is not removed
      await catalog.packs.seal({ packs: [{ id: pack, bytes: 186 }] })
      expect(await catalog.packs.doom({ ids: [pack] })).toEqual([])
      await catalog.records.commit({ ...commit, packs: [] })
      expect(await catalog.damage.any({ tenant: acme.id })).toBe(false)
      expect(await catalog.packs.doom({ ids: [pack] })).toEqual([pack])
      // nothing is added to one that is to be removed
      expect(await codeOf(catalog.records.commit(commit))).toBe('STORE_FAILED')
    })

    test('a pack in which nothing was recorded is forgotten, another is not', async () => {
      await using world = await open()
      const { catalog } = world
      const [empty, full] = [await prepared(world), await prepared(world)]
      await catalog.records.commit(full.commit)
      expect(await catalog.packs.forget({ id: full.pack })).toBe(false)
      expect(await catalog.packs.forget({ id: empty.pack })).toBe(true)
      expect((await catalog.packs.list()).map(({ id, bytes }) => [id, bytes])).toEqual([[full.pack, 186]])
    })
  })

/** Runs the suite; `openEngine` gives a fresh engine for each test. */
export const catalogSuite = (name: string, openEngine: () => Promise<Engine>): void => {
  const open = async (): Promise<World> => {
    await using stack = new AsyncDisposableStack()
    const { catalog } = stack.use(await openEngine())
    const [acme, other] = [await addTenant(catalog, 'acme'), await addTenant(catalog, 'other')]
    const agent = await addAgent(catalog, acme)
    const machine = await addMachine(catalog, acme, agent, 'db1')
    const held = stack.move()
    return { catalog, acme, other, agent, machine, [Symbol.asyncDispose]: () => held.disposeAsync() }
  }
  describe(name, () => {
    const subjects = [tenants, audit, identities, machines, jobs, runs, chunks, events, conditions, watching, notices]
    for (const subject of subjects) subject(open)
  })
}
