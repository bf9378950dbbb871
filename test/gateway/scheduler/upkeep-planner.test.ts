// The planner: it looks every few minutes, makes no run that would find nothing, waits for quiet, and keeps the day's samples.
import { expect, test } from 'vitest'
import { isPrunable } from '../../../gateway/scheduler/prunable.ts'
import { PLAN_INTERVAL_MS, type UpkeepPlannerOptions } from '../../../gateway/scheduler/upkeep-planner.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { KEEP_OFF } from '../../../protocol/plans.ts'
import { changed, randomDisk } from '../maintenance/stand.ts'
import { UpkeepBench } from './upkeep-bench.ts'

const HOUR_MS = 3_600_000
const DAY_AT = Date.UTC(2026, 5, 1)

/** With three points of the days before, and a plan that keeps two of them and starts at one o'clock. */
const filled = async (options: Partial<UpkeepPlannerOptions> = {}): Promise<UpkeepBench> => {
  const bench = await UpkeepBench.open(DAY_AT - 3 * DAY_MS, options)
  await bench.plan({ keep: { ...KEEP_OFF, last: 2 }, jitterMs: 0, verifyDays: 4 })
  const machine = await bench.stand.machine('db1')
  let disk: (Uint8Array | null)[] = randomDisk(10)
  for (let day = 3; day > 0; day--) {
    bench.clock.set(DAY_AT - day * DAY_MS)
    disk = changed(disk, 0, 1, 2)
    await bench.backup(machine, disk)
  }
  bench.clock.set(DAY_AT)
  return bench
}

/** Kinds that are planned at this instant, in order. */
const planned = async (bench: UpkeepBench, nowMs: number): Promise<string[]> => {
  bench.clock.advance(Math.max(PLAN_INTERVAL_MS, nowMs - bench.clock.now()))
  bench.clock.set(nowMs)
  return (await bench.planner.due(nowMs)).map(({ kind }) => kind)
}

test('a prune is a run only where something goes; what was looked at in vain is looked at again after the next backup', async () => {
  await using bench = await filled()
  const { catalog, tenant } = bench
  expect(await isPrunable(catalog, tenant, DAY_AT)).toBe(true)
  expect(await planned(bench, DAY_AT)).toContain('prune')
  await bench.plan({ keep: KEEP_OFF })
  expect(await isPrunable(catalog, tenant, DAY_AT)).toBe(false)
  expect(await planned(bench, DAY_AT)).not.toContain('prune')
  const { tenants } = await catalog.upkeep.facts()
  expect(tenants[0]!.notes).toMatchObject([{ kind: 'prune', note: '{"seq":3}', failures: 0 }])
  expect(await catalog.runs.open()).toEqual([])
})

test('a collection waits while a backup comes soon', async () => {
  await using bench = await filled()
  bench.clock.advance(PLAN_INTERVAL_MS)
  await bench.round()
  const facts = (await bench.catalog.upkeep.facts()).tenants[0]!
  expect(facts).toMatchObject({ points: 2, removed: 1 })
  // it would pay, but does not press
  const note = { packBytes: facts.packBytes - 50_000, keptBytes: facts.keptBytes - 40_000, removed: 0, share: 1 }
  await bench.catalog.upkeep.note({
    tenant: bench.tenant,
    kind: 'collect',
    nowMs: DAY_AT - DAY_MS,
    ok: true,
    note: JSON.stringify(note),
  })
  expect(facts.packBytes / 10_000).toBeGreaterThan(5)
  expect(await planned(bench, DAY_AT + 0.6 * HOUR_MS)).toEqual([])
  expect(await planned(bench, DAY_AT + 1.5 * HOUR_MS)).toEqual(['collect'])
})

test('quiet hours hold a verification until they begin, or until it is overdue', async () => {
  await using bench = await filled({ quietHours: '22:00-24:00' })
  bench.clock.advance(PLAN_INTERVAL_MS)
  await bench.round()
  const note = JSON.stringify({ packBytes: 2 ** 40, keptBytes: 0, removed: 1, share: 1 })
  await bench.catalog.upkeep.note({ tenant: bench.tenant, kind: 'collect', nowMs: DAY_AT, ok: true, note })
  // the older point is two days old now: due at three, or, as its names say, within the day after
  expect(await planned(bench, DAY_AT + DAY_MS)).not.toContain('verify')
  expect(await planned(bench, DAY_AT + 1.9 * DAY_MS)).not.toContain('verify')
  expect(await planned(bench, DAY_AT + 2 * DAY_MS - 1)).toContain('verify')
  bench.clock.advance(HOUR_MS)
  expect(await planned(bench, DAY_AT + 2.05 * DAY_MS)).toContain('verify')
})

test('it looks every few minutes; samples are kept where nothing else is done', async () => {
  await using bench = await filled({ enabled: false })
  const { catalog, tenant, clock } = bench
  expect(await planned(bench, DAY_AT)).toEqual([])
  const day = DAY_AT / DAY_MS
  const [sample] = await catalog.upkeep.samples({ tenant, fromDay: 0 })
  expect(sample).toEqual({ day, bytes: (await catalog.upkeep.facts()).tenants[0]!.packBytes })
  expect(await catalog.upkeep.samples({ tenant: null, fromDay: 0 })).toEqual([{ day, bytes: 2 ** 40 }])
  await using eager = await filled()
  expect(await planned(eager, DAY_AT)).not.toEqual([])
  clock.advance(PLAN_INTERVAL_MS - 1)
  expect(await eager.planner.due(DAY_AT)).toEqual([])
})
