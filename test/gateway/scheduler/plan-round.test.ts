// Rounds of the scheduler, each decision from plain data: what is due, missed, skipped, held, retried, and in which order.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { PLAN_RULES_DEFAULT, type Plan, type PlanRules } from '../../../protocol/plans.ts'
import type { PlannedMachine, RunRow } from '../../../gateway/catalog/runs.ts'
import { LIMITS_DEFAULT } from '../../../gateway/scheduler/limits.ts'
import { Memo } from '../../../gateway/scheduler/pacing.ts'
import { planRound, type Round, type World } from '../../../gateway/scheduler/plan-round.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const at = (text: string): number => Date.parse(`2026-11-${text}Z`)
const NOON = at('05T12:00')

const planOf = (rules: Partial<PlanRules> = {}, name = 'nightly'): Plan => ({
  ...PLAN_RULES_DEFAULT,
  schedule: '0 1 * * *',
  covers: { ...PLAN_RULES_DEFAULT.covers, others: true },
  ...rules,
  name,
})

const TIMING = JSON.stringify({ schedule: '0 1 * * *', timeZone: 'UTC', widthMs: 0 })

const machineOf = (rest: Partial<PlannedMachine> = {}): PlannedMachine => ({
  tenant: 'acme',
  name: 'db1',
  group: null,
  agent: 'a',
  revoked: false,
  createdMs: 1,
  pointMs: at('04T01:00'),
  job: null,
  jobAgent: null,
  excludedUntilMs: null,
  pace: { plan: 'nightly', timing: TIMING, sinceMs: at('01T00:00'), plannedMs: at('04T01:00') },
  lastDueMs: null,
  lastEndedMs: null,
  ...rest,
})

const runOf = (rest: Partial<RunRow> = {}): RunRow => ({
  id: randomUUID(),
  tenant: 'acme',
  kind: 'backup',
  machine: 'db1',
  plan: 'nightly',
  dueMs: at('05T01:00'),
  state: 'due',
  skipped: null,
  attempts: 0,
  error: null,
  nextMs: null,
  startedMs: null,
  endedMs: null,
  job: null,
  by: null,
  summary: '',
  owner: null,
  leaseMs: null,
  jobState: null,
  jobError: null,
  ...rest,
})

const round = (
  nowMs: number,
  { plans = [planOf()], machines = [machineOf()], ...rest }: Partial<World> & { plans?: readonly Plan[] } = {},
): Round =>
  planRound(
    {
      tenants: [{ id: 'acme', name: 'acme', plans }],
      machines,
      runs: [],
      starting: [],
      online: () => true,
      usualMs: () => 0,
      limits: LIMITS_DEFAULT,
      ...rest,
    },
    nowMs,
    new Memo(),
  )

const planned = ({ runs }: Round) =>
  runs.map(({ dueMs, skipped }) => [new Date(dueMs).toISOString().slice(8, 16), skipped])
const ended = ({ ends }: Round) => ends.map(({ state, skipped, nextMs }) => skipped ?? nextMs ?? state)

/** The pace of a machine whose slots are planned up to the one of this night. */
const done = { pace: { plan: 'nightly', timing: TIMING, sinceMs: 1, plannedMs: at('05T01:00') } }

describe('slots', () => {
  test('one that has come is planned, and noted with its pace', () => {
    const found = round(at('05T01:00'))
    expect(planned(found)).toEqual([['05T01:00', null]])
    expect(found.paces).toMatchObject([{ machine: 'db1', plannedMs: at('05T01:00'), sinceMs: at('01T00:00') }])
    expect(found.nextMs).toBe(at('06T01:00'))
    expect(round(at('05T00:59'))).toMatchObject({ runs: [], paces: [], nextMs: at('05T01:00') })
  })

  test('after downtime the newest one runs, and one row speaks for the others', () => {
    const found = round(at('08T12:00'))
    expect(planned(found)).toEqual([
      ['07T01:00', 'missed'],
      ['08T01:00', null],
    ])
    expect(found.runs[0]!.summary).toBe('3 runs from 2026-11-05T01:00:00.000Z on could not be started in time')
  })

  test('and that only where freshness needs it', () => {
    const fresh = machineOf({ pointMs: at('08T02:00') })
    expect(planned(round(at('08T12:00'), { machines: [fresh] }))).toEqual([
      ['07T01:00', 'missed'],
      ['08T01:00', 'fresh'],
    ])
    const loose = planOf({ rpoMs: 72 * HOUR_MS })
    const young = machineOf({ pointMs: at('07T20:00') })
    expect(planned(round(at('08T12:00'), { plans: [loose], machines: [young] })).at(-1)).toEqual(['08T01:00', 'fresh'])
    const old = machineOf({ pointMs: at('05T20:00') })
    expect(planned(round(at('08T12:00'), { plans: [loose], machines: [old] })).at(-1)).toEqual(['08T01:00', null])
    // what came a moment ago is no downtime: a schedule is kept whatever the target says
    expect(planned(round(at('08T01:05'), { plans: [loose], machines: [young] })).at(-1)).toEqual(['08T01:00', null])
  })

  test('a machine that has just come, and a plan that has just changed, have no slots behind them', () => {
    const anew = round(NOON, { machines: [machineOf({ pace: null })] })
    expect(anew).toMatchObject({ runs: [], paces: [{ plannedMs: NOON, sinceMs: NOON }], nextMs: at('06T01:00') })
    const changed = round(NOON, { plans: [planOf({ schedule: '0 2 * * *' })] })
    expect(changed).toMatchObject({ runs: [], paces: [{ plannedMs: NOON, sinceMs: at('01T00:00') }] })
    const other = round(NOON, { plans: [planOf({}, 'other')] })
    expect(other).toMatchObject({ runs: [], paces: [{ plan: 'other', plannedMs: NOON, sinceMs: NOON }] })
  })

  test('what a clock that was ahead has planned counts as of now', () => {
    const ahead = machineOf({ pace: { ...done.pace, plannedMs: at('25T01:00') } })
    expect(round(NOON, { machines: [ahead] })).toMatchObject({
      runs: [],
      paces: [{ plannedMs: NOON }],
      nextMs: at('06T01:00'),
    })
  })

  test('the next slot takes the place of one that waits, not of one that runs', () => {
    const waiting = runOf({ dueMs: at('04T01:00') })
    expect(ended(round(at('05T01:00'), { runs: [waiting], online: () => false }))).toEqual(['superseded'])
    // it could not start before either
    const sundays = [planOf({ window: 'Sun 10:00-12:00' })]
    const outside = round(at('05T01:00'), { plans: sundays, runs: [waiting], online: () => false })
    expect(ended(outside)).toEqual(['window'])
    const running = runOf({ dueMs: at('04T01:00'), state: 'running', job: 'j', jobState: 'running' })
    expect(ended(round(at('05T01:00'), { runs: [running] }))).toEqual([])
  })
})

describe('targets', () => {
  const target = planOf({ schedule: null, rpoMs: 4 * HOUR_MS })
  const paced = machineOf({
    pointMs: at('05T08:00'),
    pace: { plan: 'nightly', timing: JSON.stringify({ rpoMs: 4 * HOUR_MS }), sinceMs: 1, plannedMs: 1 },
  })

  test('a run is planned once it is due, and none while one is open or a person backs the machine up', () => {
    expect(round(at('05T10:00'), { plans: [target], machines: [paced] }).runs).toEqual([])
    expect(round(NOON, { plans: [target], machines: [paced] }).runs).toHaveLength(1)
    expect(round(NOON, { plans: [target], machines: [paced], runs: [runOf()] }).runs).toEqual([])
    expect(round(NOON, { plans: [target], machines: [{ ...paced, job: 'j' }] }).runs).toEqual([])
  })

  test('it says when it is due, and looks again then', () => {
    const { nextMs } = round(at('05T10:00'), { plans: [target], machines: [paced] })
    expect(nextMs).toBeGreaterThan(at('05T11:00'))
    expect(nextMs).toBeLessThanOrEqual(at('05T11:36'))
  })
})

describe('a clock that was ahead', () => {
  const AHEAD = Date.parse('2027-11-05T12:00Z')

  test('its points keep nobody from the next backup', () => {
    const dated = machineOf({ ...done, pointMs: AHEAD })
    expect(round(NOON, { machines: [dated], runs: [runOf()] }).starts).toHaveLength(1)
    // a little ahead is a clock as clocks are
    const close = machineOf({ ...done, pointMs: NOON + MINUTE_MS })
    expect(ended(round(NOON, { machines: [close], runs: [runOf()] }))).toEqual(['fresh'])
  })

  test('nor do its runs and points put a target off', () => {
    const target = planOf({ schedule: null, rpoMs: 4 * HOUR_MS })
    const pace = { plan: 'nightly', timing: JSON.stringify({ rpoMs: 4 * HOUR_MS }), sinceMs: 1, plannedMs: 1 }
    const dated = machineOf({ pace, pointMs: AHEAD, lastDueMs: AHEAD, lastEndedMs: AHEAD })
    expect(round(NOON, { plans: [target], machines: [dated] }).runs).toHaveLength(1)
    const failed = machineOf({ pace, pointMs: null, lastDueMs: AHEAD, lastEndedMs: AHEAD })
    expect(round(NOON, { plans: [target], machines: [failed] }).runs).toHaveLength(1)
  })
})

describe('due runs', () => {
  const due = (rest: Partial<World> & { plans?: readonly Plan[] } = {}, nowMs = NOON): Round =>
    round(nowMs, { machines: [machineOf(done)], runs: [runOf()], ...rest })

  test('start, unless something is in the way', () => {
    expect(due().starts).toMatchObject([
      { machine: 'db1', tenant: 'acme', agent: 'a', attempts: 0, nextSlotMs: at('06T01:00') },
    ])
    expect(due({ online: () => false })).toMatchObject({ starts: [], ends: [] })
    expect(due({ machines: [machineOf({ ...done, job: 'j', jobAgent: 'a' })] })).toMatchObject({ starts: [], ends: [] })
    const waits = runOf({ nextMs: NOON + MINUTE_MS })
    expect(due({ runs: [waits] })).toMatchObject({ starts: [], ends: [], nextMs: NOON + MINUTE_MS })
    // a wait of a clock that was ahead
    expect(due({ runs: [runOf({ nextMs: NOON + 30 * HOUR_MS })] }).starts).toHaveLength(1)
    const run = runOf()
    expect(due({ runs: [run], starting: [{ run: run.id, tenant: 'acme', agent: 'a' }] }).starts).toEqual([])
  })

  test.each([
    ['excluded', { machines: [machineOf({ ...done, excludedUntilMs: Infinity })] }],
    ['gone', { machines: [machineOf({ ...done, revoked: true })] }],
    ['gone', { machines: [] }],
    ['disabled', { plans: [planOf({ enabled: false })] }],
    ['disabled', { plans: [] }],
    ['disabled', { plans: [planOf({ schedule: null })] }],
    ['moved', { plans: [planOf({}, 'other')] }],
    ['fresh', { machines: [machineOf({ ...done, pointMs: at('05T01:30') })] }],
  ] as const)('are skipped: %s', (reason, rest) => {
    expect(ended(due(rest))).toEqual([reason])
  })

  test('an exclusion that has ended is none, and one that will is looked at then', () => {
    const until = (untilMs: number): Round => due({ machines: [machineOf({ ...done, excludedUntilMs: untilMs })] })
    expect(until(NOON).starts).toHaveLength(1)
    expect(until(NOON + MINUTE_MS).nextMs).toBe(NOON + MINUTE_MS)
  })

  test('wait for their window, and give way to the next run where that comes as soon', () => {
    const night = [planOf({ window: '22:00-06:00' })]
    expect(due({ plans: night })).toMatchObject({ starts: [], ends: [], nextMs: at('05T22:00') })
    expect(due({ plans: night }, at('05T22:00')).starts).toHaveLength(1)
    const before = [planOf({ window: '00:30-02:00' })]
    expect(ended(due({ plans: before }))).toEqual(['window'])
  })
})

describe('ends', () => {
  const failed = (code: string, rest: Partial<RunRow> = {}): Round =>
    round(NOON, {
      machines: [machineOf(done)],
      runs: [
        runOf({
          state: 'running',
          job: 'j',
          attempts: 1,
          jobState: 'failed',
          jobError: { code, message: 'm' },
          ...rest,
        }),
      ],
    })

  test('a failed job is tried again where that can help', () => {
    expect(failed('QMP_TIMEOUT').ends).toMatchObject([
      { state: 'due', from: { state: 'running', job: 'j' }, nextMs: NOON + MINUTE_MS, error: { code: 'QMP_TIMEOUT' } },
    ])
    expect(ended(failed('QMP_TIMEOUT', { attempts: 5 }))).toEqual(['failed'])
    expect(ended(failed('FULL_REFUSED'))).toEqual(['failed'])
    expect(ended(failed('LEASE_LOST', { jobState: null, jobError: null }))).toEqual([NOON + MINUTE_MS])
  })

  test('what people start is not touched', () => {
    expect(failed('QMP_TIMEOUT', { by: 'ann' }).ends).toEqual([])
  })
})

describe('limits and order', () => {
  const many = (
    names: readonly string[],
    of: (name: string, index: number) => Partial<PlannedMachine> = () => ({}),
  ) => ({
    machines: names.map((name, index) => machineOf({ ...done, name, ...of(name, index) })),
    runs: names.map((machine) => runOf({ machine })),
  })
  const started = (rest: Parameters<typeof round>[1]): string[] =>
    round(NOON, rest).starts.map(({ machine }) => machine)

  test('of a host, a tenant and the gateway; what is running and being started counts', () => {
    const names = ['a', 'b', 'c', 'd']
    expect(started(many(names))).toHaveLength(2)
    const apart = many(names, (name) => ({ agent: name }))
    expect(started(apart)).toHaveLength(4)
    expect(started({ ...apart, limits: { perHost: 9, perTenant: 3, perGateway: 9 } })).toHaveLength(3)
    const held = round(NOON, { ...apart, limits: { perHost: 9, perTenant: 9, perGateway: 1 } })
    expect([held.starts.length, held.held]).toEqual([1, true])
    const busy = machineOf({ ...done, name: 'z', job: 'j', jobAgent: 'a' })
    const all = many(names)
    expect(started({ ...all, machines: [...all.machines, busy] })).toHaveLength(1)
    expect(started({ ...all, starting: [{ run: 'x', tenant: 'acme', agent: 'a' }] })).toHaveLength(1)
  })

  test('the least slack first, then priority', () => {
    const limits = { perHost: 1, perTenant: 9, perGateway: 9 }
    const late = many(['young', 'old'], (name) => ({ pointMs: at(name === 'old' ? '02T01:00' : '04T01:00') }))
    expect(started({ ...late, limits })).toEqual(['old'])
    const plans = [
      planOf(),
      planOf({ priority: 90, covers: { ...PLAN_RULES_DEFAULT.covers, machines: ['vip'] } }, 'vip'),
    ]
    const two = many(['any', 'vip'], (name) => ({ pace: { ...done.pace, plan: name === 'vip' ? 'vip' : 'nightly' } }))
    const runs = two.runs.map((run) => (run.machine === 'vip' ? { ...run, plan: 'vip' } : run))
    expect(started({ ...two, runs, plans, limits })).toEqual(['vip'])
  })

  test('beyond its share of the places a tenant gets what no other one can use', () => {
    const greedy = many(
      Array.from({ length: 9 }, (_, index) => `g${index}`),
      (agent) => ({ agent, pointMs: at('01T01:00') }),
    )
    const calm = many(['c0', 'c1'], (agent) => ({ tenant: 'zeta', agent, pointMs: at('05T00:00') }))
    const tenants = ['acme', 'zeta'].map((id) => ({ id, name: id, plans: [planOf()] }))
    const machines = [...greedy.machines, ...calm.machines]
    const runs = [...greedy.runs, ...calm.runs.map((run) => ({ ...run, tenant: 'zeta' }))]
    const limits = { perHost: 2, perTenant: 6, perGateway: 6 }
    const first = started({ tenants, machines, runs, limits })
    expect([first.length, first.slice(3, 5).toSorted()]).toEqual([6, ['c0', 'c1']])
    // what it has already counts: a place that becomes free is the other's
    const held = machines.map((machine) => (/g[0-4]/u.test(machine.name) ? { ...machine, job: machine.name } : machine))
    expect(started({ tenants, machines: held, runs, limits })).toMatchObject([expect.stringMatching(/^c/u)])
  })
})
