// What a person starts is a run with who it was: from when it begins until it has ended, however it ends.
import { expect, test } from 'vitest'
import { ByHand } from '../../../gateway/scheduler/by-hand.ts'
import { LEASE_MS } from '../../../gateway/scheduler/limits.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { Events } from '../../../gateway/events/events.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { testAuthority } from '../auth/test-authority.ts'

const log = openLog({ level: 'silent' })

const FAILING = { kind: 'upkeep.failing', severity: 'warning', value: 'STORE_FAILED', text: 'it fails' } as const

const NONE = { clear: async () => false }

const runsOf = (catalog: Catalog, tenant: string) =>
  catalog.runs.list({ tenant, machine: null, kind: null, state: null, after: null, limit: 10 })

test('a run begins with its work, is prolonged while it lasts, and ends with what it did', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const clock = new HandClock(5000)
  const byHand = new ByHand({ catalog, conditions: NONE, clock, log })
  const of = { kind: 'verify', tenant: acme.id, subject: 'anna' } as const
  const ended = Promise.withResolvers<number>()
  const begun = Promise.withResolvers<void>()
  const running = byHand.run(
    of,
    async (begins) => {
      await begins()
      begun.resolve()
      return await ended.promise
    },
    (points) => `verified ${points}`,
  )
  await begun.promise
  const [run] = await runsOf(catalog, acme.id)
  expect(run).toMatchObject({ kind: 'verify', state: 'running', by: 'anna', dueMs: 5000, leaseMs: 5000 + LEASE_MS })
  await clock.advanceSettled(LEASE_MS / 2)
  await expect.poll(async () => (await runsOf(catalog, acme.id))[0]!.leaseMs).toBeGreaterThan(5000 + LEASE_MS)
  ended.resolve(7)
  expect(await running).toBe(7)
  expect(await runsOf(catalog, acme.id)).toMatchObject([{ state: 'done', summary: 'verified 7', by: 'anna' }])
  await clock.advanceSettled(LEASE_MS)
  expect(clock.waiting).toBe(0)
})

test('one that fails says why, and one that never begins is none', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const clock = new HandClock(5000)
  const byHand = new ByHand({ catalog, conditions: NONE, clock, log })
  const of = { kind: 'collect', tenant: acme.id, subject: 'anna' } as const
  const fails = byHand.run(of, () => Promise.reject(new VarveError('MAINTENANCE_RUNNING', 'busy')), String)
  await expect(fails).rejects.toMatchObject({ code: 'MAINTENANCE_RUNNING' })
  expect(await runsOf(catalog, acme.id)).toEqual([])
  const late = byHand.run(
    of,
    async (begins) => {
      await begins()
      throw new VarveError('STORE_FAILED', 'the disk is ill')
    },
    String,
  )
  await expect(late).rejects.toMatchObject({ code: 'STORE_FAILED' })
  const error = { code: 'STORE_FAILED', message: 'the disk is ill' }
  expect(await runsOf(catalog, acme.id)).toMatchObject([{ state: 'failed', error }])
  expect(clock.waiting).toBe(0)
})

test('work goes on where its run cannot be noted', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const begin = () => Promise.reject(new VarveError('STORE_FULL', 'no room'))
  const runs = { ...catalog.runs, begin, end: begin } as unknown as Catalog['runs']
  const byHand = new ByHand({ catalog: { runs }, conditions: NONE, clock: new HandClock(1), log })
  const of = { kind: 'prune', tenant: acme.id, subject: 'anna' } as const
  const work = async (begins: () => Promise<void>): Promise<number> => {
    await begins()
    return 3
  }
  expect(await byHand.run(of, work, String)).toBe(3)
})

test('what a person does well ends the condition of its kind', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const clock = new HandClock(5000)
  await using events = new Events({ catalog, clock, log })
  const { conditions } = events
  for (const kind of ['collect', 'verify'])
    await conditions.set({ ...FAILING, tenant: acme.id, key: `upkeep.failing ${kind}` })
  const byHand = new ByHand({ catalog, conditions, clock, log })
  await byHand.run({ kind: 'collect', tenant: acme.id, subject: 'anna' }, (begins) => begins(), String)
  const left = await catalog.conditions.all({ kind: 'upkeep.failing' })
  expect(left.map(({ key }) => key)).toEqual(['upkeep.failing verify'])
})
