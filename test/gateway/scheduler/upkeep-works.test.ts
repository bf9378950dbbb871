// The works of upkeep one by one: what they do, what they note, what is told where they fail and where they work again.
import { describe, expect, test } from 'vitest'
import type { RunKind } from '../../../protocol/runs.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { forgetAuditEntry } from '../../support/catalog-damage.ts'
import { Damager } from '../../support/damage.ts'
import { changed, packBytes, randomDisk } from '../maintenance/stand.ts'
import { UpkeepBench } from './upkeep-bench.ts'

const NOW_MS = Date.UTC(2026, 5, 1, 12)
const signal = new AbortController().signal

const doing = (bench: UpkeepBench, kind: RunKind) => bench.works.get(kind)!.run(bench.stand.tenant, signal)

const noteOf = async ({ catalog, tenant }: UpkeepBench, kind: RunKind) => {
  const { tenants } = await catalog.upkeep.facts()
  return tenants.find((one) => one.tenant === tenant)!.notes.find((note) => note.kind === kind)
}

const conditions = async ({ catalog }: UpkeepBench) =>
  (await catalog.conditions.all({ kind: null })).map(({ key, severity, value }) => [key, severity, value])

/** A machine with so many points, a day apart, the last one now. */
const filled = async (bench: UpkeepBench, points: number) => {
  const machine = await bench.stand.machine('db1')
  const plains = randomDisk(20)
  let disk: (Uint8Array | null)[] = plains
  for (let index = points - 1; index >= 0; index--) {
    bench.clock.set(NOW_MS - index * DAY_MS)
    disk = changed(disk, 0, 1, 2, 3, 4, 5, 6, 7)
    await bench.backup(machine, disk)
  }
  return { machine, disk }
}

const KEEP_TWO = { last: 2, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 }

test('a prune removes what plans do not keep, in the name of the gateway; where nothing goes it is skipped', async () => {
  await using bench = await UpkeepBench.open(NOW_MS)
  await bench.plan({ keep: KEEP_TWO })
  await filled(bench, 5)
  expect(await doing(bench, 'prune')).toEqual({ summary: 'removed 3 restore points' })
  expect(await doing(bench, 'prune')).toEqual({ skipped: 'nothing' })
  expect(await noteOf(bench, 'prune')).toMatchObject({ doneMs: NOW_MS, failures: 0, note: '{"seq":5}' })
  const entries = await bench.catalog.audit.list({ tenant: bench.tenant, afterSeq: 0, limit: 100 })
  const removals = entries.filter(({ action }) => action === 'points.remove')
  expect(removals.map(({ subject, role }) => [subject, role])).toEqual(
    Array.from({ length: 3 }, () => ['varve', 'platform']),
  )
  await bench.events.flush()
  const told = (await bench.events.after(0)).filter(({ kind }) => kind === 'point.removed')
  expect(told.map(({ data }) => data['count'])).toEqual([3])
})

test('a collection frees what a prune left, and leaves the note of the next estimate', async () => {
  await using bench = await UpkeepBench.open(NOW_MS)
  await bench.plan({ keep: KEEP_TWO })
  await filled(bench, 6)
  await doing(bench, 'prune')
  const before = await packBytes(bench.stand)
  const ended = await doing(bench, 'collect')
  expect(ended.summary).toMatch(/^freed \d.* were not needed any more; \d+ packs? removed, \d+ rewritten$/u)
  expect(await packBytes(bench.stand)).toBeLessThan(before)
  const note = JSON.parse((await noteOf(bench, 'collect'))!.note) as object
  expect(note).toMatchObject({ removed: 4, packBytes: await packBytes(bench.stand) })
})

describe('a verification', () => {
  test('reads the machines that are due, and tells of damage in its sentence', async () => {
    await using bench = await UpkeepBench.open(NOW_MS)
    await bench.plan({ verifyDays: 10 })
    const { disk } = await filled(bench, 2)
    expect(await doing(bench, 'verify')).toEqual({ skipped: 'nothing' })
    bench.clock.set(NOW_MS + 10 * DAY_MS)
    await new Damager(bench.stand.folder).flip(bench.stand.idOf(disk[15]!))
    const ended = await doing(bench, 'verify')
    expect(ended.summary).toMatch(/^verified 2 restore points of 1 machine, .* read: 1 damaged record found$/u)
    expect(await doing(bench, 'verify')).toEqual({ skipped: 'nothing' })
  })

  test('has nothing to do without a plan that says so', async () => {
    await using bench = await UpkeepBench.open(NOW_MS)
    await bench.plan({ verifyDays: null })
    await filled(bench, 1)
    bench.clock.set(NOW_MS + 1000 * DAY_MS)
    expect(await doing(bench, 'verify')).toEqual({ skipped: 'nothing' })
  })
})

test('the state in the packs is looked at, and written again where it is damaged', async () => {
  await using bench = await UpkeepBench.open(NOW_MS)
  const { stand, catalog, tenant } = bench
  await stand.datastore.tenantStore(stand.tenant).writeState()
  expect(await doing(bench, 'state')).toEqual({ summary: 'the state in the packs is whole' })
  await new Damager(stand.folder).flip(await catalog.states.records({ tenant }))
  expect((await doing(bench, 'state')).summary).toContain('written again')
  expect(await doing(bench, 'state')).toEqual({ summary: 'the state in the packs is whole' })
})

test('a broken audit log is a condition until it is good again; the gateway has it, not a tenant', async () => {
  await using bench = await UpkeepBench.open(NOW_MS)
  const { catalog, tenant, stand } = bench
  const audit = bench.works.get('audit')!
  const entry = {
    timeMs: 1,
    tenant,
    subject: 's',
    role: 'owner',
    action: 'a',
    resource: '',
    outcome: 'ok',
    details: {},
  }
  await catalog.audit.appendAll({ records: [entry, entry, entry] })
  const good = 'checked 3 of 3 entries of the audit log: all are as they were written'
  expect(await audit.run(null, signal)).toEqual({ summary: good })
  const undo = forgetAuditEntry(stand.folder, 2)
  expect((await audit.run(null, signal)).summary).toContain('entry 2 of the audit log')
  expect(await conditions(bench)).toEqual([['audit.broken', 'error', '2']])
  undo()
  expect(await audit.run(null, signal)).toEqual({ summary: good })
  expect(await conditions(bench)).toEqual([])
})

describe('a failure', () => {
  /** Works whose maintenance fails so. */
  const failing = (bench: UpkeepBench, error: VarveError | null) => {
    bench.failure = error
    return bench
  }

  test('is a condition with the reason, told once, and good again with the next success', async () => {
    await using bench = await UpkeepBench.open(NOW_MS)
    await filled(bench, 1)
    failing(bench, new VarveError('TREE_UNREADABLE', 'a node cannot be read'))
    for (let round = 0; round < 2; round++)
      await expect(doing(bench, 'collect')).rejects.toMatchObject({ code: 'TREE_UNREADABLE' })
    expect(await noteOf(bench, 'collect')).toMatchObject({ failures: 2, doneMs: null })
    expect(await conditions(bench)).toEqual([['upkeep.failing collect', 'warning', 'TREE_UNREADABLE']])
    failing(bench, null)
    await doing(bench, 'collect')
    expect(await conditions(bench)).toEqual([])
    const told = (await bench.events.after(0)).filter(({ kind }) => kind === 'upkeep.failing')
    expect(told.map(({ active }) => active)).toEqual([true, false])
    expect(told[0]!.text).toBe('upkeep (collect) of tenant acme fails: a node cannot be read')
  })

  test('that passes by itself is none', async () => {
    await using bench = await UpkeepBench.open(NOW_MS)
    failing(bench, new VarveError('MAINTENANCE_RUNNING', 'a verification runs'))
    await expect(doing(bench, 'collect')).rejects.toMatchObject({ code: 'MAINTENANCE_RUNNING' })
    expect(await noteOf(bench, 'collect')).toBeUndefined()
    expect(await conditions(bench)).toEqual([])
  })
})
