// Sixty days of a machine that is backed up daily: its points are those that its plan keeps, space comes back, nothing is
// verified too late, and the runs tell the story.
import { expect, test } from 'vitest'
import { planRetention } from '../../../gateway/maintenance/retention.ts'
import type { RetentionPoint } from '../../../gateway/catalog/retention.ts'
import type { RunKind } from '../../../protocol/runs.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { changed, collected, packBytes, randomDisk } from '../maintenance/stand.ts'
import { Dice } from '../../support/model-dice.ts'
import { UpkeepBench } from './upkeep-bench.ts'

const HOUR_MS = 3_600_000
const FIRST_MS = Date.UTC(2026, 0, 1)
const DAYS = 60
const CHUNKS = 32
const VERIFY_DAYS = 8

test('sixty days', async () => {
  await using bench = await UpkeepBench.open(FIRST_MS)
  const { stand, clock, catalog, tenant } = bench
  const keep = { last: 2, hourly: 0, daily: 5, weekly: 3, monthly: 2, yearly: 0, withinDays: 0 }
  const plan = await bench.plan({ keep, verifyDays: VERIFY_DAYS, jitterMs: 0 })
  const machine = await stand.machine('db1')
  const dice = new Dice(3)
  let disk = randomDisk(CHUNKS) as (Uint8Array | null)[]
  let expected: RetentionPoint[] = []
  const ran = new Map<RunKind, number>()
  let stored = 0
  for (let day = 0; day < DAYS; day++) {
    clock.set(FIRST_MS + day * DAY_MS + HOUR_MS)
    disk = changed(disk, ...Array.from({ length: 3 }, () => dice.below(CHUNKS)))
    const id = await bench.backup(machine, disk)
    stored += (await catalog.points.find({ tenant, agent: null, prefix: id })).bytesStored
    const [newest] = await catalog.retention.points({ tenant, machine: 'db1' })
    expected = planRetention([...expected, { ...newest!, inUse: false }], plan, clock.now())
      .filter(({ keptBy }) => keptBy.length > 0)
      .map(({ point }) => point)
    for (const hour of [2, 3, 9, 15, 21]) {
      clock.advance(HOUR_MS)
      clock.set(FIRST_MS + day * DAY_MS + hour * HOUR_MS)
      for (const { kind } of await bench.round()) ran.set(kind, (ran.get(kind) ?? 0) + 1)
    }
    const { points } = await catalog.points.list({ tenant, agent: null, machine: 'db1', before: null, limit: 1000 })
    expect(points.map(({ id }) => id).toSorted()).toEqual(expected.map(({ id }) => id).toSorted())
    for (const { verifiedMs, timeMs } of points)
      expect(clock.now() - (verifiedMs ?? timeMs)).toBeLessThan(VERIFY_DAYS * DAY_MS)
  }
  // two last or five daily, three weekly, two monthly, of which the newest stand for each other
  expect(expected.length).toBeGreaterThanOrEqual(9)
  expect(expected.length).toBeLessThanOrEqual(11)

  const report = await collected(stand, { dryRun: true })
  const bytes = await packBytes(stand)
  expect(bytes).toBeLessThan(report.live.bytes * 1.35)
  expect(bytes).toBeLessThan(stored * 0.6)
  expect(await catalog.damage.any({ tenant })).toBe(false)

  const runs = await catalog.runs.list({ tenant, machine: null, kind: null, state: null, after: null, limit: 1000 })
  const upkeep = runs.filter(({ kind }) => kind !== 'backup')
  expect(upkeep.filter(({ state }) => state !== 'done')).toEqual([])
  const ofKind = (kind: RunKind) => upkeep.filter((run) => run.kind === kind)
  // one a day once something goes, and none that found nothing
  expect(ofKind('prune').length).toBeGreaterThan(40)
  expect(ofKind('prune').length).toBeLessThanOrEqual(DAYS)
  expect(ofKind('prune').every(({ summary }) => /^removed \d+ restore points?$/u.test(summary))).toBe(true)
  expect(ofKind('collect').length).toBeGreaterThanOrEqual(6)
  expect(ofKind('collect').length).toBeLessThan(30)
  expect(ofKind('verify').length).toBeGreaterThanOrEqual(7)
  expect(ofKind('verify').length).toBeLessThan(15)
  expect(ofKind('state')).toHaveLength(9)
  expect(ran.get('audit')).toBeGreaterThanOrEqual(DAYS - 1)
  expect((await catalog.conditions.all({ kind: null })).map(({ key }) => key)).toEqual([])
  expect(await catalog.upkeep.samples({ tenant, fromDay: 0 })).toHaveLength(DAYS)
})
