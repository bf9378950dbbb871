// What every engine of the catalog must do with events and conditions: order, numbers of each tenant, bounds, and that a
// change of a condition and its event are one.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import {
  EVENTS_KEPT_MS,
  EVENTS_MAX,
  EVENTS_PAGE_MAX,
  type ConditionClear,
  type ConditionSet,
  type NewEvent,
} from '../../../gateway/catalog/events.ts'
import { EVENT_CHARS_MAX } from '../../../protocol/events.ts'
import { addPoint, startJob } from '../catalog.ts'
import type { World } from './catalog-suite.ts'

const said = (tenant: string | null, text: string, rest: Partial<NewEvent> = {}): NewEvent => ({
  timeMs: 5,
  kind: 'plan.changed',
  severity: 'info',
  tenant,
  machine: null,
  text,
  data: {},
  ...rest,
})

const listed = async (catalog: Catalog, tenant: string | null) =>
  (await catalog.events.list({ tenant, kinds: ['plan.changed'], machine: null, before: null, limit: 100 })).map(
    ({ text }) => text,
  )

/** What the catalog itself tells of enrolments and jobs is told besides. */
const ALL = { kinds: null, machine: null, limit: 100 } as const

export const events = (open: () => Promise<World>) =>
  describe('events', () => {
    test('are in one order for the gateway, and numbered for each tenant alone', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const from = await catalog.events.last()
      const before = await catalog.events.bounds({ tenant: acme.id })
      const tenants = [acme.id, other.id, null, acme.id]
      await catalog.events.append({ events: tenants.map((tenant, index) => said(tenant, `event ${index}`)) })
      const all = await catalog.events.after({ seq: from, limit: 10 })
      expect(all.map(({ text, tenant, tenantName }) => [text, tenant, tenantName])).toEqual([
        ['event 0', acme.id, 'acme'],
        ['event 1', other.id, 'other'],
        ['event 2', null, null],
        ['event 3', acme.id, 'acme'],
      ])
      expect(all.map(({ seq }) => seq - from)).toEqual([1, 2, 3, 4])
      const own = await catalog.events.follow({ ...ALL, tenant: acme.id, after: before.last })
      expect(own.events.map(({ number }) => number - before.last)).toEqual([1, 2])
      expect(own).toMatchObject({ last: before.last + 2, upTo: before.last + 2 })
      expect((await catalog.events.follow({ ...ALL, tenant: other.id, after: 0 })).events[0]).toMatchObject({
        number: 1,
        text: 'event 1',
      })
      expect(await catalog.events.bounds({ tenant: null })).toEqual({ first: 1, last: 1 })
    })

    test('one of a tenant that is not there is left out and stops nothing', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const unknown = randomUUID()
      await catalog.events.append({ events: [said(unknown, 'lost'), said(acme.id, 'kept')] })
      expect(await listed(catalog, acme.id)).toEqual(['kept'])
    })

    test('carry the group of their machine, are cut to what travels, and are narrowed by kind and machine', async () => {
      await using world = await open()
      const { catalog, acme, machine } = world
      const { name } = machine
      await catalog.machines.setGroup({ tenant: acme.id, name, group: 'databases' })
      const long = 'x'.repeat(EVENT_CHARS_MAX + 9)
      const data = {
        ...Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`field${index}`, 1])),
        field0: long,
      }
      const tooLong = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`field${index}`, long]))
      await catalog.events.append({
        events: [
          said(acme.id, long, { machine: name, data }),
          said(acme.id, 'of none'),
          said(acme.id, 'of one', { machine: name }),
        ],
      })
      const asked = { tenant: acme.id, kinds: ['plan.changed'], machine: name, limit: 1 } as const
      const [newest] = await catalog.events.list({ ...asked, before: null })
      expect(newest).toMatchObject({ text: 'of one', group: 'databases', active: null, key: null })
      const [cut, ...none] = await catalog.events.list({ ...asked, before: newest!.number })
      expect([cut!.text.length, Object.keys(cut!.data).length, String(cut!.data['field0']).length]).toEqual([
        EVENT_CHARS_MAX,
        24,
        EVENT_CHARS_MAX,
      ])
      expect(none).toEqual([])
      await catalog.events.append({ events: [said(acme.id, 'x', { machine: name, data: tooLong })] })
      expect((await catalog.events.list({ ...asked, before: null }))[0]!.data).toEqual({ cut: true })
      const followed = await catalog.events.follow({ ...asked, after: 0 })
      // others follow: it was looked at no further than what is given
      expect(followed.upTo).toBe(followed.events[0]!.number)
      expect((await catalog.events.follow({ ...asked, limit: 9, after: 0 })).upTo).toBe(followed.last)
    })

    test('the oldest go past a number and an age, of their own tenant only, and numbers go on behind them', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      await catalog.events.append({ events: [said(other.id, 'of the other')] })
      const flood = Array.from({ length: EVENTS_PAGE_MAX }, () => said(acme.id, 'flood', { timeMs: 10 }))
      for (let count = 0; count <= EVENTS_MAX; count += EVENTS_PAGE_MAX) await catalog.events.append({ events: flood })
      const { first, last } = await catalog.events.bounds({ tenant: acme.id })
      expect(last - first + 1).toBe(EVENTS_MAX)
      expect(await listed(catalog, other.id)).toEqual(['of the other'])
      const lastOfAll = await catalog.events.last()
      // years later
      const late = said(acme.id, 'late', { timeMs: 11 + EVENTS_KEPT_MS })
      for (let count = 0; count * 16 <= EVENTS_MAX; count += EVENTS_PAGE_MAX)
        await catalog.events.append({ events: Array.from({ length: EVENTS_PAGE_MAX }, () => late) })
      const bounds = await catalog.events.bounds({ tenant: acme.id })
      const old = await catalog.events.follow({ ...ALL, tenant: acme.id, after: 0 })
      expect(old.events[0]).toMatchObject({ text: 'late', number: bounds.first })
      expect(bounds.last).toBeGreaterThan(last)
      expect(await catalog.events.last()).toBeGreaterThan(lastOfAll)
    })

    test('jobs are told in the transaction of their change, with what was read in full and why', async () => {
      await using world = await open()
      const { catalog, acme, machine } = world
      const from = await catalog.events.last()
      const failed = await startJob(catalog, acme, machine)
      const failure = { code: 'SCRATCH_LOW', message: 'no room' }
      const fail = () => catalog.jobs.fail({ job: failed, agent: machine.agent, ...failure, nowMs: 30 })
      await fail()
      await fail()
      await addPoint(catalog, acme, machine)
      // a change that fails is not told
      const job = await startJob(catalog, acme, machine)
      const commit = { job, agent: machine.agent, bytesRead: 1, nowMs: 50, lockedUntilMs: null }
      await expect(catalog.jobs.commit({ ...commit, manifest: new Uint8Array(32) })).rejects.toThrow('not uploaded')
      const told = await catalog.events.after({ seq: from, limit: 100 })
      expect(told.map(({ kind, severity, machine: of }) => [kind, severity, of])).toEqual([
        ['job.started', 'info', 'db1'],
        ['job.failed', 'error', 'db1'],
        ['job.started', 'info', 'db1'],
        ['job.done', 'info', 'db1'],
        ['point.added', 'info', 'db1'],
        ['full-read', 'info', 'db1'],
        ['job.started', 'info', 'db1'],
      ])
      expect(told[1]).toMatchObject({
        text: 'the backup of db1 failed: no room (SCRATCH_LOW)',
        data: { job: failed, code: 'SCRATCH_LOW' },
      })
      expect(told[5]).toMatchObject({ data: { reason: 'requested', disks: 'vda', expected: true } })
    })
  })

const late = (tenant: string | null, value: string, rest: Partial<ConditionSet> = {}): ConditionSet => ({
  holds: true,
  tenant,
  key: 'machine.state db1',
  kind: 'machine.state',
  severity: 'warning',
  machine: 'db1',
  value,
  text: `db1 is ${value}`,
  data: { state: value },
  ...rest,
})

const good = (tenant: string | null): ConditionClear => ({
  holds: false,
  tenant,
  key: 'machine.state db1',
  kind: 'machine.state',
  machine: 'db1',
  text: 'db1 is fresh again',
  data: {},
})

export const conditions = (open: () => Promise<World>) =>
  describe('conditions', () => {
    test('are told once for each value and once when they are good again', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const from = await catalog.events.last()
      const apply = (nowMs: number, ...changes: (ConditionSet | ConditionClear)[]) =>
        catalog.conditions.apply({ changes, nowMs })
      expect(await apply(10, late(acme.id, 'late'), late(acme.id, 'late'))).toEqual([true, false])
      expect(await apply(20, late(acme.id, 'failing', { severity: 'error' }), good(other.id))).toEqual([true, false])
      expect(await catalog.conditions.of({ tenant: acme.id, kind: 'machine.state' })).toEqual([
        {
          tenant: acme.id,
          tenantName: 'acme',
          key: 'machine.state db1',
          kind: 'machine.state',
          severity: 'error',
          machine: 'db1',
          group: null,
          value: 'failing',
          text: 'db1 is failing',
          data: { state: 'failing' },
          sinceMs: 20,
        },
      ])
      expect(await apply(30, good(acme.id), good(acme.id))).toEqual([true, false])
      const told = await catalog.events.after({ seq: from, limit: 100 })
      expect(told.map(({ text, active, severity, key }) => [text, active, severity, key])).toEqual([
        ['db1 is late', true, 'warning', 'machine.state db1'],
        ['db1 is failing', true, 'error', 'machine.state db1'],
        ['db1 is fresh again', false, 'info', 'machine.state db1'],
      ])
      expect(await catalog.conditions.all({ kind: null })).toEqual([])
    })

    test('of tenants and of the platform are apart', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const tenants = [acme.id, other.id, null]
      await catalog.conditions.apply({ changes: tenants.map((tenant) => late(tenant, 'late')), nowMs: 1 })
      const of = async (tenant: string | null) => (await catalog.conditions.of({ tenant, kind: null })).length
      expect([await of(acme.id), await of(other.id), await of(null)]).toEqual([1, 1, 1])
      expect((await catalog.conditions.all({ kind: 'machine.state' })).map(({ tenantName }) => tenantName)).toEqual([
        null,
        'acme',
        'other',
      ])
      expect(await catalog.conditions.all({ kind: 'damage' })).toEqual([])
    })
  })
