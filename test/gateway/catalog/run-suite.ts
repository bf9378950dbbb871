// What every engine of the catalog must do with runs: a slot is there once, one gateway has it, and its job never leaves it.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { NewRun, RunEnd, RunRow, RunsAsked } from '../../../gateway/catalog/runs.ts'
import { RUNS_KEPT_MAX } from '../../../gateway/catalog/runs.ts'
import { PLAN_RULES_DEFAULT } from '../../../protocol/plans.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addMachine, addPoint, revokeAgent, startJob } from '../catalog.ts'
import type { World } from './catalog-suite.ts'

const LEASE_MS = 100
const LIMITS = { perHost: 2, perTenant: 3, perGateway: 4 }

export const runs = (open: () => Promise<World>) =>
  describe('runs', () => {
    const slot = (world: World, rest: Partial<NewRun> = {}): NewRun => ({
      id: randomUUID(),
      tenant: world.acme.id,
      kind: 'backup',
      machine: 'db1',
      plan: 'nightly',
      dueMs: 1000,
      ...rest,
    })
    const asked = (world: World, rest: Partial<RunsAsked> = {}): RunsAsked => ({
      tenant: world.acme.id,
      machine: null,
      kind: null,
      state: null,
      after: null,
      limit: 100,
      ...rest,
    })
    const list = (world: World, rest: Partial<RunsAsked> = {}): Promise<RunRow[]> =>
      world.catalog.runs.list(asked(world, rest))
    const only = async (world: World): Promise<RunRow> => {
      const found = await list(world)
      expect(found).toHaveLength(1)
      return found[0]!
    }
    /** Starts the job of a run for a gateway. */
    const start = async (world: World, run: string, owner: string, nowMs = 2000): Promise<string> => {
      const { acme, agent, catalog } = world
      const id = randomUUID()
      const args = { id, tenant: acme.id, machine: 'db1', agent, subject: 'varve', full: false, compare: false, nowMs }
      await catalog.jobs.start({ ...args, run: { id: run, owner, limits: LIMITS } })
      return id
    }
    const failJob = ({ catalog, agent }: World, job: string): Promise<void> =>
      catalog.jobs.fail({ job, agent, code: 'QMP_TIMEOUT', message: 'it hangs', nowMs: 3000 })

    test('a slot is there once, whoever plans it; those of machines and tenants that are not there are left out', async () => {
      await using world = await open()
      const { catalog } = world
      const first = slot(world)
      const lost = slot(world, { machine: 'nobody' })
      const nobody = slot(world, { tenant: randomUUID() })
      expect(await catalog.runs.plan({ runs: [first, lost, nobody] })).toEqual([first.id])
      expect(await catalog.runs.plan({ runs: [slot(world)] })).toEqual([])
      // another kind, another due, the tenant's and the gateway's own are slots of their own
      const others = [
        slot(world, { dueMs: 1001 }),
        slot(world, { kind: 'prune', machine: null, plan: null }),
        slot(world, { kind: 'audit', machine: null, plan: null, tenant: null }),
      ]
      expect(await catalog.runs.plan({ runs: others })).toEqual(others.map(({ id }) => id))
      expect(await catalog.runs.plan({ runs: [slot(world, { kind: 'audit', machine: null, tenant: null })] })).toEqual(
        [],
      )
      expect((await catalog.runs.open()).map(({ id }) => id)).toEqual([
        first.id,
        others[1]!.id,
        others[2]!.id,
        others[0]!.id,
      ])
      // the gateway's own is in no tenant's list
      expect(await list(world)).toHaveLength(3)
      expect((await list(world, { tenant: null })).map(({ kind }) => kind)).toEqual(['audit'])
    })

    test('a skipped one is over at once, with its reason', async () => {
      await using world = await open()
      await world.catalog.runs.plan({ runs: [slot(world, { skipped: 'missed', summary: 'and 4 before it' })] })
      expect(await only(world)).toMatchObject({
        state: 'skipped',
        skipped: 'missed',
        summary: 'and 4 before it',
        endedMs: 1000,
      })
      expect(await world.catalog.runs.open()).toEqual([])
    })

    test('a backup and its run are one: of two gateways one starts it, and the other one leaves no job', async () => {
      await using world = await open()
      const run = slot(world)
      await world.catalog.runs.plan({ runs: [run] })
      const starts = await Promise.allSettled([start(world, run.id, 'one'), start(world, run.id, 'two')])
      expect(starts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      const found = await only(world)
      const { jobs } = await world.catalog.jobs.list({
        tenant: world.acme.id,
        agent: null,
        machine: null,
        after: null,
        limit: 9,
      })
      expect(jobs.map(({ job }) => job.id)).toEqual([found.job])
      expect(found).toMatchObject({ state: 'running', attempts: 1, startedMs: 2000, by: null, jobState: 'running' })
      // also one that has ended meanwhile
      await failJob(world, found.job!)
      expect(await codeOf(start(world, run.id, 'two'))).toBe('EXISTS')
      expect((await only(world)).job).toBe(found.job)
    })

    test('no planned backup is started past a limit, whoever started the others', async () => {
      await using world = await open()
      const { catalog, acme, agent } = world
      const run = slot(world)
      await catalog.runs.plan({ runs: [run] })
      for (const name of ['db2', 'db3']) await startJob(catalog, acme, await addMachine(catalog, acme, agent, name))
      expect(await codeOf(start(world, run.id, 'one'))).toBe('TOO_MANY_REQUESTS')
      expect((await catalog.runs.open()).find(({ id }) => id === run.id)).toMatchObject({ state: 'due', attempts: 0 })
      const [job] = (await catalog.jobs.list({ tenant: acme.id, agent: null, machine: 'db2', after: null, limit: 1 }))
        .jobs
      await failJob(world, job!.job.id)
      await start(world, run.id, 'one')
    })

    test('a committed job has ended its run; a failed one leaves that to the scheduler, with its error', async () => {
      await using world = await open()
      const { catalog, acme, agent } = world
      const run = slot(world)
      await catalog.runs.plan({ runs: [run] })
      const job = await start(world, run.id, 'one')
      await failJob(world, job)
      const [failed] = await catalog.runs.open()
      expect(failed).toMatchObject({
        state: 'running',
        jobState: 'failed',
        jobError: { code: 'QMP_TIMEOUT', message: 'it hangs' },
      })
      const retry: RunEnd = {
        id: run.id,
        from: { state: 'running', job },
        state: 'due',
        error: failed!.jobError,
        nextMs: 5000,
        nowMs: 3100,
      }
      // twice, as two gateways would: once
      expect([await catalog.runs.end(retry), await catalog.runs.end(retry)]).toEqual([true, false])
      expect(await only(world)).toMatchObject({
        state: 'due',
        attempts: 1,
        nextMs: 5000,
        endedMs: null,
        error: { code: 'QMP_TIMEOUT' },
      })
      const again = await start(world, run.id, 'two', 5000)
      await catalog.agents.revoke({ tenant: acme.id, id: agent, nowMs: 5001 })
      expect((await catalog.runs.open())[0]).toMatchObject({ job: again, attempts: 2, jobState: 'failed' })
      expect(
        await catalog.runs.end({ ...retry, from: { state: 'running', job: again }, state: 'failed', nextMs: null }),
      ).toBe(true)
      expect(await only(world)).toMatchObject({ state: 'failed', endedMs: 3100, nextMs: null })
    })

    test('what a person starts is a run too, that ends with its job', async () => {
      await using world = await open()
      const { catalog, acme, machine } = world
      const job = await startJob(catalog, acme, machine, { nowMs: 50 })
      expect(await only(world)).toMatchObject({
        kind: 'backup',
        machine: 'db1',
        plan: null,
        dueMs: 50,
        state: 'running',
        by: 'test',
        job,
      })
      await catalog.jobs.fail({ job, agent: machine.agent, code: 'CANCELLED', message: 'no', nowMs: 60 })
      expect(await only(world)).toMatchObject({
        state: 'failed',
        endedMs: 60,
        error: { code: 'CANCELLED', message: 'no' },
      })
      // at the same instant again
      await addPoint(catalog, acme, machine, { nowMs: 50, timeMs: 100 })
      expect((await list(world)).map(({ dueMs, state }) => [dueMs, state])).toEqual([
        [51, 'done'],
        [50, 'failed'],
      ])
      expect(await catalog.runs.open()).toEqual([])
    })

    test('upkeep is claimed by one, kept as long as its lease is prolonged, and taken over when that has run out', async () => {
      await using world = await open()
      const { catalog } = world
      const run = slot(world, { kind: 'prune', machine: null, plan: null })
      await catalog.runs.plan({ runs: [run] })
      const claim = (owner: string, nowMs: number) =>
        catalog.runs.claim({ id: run.id, owner, nowMs, leaseMs: LEASE_MS })
      const renew = (owner: string, nowMs: number) =>
        catalog.runs.renew({ id: run.id, owner, nowMs, leaseMs: LEASE_MS })
      const both = await Promise.all([claim('one', 2000), claim('two', 2000)])
      expect(both.toSorted()).toEqual([false, true])
      const [owner, other] = both[0] ? ['one', 'two'] : ['two', 'one']
      expect([await renew(other, 2050), await renew(owner, 2050)]).toEqual([false, true])
      expect(await claim(other, 2149)).toBe(false)
      expect(await claim(other, 2150)).toBe(true)
      expect(await renew(owner, 2151)).toBe(false)
      const end = (by: string): Promise<boolean> =>
        catalog.runs.end({
          id: run.id,
          from: { state: 'running', owner: by },
          state: 'done',
          summary: 'removed 3',
          nowMs: 2160,
        })
      expect([await end(owner), await end(other)]).toEqual([false, true])
      expect(await only(world)).toMatchObject({
        state: 'done',
        attempts: 2,
        summary: 'removed 3',
        endedMs: 2160,
        owner: null,
      })
      expect(await claim('one', 9000)).toBe(false)
    })

    test('a lease of a clock that was ahead has run out', async () => {
      await using world = await open()
      const { catalog } = world
      const run = slot(world, { kind: 'prune', machine: null })
      await catalog.runs.plan({ runs: [run] })
      await catalog.runs.claim({ id: run.id, owner: 'one', nowMs: 100_000, leaseMs: LEASE_MS })
      expect(await catalog.runs.claim({ id: run.id, owner: 'two', nowMs: 2000, leaseMs: LEASE_MS })).toBe(true)
    })

    test('a due one ends only as it was when that was decided', async () => {
      await using world = await open()
      const { catalog } = world
      const run = slot(world)
      await catalog.runs.plan({ runs: [run] })
      const skip = (attempts: number) =>
        catalog.runs.end({
          id: run.id,
          from: { state: 'due', attempts },
          state: 'skipped',
          skipped: 'excluded',
          nowMs: 9,
        })
      expect([await skip(1), await skip(0), await skip(0)]).toEqual([false, true, false])
      expect(await only(world)).toMatchObject({ state: 'skipped', skipped: 'excluded', endedMs: 9 })
    })

    test('what is claimed and what ends is told with its change, once', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const backup = slot(world)
      const prune = slot(world, { kind: 'prune', machine: null, plan: null })
      const check = slot(world, { kind: 'audit', machine: null, plan: null, tenant: null })
      await catalog.runs.plan({ runs: [backup, prune, check] })
      const skip = {
        id: backup.id,
        from: { state: 'due', attempts: 0 },
        state: 'skipped',
        skipped: 'excluded',
        nowMs: 9,
      } as const
      await catalog.runs.end(skip)
      await catalog.runs.end(skip)
      for (const { id } of [prune, check]) {
        await catalog.runs.claim({ id, owner: 'one', nowMs: 10, leaseMs: LEASE_MS })
        await catalog.runs.end({
          id,
          from: { state: 'running', owner: 'one' },
          state: 'done',
          summary: 'removed 3',
          nowMs: 11,
        })
      }
      const all = await catalog.events.after({ seq: 0, limit: 10 })
      const told = all.filter(({ kind }) => kind.startsWith('run.'))
      expect(told.map(({ kind, tenant, machine, text }) => [kind, tenant, machine, text])).toEqual([
        ['run.ended', acme.id, 'db1', 'the planned backup of db1 was skipped (excluded)'],
        ['run.started', acme.id, null, 'the removal of restore points has started'],
        ['run.ended', acme.id, null, 'the removal of restore points is done: removed 3'],
        ['run.started', null, null, 'the check of the audit log has started'],
        ['run.ended', null, null, 'the check of the audit log is done: removed 3'],
      ])
      expect(told[2]!.data).toMatchObject({ run: prune.id, kind: 'prune', state: 'done', skipped: null })
    })

    test('work by hand is running from its beginning on, and not to be claimed', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const claim = { id: randomUUID(), owner: 'one', nowMs: 2000, leaseMs: LEASE_MS }
      await catalog.runs.begin({ ...claim, tenant: acme.id, kind: 'collect', machine: null, subject: 'ann' })
      expect(await only(world)).toMatchObject({ state: 'running', by: 'ann', dueMs: 2000, attempts: 1 })
      expect(await catalog.runs.claim({ ...claim, owner: 'two', nowMs: 2050 })).toBe(false)
    })

    test('lists are narrowed, go page by page, newest first, and show no other tenant', async () => {
      await using world = await open()
      const { catalog, acme, agent } = world
      await addMachine(catalog, acme, agent, 'db2')
      const dues = [1, 2, 3, 4, 5]
      await catalog.runs.plan({
        runs: dues.flatMap((dueMs) => [
          slot(world, { dueMs }),
          slot(world, { dueMs, machine: 'db2', skipped: 'fresh' }),
        ]),
      })
      const keys = (rows: readonly RunRow[]) => rows.map(({ machine, dueMs }) => `${machine} ${dueMs}`)
      expect(keys(await list(world, { machine: 'db2', state: 'skipped' }))).toEqual(
        dues.toReversed().map((due) => `db2 ${due}`),
      )
      expect(await list(world, { machine: 'db2', state: 'due' })).toEqual([])
      expect(await list(world, { kind: 'prune' })).toEqual([])
      expect(await list(world, { tenant: world.other.id })).toEqual([])
      expect(await codeOf(list(world, { machine: 'nobody' }))).toBe('NOT_FOUND')
      const seen: string[] = []
      for (let after: RunsAsked['after'] = null; ;) {
        const page = await list(world, { after, limit: 3 })
        seen.push(...page.map(({ id }) => id))
        const last = page.at(-1)
        if (page.length < 3 || last === undefined) break
        after = { dueMs: last.dueMs, id: last.id }
      }
      expect(seen).toEqual((await list(world)).map(({ id }) => id))
    })

    test('what is due comes in the order in which it is due, page by page, while it goes on', async () => {
      await using world = await open()
      const { catalog, acme, agent } = world
      await addMachine(catalog, acme, agent, 'db2')
      const runs = [5, 1, 2, 2, 3, 4].map((dueMs, index) =>
        slot(world, { dueMs, machine: index % 2 === 0 ? 'db1' : 'db2' }),
      )
      const over = slot(world, { dueMs: 6, machine: 'db2', skipped: 'fresh' })
      const platform = [8, 7].map((dueMs) =>
        slot(world, { dueMs, tenant: null, kind: 'audit', machine: null, plan: null }),
      )
      await catalog.runs.plan({ runs: [...runs, over, ...platform] })
      const duesOf = (rows: readonly RunRow[]) => rows.map(({ dueMs }) => dueMs)
      expect(duesOf(await list(world, { state: 'due' }))).toEqual([1, 2, 2, 3, 4, 5])
      expect(duesOf(await list(world, { state: 'due', machine: 'db2' }))).toEqual([1, 2, 4])
      expect(duesOf(await list(world, { state: 'due', tenant: null }))).toEqual([7, 8])
      expect(duesOf(await list(world))).toEqual([6, 5, 4, 3, 2, 2, 1])
      const seen: RunRow[] = []
      for (let after: RunsAsked['after'] = null; ;) {
        const [run] = await list(world, { state: 'due', after, limit: 1 })
        if (run === undefined) break
        seen.push(run)
        after = run
        // one that is over as the next page is asked for takes none away
        await catalog.runs.end({
          id: run.id,
          from: { state: 'due', attempts: 0 },
          state: 'skipped',
          skipped: 'window',
          nowMs: 9,
        })
      }
      expect(duesOf(seen)).toEqual([1, 2, 2, 3, 4, 5])
      expect(new Set(seen.map(({ id }) => id)).size).toBe(6)
      expect(await list(world, { state: 'due' })).toEqual([])
    })

    test('the history is bounded by age and by number, and what is not over stays', async () => {
      await using world = await open()
      const { catalog } = world
      const old = [
        slot(world, { dueMs: 1 }),
        slot(world, { dueMs: 2, skipped: 'fresh' }),
        slot(world, { dueMs: 30, skipped: 'fresh' }),
      ]
      await catalog.runs.plan({ runs: old })
      expect(await catalog.runs.trim({ beforeMs: 30, limit: 10 })).toBe(1)
      expect(await catalog.runs.trim({ beforeMs: 30, limit: 10 })).toBe(0)
      const many = Array.from({ length: RUNS_KEPT_MAX + 5 }, (_, index) =>
        slot(world, { dueMs: 100 + index, skipped: 'missed' }),
      )
      await catalog.runs.plan({ runs: many })
      const rows = await list(world, { limit: RUNS_KEPT_MAX + 10 })
      expect(rows).toHaveLength(RUNS_KEPT_MAX + 1)
      expect(rows.at(-1)).toMatchObject({ id: old[0]!.id, state: 'due' })
      expect(rows.at(-2)!.dueMs).toBe(105)
    })

    test('the world: machines with their plans, points, jobs, exclusions and paces', async () => {
      await using world = await open()
      const { catalog, acme, agent, machine } = world
      const plan = { ...PLAN_RULES_DEFAULT, name: 'nightly', schedule: '0 1 * * *' }
      await catalog.plans.apply({ tenant: acme.id, plans: [plan] })
      await addMachine(catalog, acme, agent, 'db2')
      await addPoint(catalog, acme, machine, { timeMs: 500, nowMs: 300 })
      const job = await startJob(catalog, acme, machine, { nowMs: 600 })
      await catalog.plans.exclude({
        tenant: acme.id,
        machine: 'db2',
        exclusion: { by: 'ann', reason: 'old', sinceMs: 1, untilMs: null },
      })
      const pace = { plan: 'nightly', timing: 'x', sinceMs: 7, plannedMs: 8 }
      const run = slot(world, { dueMs: 700, skipped: 'fresh' })
      await catalog.runs.plan({
        runs: [run],
        paces: [
          { tenant: acme.id, machine: 'db1', ...pace, plannedMs: 1 },
          { tenant: acme.id, machine: 'no', ...pace },
        ],
      })
      await catalog.runs.plan({ runs: [], paces: [{ tenant: acme.id, machine: 'db1', ...pace }] })
      const { tenants, machines, runs: opened } = await catalog.runs.world()
      expect(opened).toEqual(await catalog.runs.open())
      expect(tenants).toEqual([
        { id: acme.id, name: 'acme', plans: [plan] },
        { id: world.other.id, name: 'other', plans: [] },
      ])
      const db1 = {
        tenant: acme.id,
        name: 'db1',
        group: null,
        agent,
        revoked: false,
        createdMs: 1,
        excludedUntilMs: null,
      }
      expect(machines).toEqual([
        // a point of a clock that is ahead counts from when it was committed
        { ...db1, pointMs: 301, job, jobAgent: agent, pace, lastDueMs: 700, lastEndedMs: 700 },
        {
          ...db1,
          name: 'db2',
          pointMs: null,
          job: null,
          jobAgent: null,
          excludedUntilMs: Infinity,
          pace: null,
          lastDueMs: null,
          lastEndedMs: null,
        },
      ])
      expect(await catalog.runs.machine({ tenant: acme.id, name: 'db1' })).toEqual(machines[0])
      expect(await catalog.runs.machine({ tenant: acme.id, name: 'no' })).toBeNull()
      expect(await catalog.runs.durations({ tenant: acme.id, machines: ['db1', 'db2', 'no'], limit: 5 })).toEqual({
        db1: [1],
      })
      await revokeAgent(catalog, acme, agent)
      expect((await catalog.runs.world()).machines[0]).toMatchObject({ revoked: true, job: null })
    })
  })
