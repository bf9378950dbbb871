// A scrape: what the catalog and the gateway know, once in five seconds, and without the catalog where that does not answer.
import { expect, test } from 'vitest'
import type { Figures } from '../../../gateway/catalog/figures.ts'
import { Instruments } from '../../../gateway/metrics/instruments.ts'
import { SHOWN_MACHINES_MAX } from '../../../gateway/metrics/machine-lines.ts'
import { ANSWER_LIFE_MS, Metrics, type WatchedFigures } from '../../../gateway/metrics/metrics.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock } from '../../support/hand-clock.ts'

const FIGURES: Figures = {
  tenants: [
    {
      tenant: 'acme',
      softBytes: 10,
      hardBytes: null,
      packBytes: 7,
      machines: 3,
      points: 4,
      running: 1,
      lostRanges: 2,
      damaged: 5,
    },
  ],
  agents: [
    { id: 'a1', tenant: 'acme', host: 'h"1' },
    { id: 'a2', tenant: 'acme', host: 'h2' },
  ],
  runs: [{ tenant: 'acme', kind: 'backup', state: 'due', count: 6 }],
  ended: [{ tenant: null, kind: 'audit', state: 'done', count: 1 }],
  notices: [
    { tenant: null, state: 'dead', count: 1 },
    { tenant: 'acme', state: 'waiting', count: 2 },
  ],
  machines: { tenants: Uint32Array.of(0, 0), names: ['app', 'db'], pointMs: Float64Array.of(Number.NaN, 2000) },
}

const stand = (now: () => Promise<Figures> = async () => FIGURES, watched: readonly WatchedFigures[] = []) => {
  const clock = new HandClock()
  let asked = 0
  const windows: [number, number][] = []
  let freeBytes = 1000
  const metrics = new Metrics({
    catalog: {
      figures: {
        now: (wanted) => {
          expect(wanted.machinesMax).toBe(SHOWN_MACHINES_MAX)
          asked++
          windows.push([wanted.afterMs, wanted.untilMs])
          return now()
        },
      },
    },
    space: { room: async () => ({ freeBytes: freeBytes++, totalBytes: 2000, reserveBytes: 100 }) },
    sessions: { count: 9, online: (agent) => agent === 'a1' },
    watched: () => watched,
    instruments: new Instruments('1.2.3'),
    read: async () => {},
    clock,
    log: openLog({ level: 'silent' }),
  })
  return { metrics, clock, asked: () => asked, windows }
}

const samples = (text: string): string[] => text.split('\n').filter((line) => line.startsWith('varve_'))

test('a scrape tells what is so, each value once', async () => {
  using stack = new DisposableStack()
  const { metrics } = stand()
  stack.use(metrics)
  const text = await metrics.text()
  const lines = samples(text)
  expect(lines).toEqual(
    expect.arrayContaining([
      'varve_scrape_complete 1',
      'varve_sessions 9',
      'varve_jobs{tenant="acme",state="running"} 1',
      'varve_runs{tenant="acme",kind="backup",state="due"} 6',
      'varve_notices{tenant="",state="dead"} 1',
      'varve_notices{tenant="acme",state="waiting"} 2',
      'varve_machines{tenant="acme"} 3',
      'varve_machines_omitted 1',
      'varve_points{tenant="acme"} 4',
      'varve_lost_ranges{tenant="acme"} 2',
      'varve_damaged_records{tenant="acme"} 5',
      'varve_tenant_bytes{tenant="acme",kind="packs"} 7',
      'varve_quota_bytes{tenant="acme",limit="soft"} 10',
      String.raw`varve_agent_connected{tenant="acme",agent="a1",host="h\"1"} 1`,
      'varve_agent_connected{tenant="acme",agent="a2",host="h2"} 0',
      'varve_datastore_free_bytes 1000',
      'varve_datastore_total_bytes 2000',
      'varve_datastore_reserve_bytes 100',
      'varve_machine_last_point_timestamp_seconds{tenant="acme",machine="db"} 2',
    ]),
  )
  const series = lines.map((line) => line.slice(0, line.lastIndexOf(' ')))
  expect(new Set(series).size).toBe(series.length)
  expect(text.endsWith('\n# EOF\n')).toBe(true)
  expect(text.match(/# EOF/gu)).toHaveLength(1)
})

test('who scrapes often, or together, is given the same answer until it is old', async () => {
  using stack = new DisposableStack()
  const { metrics, clock, asked } = stand()
  stack.use(metrics)
  const [first, second] = await Promise.all([metrics.text(), metrics.text()])
  clock.advance(ANSWER_LIFE_MS - 1)
  expect([second, await metrics.text(), asked()]).toEqual([first, first, 1])
  clock.advance(1)
  expect(await metrics.text()).toContain('varve_datastore_free_bytes 1001\n')
  expect(asked()).toBe(2)
})

test('what is gone from the catalog is gone from the next answer', async () => {
  using stack = new DisposableStack()
  let figures = FIGURES
  const { metrics, clock } = stand(async () => figures)
  stack.use(metrics)
  await metrics.text()
  figures = { ...FIGURES, agents: [], runs: [], tenants: [{ ...FIGURES.tenants[0]!, softBytes: null }] }
  clock.advance(ANSWER_LIFE_MS)
  const text = await metrics.text()
  expect(samples(text).filter((line) => /_agent_connected|_quota|_runs\{/u.test(line))).toEqual([])
})

test('a catalog that fails leaves the rest, says so, and comes back', async () => {
  using stack = new DisposableStack()
  let fails = true
  const { metrics, clock } = stand(async () => {
    if (fails) throw new Error('away')
    return FIGURES
  })
  stack.use(metrics)
  const lines = samples(await metrics.text())
  expect(lines).toContain('varve_scrape_complete 0')
  expect(lines).toContain('varve_datastore_free_bytes 1000')
  expect(lines.filter((line) => line.includes('tenant='))).toEqual([])
  fails = false
  clock.advance(ANSWER_LIFE_MS)
  expect(samples(await metrics.text())).toContain('varve_scrape_complete 1')
})

test('a machine has its state and its times, where somebody looks; one that is gone has none', async () => {
  using stack = new DisposableStack()
  const look = { tenantName: 'acme', state: 'late', rpoMs: 3_600_000, deadlineMs: 5000, lastVerifiedMs: null } as const
  const watched = [
    { ...look, machine: 'db' },
    { ...look, machine: 'gone' },
    { ...look, machine: 'app', tenantName: 'other' },
  ]
  const { metrics } = stand(undefined, watched)
  stack.use(metrics)
  expect(samples(await metrics.text()).filter((line) => line.includes('machine='))).toEqual([
    'varve_machine_state{tenant="acme",machine="db",state="late"} 1',
    'varve_machine_last_point_timestamp_seconds{tenant="acme",machine="db"} 2',
    'varve_machine_deadline_timestamp_seconds{tenant="acme",machine="db"} 5',
    'varve_machine_rpo_seconds{tenant="acme",machine="db"} 3600',
  ])
})

test('each run that ended is counted once: no time is asked about twice, and none is left out', async () => {
  using stack = new DisposableStack()
  let fails = false
  const { metrics, clock, windows } = stand(async () => {
    if (fails) throw new Error('away')
    return FIGURES
  })
  stack.use(metrics)
  for (const [ms, failing] of [
    [6000, false],
    [6000, true],
    [6000, false],
  ] as const) {
    fails = failing
    clock.advance(ms)
    await metrics.text()
  }
  expect(windows).toEqual([
    [-5000, 1000],
    [1000, 7000],
    [1000, 13_000],
  ])
  clock.set(0)
  clock.advance(6000)
  const text = await metrics.text()
  expect(windows.at(-1)).toEqual([1000, 1000])
  expect(text).toContain('varve_runs_ended_total{tenant="",kind="audit",state="done"} 3\n')
})
