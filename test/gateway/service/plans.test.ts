// Plans through the door: owners change them, everybody of the tenant but agents sees them, a dry run changes nothing, and the
// entry says what changed.
import { expect, test } from 'vitest'
import { FRAME_BYTES_MAX } from '../../../protocol/limits.ts'
import { everyRow } from '../../../protocol/paging.ts'
import { COVERED_MAX } from '../../../protocol/plans.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'
import { TestServices } from '../services.ts'

const DAY_MS = 24 * 3_600_000

test('a dry run tells the same and changes nothing; each change has one entry that says what changed', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const viewer = await test.person('viewer')
  const plans = [{ name: 'gold', rpoMs: 14_400_000, covers: { machines: ['db9'] } }]
  const dry = await owner.call('plans.apply', { plans, dryRun: true })
  expect(dry.changes).toMatchObject([{ plan: 'gold', change: 'added' }])
  expect(dry.warnings).toEqual(['plan gold: there is no machine "db9" yet'])
  expect((await viewer.call('plans.list', {})).plans).toEqual([])
  expect(await owner.call('plans.apply', { plans })).toEqual(dry)
  await owner.call('plans.apply', { plans: [{ name: 'gold', keep: { daily: 7 } }], merge: true })
  const twice = { plans: [{ name: 'silver', covers: { machines: ['db9'] } }] }
  for (const dryRun of [true, false])
    expect(await codeOf(owner.call('plans.apply', { ...twice, dryRun }))).toBe('PARAMS_INVALID')
  expect((await viewer.call('plans.get', { plan: 'gold' })).plan).toMatchObject({
    rpoMs: 14_400_000,
    keep: { daily: 7 },
  })
  expect(await codeOf(viewer.call('plans.get', { plan: 'glod' }))).toBe('NOT_FOUND')
  expect(await codeOf(viewer.call('plans.apply', { plans }))).toBe('ROLE_FORBIDDEN')
  const entries = (await test.audited(test.acme)).filter(({ action }) => action === 'plans.apply')
  const said = entries.map(({ outcome, details: { address: _, ...details } }) => [outcome, details])
  expect(said).toEqual([
    ['ok', { changes: 'gold added' }],
    ['ok', { changes: 'gold changed: keep.daily 0 to 7' }],
    ['PARAMS_INVALID', {}],
    ['ROLE_FORBIDDEN', {}],
  ])
})

test('a plan that locks for a shorter time leaves the locks that are there', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { catalog } = test.services.datastore
  await addMachine(catalog, test.acme, await addAgent(catalog, test.acme), 'db1')
  await owner.call('plans.apply', { plans: [{ name: 'p', lockDays: 9, covers: { others: true } }] })
  expect((await catalog.plans.of({ tenant: test.acme.id, machine: 'db1' }))?.lockDays).toBe(9)
  await owner.call('plans.apply', { plans: [{ name: 'p', lockDays: 1 }], merge: true })
  expect((await catalog.plans.of({ tenant: test.acme.id, machine: 'db1' }))?.lockDays).toBe(1)
})

test('plans that name very many machines are listed in pages that fit a frame', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  for (let index = 0; index < 5; index++) {
    const machines = Array.from({ length: COVERED_MAX }, (_, at) => `m${index}-${at}`.padEnd(63, 'x'))
    await owner.call('plans.apply', { plans: [{ name: `p${index}`, covers: { machines } }] })
  }
  let pages = 0
  const plans = await everyRow(
    async (after) => {
      pages++
      const page = await owner.call('plans.list', { after })
      expect(JSON.stringify(page).length).toBeLessThan(FRAME_BYTES_MAX / 2)
      return page
    },
    (page) => page.plans,
  )
  expect(plans.map(({ name, covers }) => [name, covers.machines.length])).toEqual(
    [0, 1, 2, 3, 4].map((index) => [`p${index}`, COVERED_MAX]),
  )
  expect(pages).toBeGreaterThan(1)
})

test('the next runs are those of a plan or of a machine, and an exclusion is a reason for none', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const operator = await test.person('operator')
  const { catalog } = test.services.datastore
  await addMachine(catalog, test.acme, await addAgent(catalog, test.acme), 'db1')
  await owner.call('plans.apply', { plans: [{ name: 'p', schedule: 'every 4h', covers: { others: true } }] })
  const next = (asked: { plan: string | null; machine: string | null }) => operator.call('plans.next', asked)
  expect((await next({ plan: 'p', machine: null })).runs).toHaveLength(10)
  expect(await next({ plan: null, machine: 'db1' })).toMatchObject({ plan: 'p', reason: null })
  expect(await codeOf(next({ plan: 'p', machine: 'db1' }))).toBe('PARAMS_INVALID')
  expect(await codeOf(next({ plan: null, machine: null }))).toBe('PARAMS_INVALID')
  await operator.call('machines.exclude', { machine: 'db1', reason: 'rebuilt', untilMs: test.clock.now() + 60_000 })
  expect(await next({ plan: null, machine: 'db1' })).toEqual({ plan: 'p', runs: [], reason: 'it is excluded: rebuilt' })
  expect((await operator.call('machines.list', {})).machines).toMatchObject([{ exclusion: { by: 'a operator' } }])
  await test.pass(60_000)
  const later = await test.person('operator')
  expect((await later.call('machines.list', {})).machines).toMatchObject([{ exclusion: null }])
})

test('rules that get shorter say how many restore points go, before and as they are saved', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { catalog } = test.services.datastore
  const machine = await addMachine(catalog, test.acme, await addAgent(catalog, test.acme), 'db1')
  for (let day = 1; day <= 5; day++)
    await addPoint(catalog, test.acme, machine, { timeMs: day * DAY_MS, nowMs: day * DAY_MS })
  await owner.call('plans.apply', { plans: [{ name: 'p', keep: { last: 4 }, covers: { others: true } }] })
  const plans = [{ name: 'p', keep: { last: 2 } }]
  const dry = await owner.call('plans.apply', { plans, merge: true, dryRun: true })
  expect(dry.warnings).toEqual([
    'plan p: the next prune removes 2 restore points of 1 machine that stayed before, the newest of 1970-01-04 00:00 UTC',
  ])
  expect(await owner.call('plans.apply', { plans, merge: true })).toEqual(dry)
  expect(await owner.call('plans.apply', { plans, merge: true })).toEqual({ changes: [], warnings: [] })
})
