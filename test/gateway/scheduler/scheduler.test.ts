// The loop itself, over a real catalog and a clock that stands still: when it looks, what a start that fails costs, what it
// leaves. What it decides over a month is in month.test.ts.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { VarveError, type ErrorCode } from '../../../protocol/errors.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { PLAN_RULES_DEFAULT } from '../../../protocol/plans.ts'
import type { AuditRecord } from '../../../gateway/catalog/audit-record.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { RunRow } from '../../../gateway/catalog/runs.ts'
import {
  HISTORY_MS,
  LIMITS_DEFAULT,
  SLEEP_MS_MAX,
  TRIM_INTERVAL_MS,
  WAKE_MS,
} from '../../../gateway/scheduler/limits.ts'
import { Scheduler } from '../../../gateway/scheduler/scheduler.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addMachine } from '../catalog.ts'

const MINUTE_MS = 60_000
const START_MS = Date.parse('2026-11-05T00:59:00Z')

const stand = async () => {
  await using stack = new AsyncDisposableStack()
  const temp = stack.use(await tempFolder())
  const catalog = stack.use(openLocal(temp.join('catalog.db')))
  const id = randomUUID()
  const tenant = await catalog.tenants.add({ id, name: 'acme', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 })
  const plan = { ...PLAN_RULES_DEFAULT, name: 'nightly', schedule: '0 1 * * *' }
  const covers = { ...plan.covers, others: true }
  await catalog.plans.apply({ tenant: id, plans: [{ ...plan, covers }] })
  const agent = await addAgent(catalog, tenant)
  await addMachine(catalog, tenant, agent, 'db1')
  const clock = new HandClock(START_MS)
  const state = { online: true, refusal: null as ErrorCode | null, looks: 0 }
  const audit: AuditRecord[] = []
  const listeners = new Set<() => void>()
  const started: string[] = []
  const runs = {
    ...catalog.runs,
    world: () => {
      state.looks++
      return catalog.runs.world()
    },
  }
  const scheduler = stack.use(
    new Scheduler({
      catalog: { runs, tenants: catalog.tenants, machines: catalog.machines },
      backups: {
        start: async ({ machine, subject, run }) => {
          if (state.refusal !== null) throw new VarveError(state.refusal, 'it cannot')
          const job = randomUUID()
          const asked = { tenant: id, machine: machine.name, agent, subject, full: false, compare: false }
          await catalog.jobs.start({ ...asked, id: job, run: run!, nowMs: clock.now() })
          started.push(job)
          return { job }
        },
      },
      agents: { online: () => state.online },
      events: {
        listen: (listener) => {
          listeners.add(listener)
          return () => void listeners.delete(listener)
        },
      },
      audit: {
        record: async (entry) => {
          audit.push(entry)
        },
      },
      clock,
      log: openLog({ level: 'silent' }),
      limits: LIMITS_DEFAULT,
    }),
  )
  /** Lets time pass in small steps, and all that comes of it be done. */
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += WAKE_MS) {
      clock.advance(Math.min(WAKE_MS, ms - passed))
      await scheduler.settled()
    }
  }
  const rows = (): Promise<RunRow[]> =>
    catalog.runs.list({ tenant: id, machine: null, kind: null, state: null, after: null, limit: 10 })
  const held = stack.move()
  return {
    catalog,
    id,
    agent,
    clock,
    state,
    audit,
    listeners,
    started,
    scheduler,
    pass,
    rows,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

test('starts what is due at its instant, as the gateway itself, with an entry in the audit log', async () => {
  await using one = await stand()
  await one.pass(30_000)
  expect(await one.rows()).toEqual([])
  await one.pass(MINUTE_MS)
  const [row] = await one.rows()
  expect(row).toMatchObject({ state: 'running', plan: 'nightly', by: null, attempts: 1, job: one.started[0] })
  expect(row!.startedMs! - row!.dueMs).toBeLessThan(1000)
  expect(one.audit).toMatchObject([
    {
      subject: 'varve',
      role: 'platform',
      action: 'backup.start',
      resource: 'machine=db1',
      details: { run: row!.id, job: row!.job },
    },
  ])
  const { jobs } = await one.catalog.jobs.list({ tenant: one.id, agent: null, machine: null, after: null, limit: 9 })
  expect(jobs.map(({ job }) => job.subject)).toEqual(['varve'])
})

test('an agent that is away costs no attempt; one that leaves in between neither', async () => {
  await using one = await stand()
  one.state.online = false
  await one.pass(10 * MINUTE_MS)
  expect(await one.rows()).toMatchObject([{ state: 'due', attempts: 0, error: null }])
  one.state.online = true
  one.state.refusal = 'AGENT_OFFLINE'
  await one.pass(5 * MINUTE_MS)
  expect(await one.rows()).toMatchObject([{ state: 'due', attempts: 0, error: { code: 'AGENT_OFFLINE' } }])
  one.state.refusal = null
  await one.pass(MINUTE_MS)
  expect(await one.rows()).toMatchObject([{ state: 'running', attempts: 1 }])
})

test('what is refused before there is a job counts, and what cannot pass by itself has failed', async () => {
  await using one = await stand()
  one.state.refusal = 'STORE_FULL'
  await one.pass(100 * MINUTE_MS)
  expect(await one.rows()).toMatchObject([{ state: 'failed', attempts: 5, error: { code: 'STORE_FULL' } }])
  await using other = await stand()
  other.state.refusal = 'QUOTA_EXCEEDED'
  await other.pass(3 * MINUTE_MS)
  expect(await other.rows()).toMatchObject([{ state: 'failed', attempts: 1, error: { code: 'QUOTA_EXCEEDED' } }])
})

test('sleeps a minute at most, is woken by events, and events that never end put nothing off', async () => {
  await using one = await stand()
  await one.pass(WAKE_MS)
  const idle = one.state.looks
  await one.pass(30_000)
  expect(one.state.looks).toBe(idle)
  for (const listener of one.listeners) listener()
  await one.pass(WAKE_MS)
  expect(one.state.looks).toBe(idle + 1)
  one.state.online = false
  await one.pass(2 * SLEEP_MS_MAX)
  expect(one.state.looks).toBeGreaterThan(idle + 2)
  const before = one.state.looks
  for (let passed = 0; passed < 5000; passed += 50) {
    for (const listener of one.listeners) listener()
    one.clock.advance(50)
    await one.scheduler.settled()
  }
  expect(one.state.looks - before).toBeGreaterThan(5)
  expect(one.state.looks - before).toBeLessThanOrEqual(5000 / WAKE_MS + 1)
})

test('a host that was suspended, or a clock that was set, is seen within a minute', async () => {
  await using one = await stand()
  await one.pass(1000)
  one.clock.set(START_MS + 30 * 60 * MINUTE_MS)
  await one.pass(SLEEP_MS_MAX)
  expect(
    (await one.rows()).map(({ state, skipped, dueMs }) => [state, skipped, new Date(dueMs).toISOString()]),
  ).toEqual([
    ['running', null, '2026-11-06T01:00:00.000Z'],
    ['skipped', 'missed', '2026-11-05T01:00:00.000Z'],
  ])
  // and back: nothing is due again
  one.clock.set(START_MS + 2000)
  await one.pass(5 * MINUTE_MS)
  expect(await one.rows()).toHaveLength(2)
})

test('removes what is old each hour', async () => {
  await using one = await stand()
  const old = {
    id: randomUUID(),
    tenant: one.id,
    kind: 'prune',
    machine: null,
    plan: null,
    skipped: 'nothing',
  } as const
  const ageMs = START_MS - HISTORY_MS
  await one.catalog.runs.plan({ runs: [{ ...old, dueMs: ageMs - MINUTE_MS }] })
  await one.pass(MINUTE_MS / 2)
  expect(await one.rows()).toHaveLength(1)
  one.clock.advance(TRIM_INTERVAL_MS)
  await one.scheduler.settled()
  await one.pass(SLEEP_MS_MAX)
  expect((await one.rows()).filter(({ kind }) => kind === 'prune')).toEqual([])
})

test('leaves nothing running', async () => {
  await using one = await stand()
  await one.pass(2 * MINUTE_MS)
  await one.scheduler[Symbol.asyncDispose]()
  expect([one.clock.waiting, one.listeners.size]).toEqual([0, 0])
  one.scheduler.wake()
  expect(one.clock.waiting).toBe(0)
})
