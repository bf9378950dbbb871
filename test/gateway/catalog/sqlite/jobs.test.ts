// Jobs in the catalog: from start to commit or failure, each step repeatable, and what a returning agent finds.
import path from 'node:path'
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import type { MachineRow } from '../../../../gateway/catalog/machines.ts'
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { EMPTY_STATE, encodeState } from '../../../../gateway/chains/image-builder.ts'
import type { Catalog } from '../../../../gateway/catalog/catalog.ts'
import type { BeginDisk } from '../../../../gateway/catalog/reads.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import {
  BEGUN,
  addAgent,
  addMachine,
  addPoint,
  assignMachine,
  beginJob,
  finishDisk,
  fullDisk,
  incrementalDisk,
  revokeAgent,
  setPlan,
  startJob,
} from '../../catalog.ts'
import type { Policy } from '../../../../protocol/schemas.ts'

interface Setting extends AsyncDisposable {
  readonly catalog: Catalog
  readonly tenant: Tenant
  readonly machine: MachineRow
  readonly agent: string
  /** Opens a job; its id with what other calls take. */
  start(nowMs?: number): Promise<{ id: string; agent: string; tenant: Tenant }>
}

const setUp = async (): Promise<Setting> => {
  const { catalog, acme: tenant, [Symbol.asyncDispose]: dispose } = await testAuthority()
  const agent = await addAgent(catalog, tenant)
  const machine = await addMachine(catalog, tenant, agent, 'db1')
  const start = async (nowMs = 10) => ({ id: await startJob(catalog, tenant, machine, { nowMs }), agent, tenant })
  return { catalog, tenant, machine, agent, start, [Symbol.asyncDispose]: dispose }
}

const SIZE = 8192

describe('job.start', () => {
  test('a machine has one open job', async () => {
    await using setting = await setUp()
    const first = await setting.start()
    const again = setting.start()
    await expect(again).rejects.toMatchObject({ code: 'JOB_RUNNING', details: { job: first.id } })
    const { catalog, agent } = setting
    await catalog.jobs.fail({ job: first.id, agent, code: 'X', message: 'why', nowMs: 11 })
    await setting.start()
  })

  const baseOf = async ({ catalog, tenant, machine }: Setting): Promise<string | null> => {
    const id = randomUUID()
    const args = {
      id,
      tenant: tenant.id,
      machine: machine.name,
      agent: machine.agent,
      subject: 's',
      full: false,
      compare: false,
      nowMs: 99,
    }
    const { base } = await catalog.jobs.start(args)
    await catalog.jobs.fail({ job: id, agent: machine.agent, code: 'X', message: '', nowMs: 99 })
    return base?.point ?? null
  }

  test('the base is the point committed last, whatever the host’s clock said of it', async () => {
    await using setting = await setUp()
    expect(await baseOf(setting)).toBeNull()
    const { catalog, tenant, machine } = setting
    await addPoint(catalog, tenant, machine, { timeMs: 5000, nowMs: 20 })
    const second = await addPoint(catalog, tenant, machine, { timeMs: 300, nowMs: 30 })
    expect(await baseOf(setting)).toBe(second)
    const third = await addPoint(catalog, tenant, machine, { timeMs: 6000, nowMs: 40 })
    expect(await baseOf(setting)).toBe(third)
  })

  test('one backup while a clock was ahead makes no later one full: the point made last is the base', async () => {
    await using setting = await setUp()
    const { catalog, tenant, machine } = setting
    const year = 365 * 24 * 3_600_000
    await addPoint(catalog, tenant, machine, { timeMs: 1000, nowMs: 1000 })
    const ahead = await addPoint(catalog, tenant, machine, { timeMs: 1000 + year, nowMs: 1000 + year })
    expect(await baseOf(setting)).toBe(ahead)
    for (let day = 2; day < 5; day++) {
      const next = await addPoint(catalog, tenant, machine, { timeMs: day * 1000, nowMs: day * 1000 })
      expect(await baseOf(setting)).toBe(next)
      expect(await catalog.machines.get({ tenant: tenant.id, name: 'db1' })).toMatchObject({ pointId: next })
    }
  })

  test('all is compared where somebody asked, and where the plan’s time is over', async () => {
    await using setting = await setUp()
    const { catalog, tenant, machine, agent } = setting
    const DAY_MS = 24 * 3_600_000
    const asked = { compare: false }
    /** Whether a job that starts on this day compares; `how` says what becomes of it. */
    const day = async (at: number, how: 'incremental' | 'full' | 'failed'): Promise<boolean> => {
      const id = randomUUID()
      const nowMs = 1000 + at * DAY_MS
      const args = { id, tenant: tenant.id, machine: machine.name, agent, subject: 's', full: how === 'full', nowMs }
      const { compare, base } = await catalog.jobs.start({ ...args, ...asked })
      const job = { id, agent, tenant }
      expect((await catalog.jobs.get({ tenant: tenant.id, job: id }))!.job.compare).toBe(compare)
      if (how === 'failed') {
        await catalog.jobs.fail({ job: id, agent, code: 'X', message: '', nowMs })
        return compare
      }
      const full = fullDisk('vda', SIZE, how === 'full' ? 'requested' : 'first')
      await beginJob(catalog, job, [base === null || how === 'full' ? full : incrementalDisk('vda', SIZE)])
      await finishDisk(catalog, job, 'vda')
      const figures = { bytesRead: 1, nowMs, manifest: new Uint8Array(32), lockedUntilMs: null }
      await catalog.jobs.commit({ job: id, agent, ...figures })
      return compare
    }
    expect(await day(0, 'incremental')).toBe(false)
    expect(await day(40, 'incremental')).toBe(false)
    asked.compare = true
    expect(await day(41, 'failed')).toBe(true)
    asked.compare = false
    await setPlan(catalog, tenant, 'p', { compareDays: 7 })
    // the first point was read in full, long ago
    expect(await day(42, 'failed')).toBe(true)
    expect(await day(43, 'incremental')).toBe(true)
    expect(await day(44, 'incremental')).toBe(false)
    expect(await day(49.9, 'incremental')).toBe(false)
    expect(await day(50, 'incremental')).toBe(true)
    // a full read compares all there is, and so does one that somebody asked for
    expect(await day(51, 'full')).toBe(false)
    expect(await day(57, 'incremental')).toBe(false)
    asked.compare = true
    expect(await day(57.5, 'incremental')).toBe(true)
    asked.compare = false
    expect(await day(64, 'incremental')).toBe(false)
    expect(await day(65, 'incremental')).toBe(true)
    // what ended later than now is of a clock that was ahead
    expect(await day(60, 'failed')).toBe(false)
    expect(await day(1, 'failed')).toBe(false)
    await setPlan(catalog, tenant, 'p', { compareDays: null })
    expect(await day(1000, 'failed')).toBe(false)
  })

  test('the base tells disks and sizes; it is another agent’s point only where the agent has made none', async () => {
    await using setting = await setUp()
    const { catalog, tenant, machine, agent } = setting
    const point = await addPoint(catalog, tenant, machine, { size: SIZE })
    const args = {
      tenant: tenant.id,
      machine: machine.name,
      agent,
      subject: 's',
      full: true,
      compare: false,
      nowMs: 50,
    }
    const { base } = await catalog.jobs.start({ id: randomUUID(), ...args })
    expect(base).toEqual({ point, agent, checkpoint: true, disks: [{ name: 'vda', size: SIZE }] })
    await revokeAgent(catalog, tenant, agent)
    const taken = await assignMachine(catalog, tenant, await addAgent(catalog, tenant), 'db1')
    // this agent's host may be the other's
    expect(await baseOf({ ...setting, machine: taken })).toBe(point)
  })
})

describe('job.begin', () => {
  test('the same again changes nothing, anything else is refused', async () => {
    await using setting = await setUp()
    const { catalog, agent } = setting
    const job = await setting.start()
    const disks = [fullDisk('vda', SIZE), fullDisk('vdb', 512)]
    await beginJob(catalog, job, disks)
    await finishDisk(catalog, job, 'vda')
    await beginJob(catalog, job, disks)
    expect(await catalog.jobs.upload({ job: job.id, agent, disk: 'vda' })).toMatchObject({ finished: true })
    for (const other of [
      [fullDisk('vda', SIZE)],
      [fullDisk('vda', SIZE + 1), fullDisk('vdb', 512)],
      disks.toReversed(),
    ])
      expect(await codeOf(beginJob(catalog, job, other))).toBe('UPLOAD_INVALID')
    expect(await codeOf(beginJob(catalog, job, disks, { note: 'other' }))).toBe('UPLOAD_INVALID')
  })

  test('an instant before the job or in the future is moved to where it can be, also when it is said again', async () => {
    await using setting = await setUp()
    const { catalog, tenant, machine, agent } = setting
    const state = encodeState(EMPTY_STATE)
    const disks = [fullDisk('vda', SIZE)]
    for (const [said, nowMs, taken] of [
      [0, 500, 100],
      [8.64e15, 500, 500],
      [300, 500, 300],
      // the clock was set back meanwhile: nobody knows which of the two times is right
      [300, 50, 100],
      [70, 50, 70],
      [20, 50, 50],
    ] as const) {
      const id = await startJob(catalog, tenant, machine, { nowMs: 100 })
      const begin = { job: id, agent, begun: { ...BEGUN, timeMs: said }, disks, state }
      await catalog.jobs.begin({ ...begin, nowMs })
      await catalog.jobs.begin({ ...begin, nowMs: nowMs + 1 })
      await finishDisk(catalog, { id, tenant }, 'vda')
      const { job } = await catalog.jobs.complete({ job: id, agent })
      expect(job.begun).toEqual({ ...BEGUN, timeMs: taken })
      await catalog.jobs.fail({ job: id, agent, code: 'CANCELLED', message: '', nowMs: 600 })
    }
  })

  test('what cannot be as it is announced leaves nothing begun', async () => {
    await using setting = await setUp()
    const { catalog, tenant, machine, agent } = setting
    await addPoint(catalog, tenant, machine, { size: SIZE })
    const job = await setting.start()
    const incremental = incrementalDisk('vda', SIZE)
    const full = fullDisk('vda', SIZE, 'bitmap')
    for (const disks of [
      [],
      [fullDisk('vda', 512), fullDisk('vda', 1024)],
      [{ ...incremental, size: 2 * SIZE }],
      [{ ...incremental, base: null }],
      [{ ...incremental, base: 'vdb' }],
      [incremental, { ...incremental, name: 'vdb' }],
      [full],
      [{ ...full, reason: 'first' }],
      [{ ...full, reason: 'requested' }],
      [{ ...full, reason: 'disk-added' }],
      [{ ...full, reason: 'bitmap-missing', size: 2 * SIZE }],
      [incremental, { ...full, name: 'vdb', size: 0, reason: 'disk-added' }],
      [incremental, { ...full, name: 'vdb', size: 700, reason: 'disk-added' }],
    ] satisfies BeginDisk[][])
      expect(await codeOf(beginJob(catalog, job, disks))).toBe('UPLOAD_INVALID')
    expect(await codeOf(catalog.jobs.complete({ job: job.id, agent }))).toBe('IMAGE_INCOMPLETE')
    expect(await codeOf(catalog.jobs.upload({ job: job.id, agent, disk: 'vda' }))).toBe('NOT_FOUND')
    await beginJob(catalog, job, [incremental])
    const upload = await catalog.jobs.upload({ job: job.id, agent, disk: 'vda' })
    expect(upload).toMatchObject({ hasBase: true, baseRoot: null, position: 0, machine: machine.name })
    expect(Buffer.from(upload.state)).toEqual(Buffer.from(encodeState(EMPTY_STATE)))
  })
})

describe('what the machine’s plan refuses', () => {
  test.each<[Partial<Policy>, string]>([
    [{ consistency: 'none', refuseFull: ['first'] }, 'FULL_REFUSED'],
    [{ consistency: 'freeze-required', refuseFull: [] }, 'FREEZE_REQUIRED'],
  ])('%j ends the job, and nothing of it is left', async (policy, code) => {
    await using setting = await setUp()
    const { catalog, tenant, machine, agent } = setting
    const job = await setting.start()
    // as it is when the backup begins, not as it was when it started
    await setPlan(catalog, tenant, 'p', policy, { machines: [machine.name] })
    const args = { job: job.id, agent, begun: BEGUN, state: encodeState(EMPTY_STATE), nowMs: 500 }
    const begin = () => catalog.jobs.begin({ ...args, disks: [fullDisk('vda', SIZE)] })
    const refusal = await begin()
    expect(refusal).toMatchObject({ code })
    const { job: row, uploads } = (await catalog.jobs.get({ tenant: tenant.id, job: job.id }))!
    expect(row).toMatchObject({ state: 'failed', endedMs: 500 })
    expect(row.error).toEqual({ code, message: refusal!.message })
    expect(uploads).toEqual([])
    expect(await codeOf(begin())).toBe('JOB_ENDED')
    // the machine is free for the next one
    await setting.start()
  })

  test('a backup that has begun goes on, whatever the plan says from then on', async () => {
    await using setting = await setUp()
    const { catalog, tenant, machine } = setting
    const job = await setting.start()
    await beginJob(catalog, job, [fullDisk('vda', SIZE)])
    const policy: Partial<Policy> = { consistency: 'freeze-required', refuseFull: ['first'] }
    await setPlan(catalog, tenant, 'p', policy, { machines: [machine.name] })
    await beginJob(catalog, job, [fullDisk('vda', SIZE)])
    await finishDisk(catalog, job, 'vda')
    const figures = { bytesRead: 1, nowMs: 20, manifest: new Uint8Array(32), lockedUntilMs: null }
    await catalog.jobs.commit({ job: job.id, agent: job.agent, ...figures })
  })
})

describe('the end of a job', () => {
  test('a job that has begun without any disk makes no restore point', async () => {
    await using authority = await testAuthority()
    const { catalog, acme, folder } = authority
    const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'db1')
    const job = { job: await startJob(catalog, acme, machine), agent: machine.agent }
    using sql = new Sql(path.join(folder, 'catalog.db'))
    sql.run('UPDATE job SET begun = ? WHERE id = ?', JSON.stringify(BEGUN), job.job)
    const figures = { bytesRead: 0, nowMs: 20, manifest: new Uint8Array(32), lockedUntilMs: null }
    expect(await codeOf(catalog.jobs.complete(job))).toBe('UPLOAD_INVALID')
    expect(await codeOf(catalog.jobs.commit({ ...job, ...figures }))).toBe('UPLOAD_INVALID')
    expect((await catalog.points.list({ ...LIST, tenant: acme.id })).points).toEqual([])
  })

  test('a job commits once every disk is whole, and again without effect', async () => {
    await using setting = await setUp()
    const { catalog, tenant, agent } = setting
    const job = await setting.start(10)
    const commit = (nowMs: number) =>
      catalog.jobs.commit({
        job: job.id,
        agent,
        bytesRead: 70,
        nowMs,
        manifest: new Uint8Array(32),
        lockedUntilMs: null,
      })
    expect(await codeOf(commit(20))).toBe('IMAGE_INCOMPLETE')
    expect(await codeOf(catalog.jobs.complete({ job: job.id, agent }))).toBe('IMAGE_INCOMPLETE')
    await beginJob(catalog, job, [fullDisk('vda', SIZE), fullDisk('vdb', 512)], { note: 'n', consistency: 'frozen' })
    await finishDisk(catalog, job, 'vda', new Uint8Array(32).fill(3))
    expect(await codeOf(commit(20))).toBe('IMAGE_INCOMPLETE')
    expect((await catalog.points.list({ ...LIST, tenant: tenant.id })).points).toEqual([])
    await finishDisk(catalog, job, 'vdb')
    expect((await catalog.jobs.complete({ job: job.id, agent })).uploads).toHaveLength(2)
    const figures = { kind: 'full', reason: 'first', changedBytes: 7, comparedChunks: 0 }
    await commit(25)
    await commit(99)
    const { points } = await catalog.points.list({ ...LIST, tenant: tenant.id })
    expect(points).toEqual([
      expect.objectContaining({
        id: job.id,
        machine: 'db1',
        kind: 'full',
        reason: 'first',
        consistency: 'frozen',
        note: 'n',
        base: null,
        timeMs: BEGUN.timeMs,
        bytesRead: 70,
        bytesSent: 10,
        durationMs: 15,
        disks: [
          { name: 'vda', size: SIZE, root: new Uint8Array(32).fill(3), ...figures },
          { name: 'vdb', size: 512, root: null, ...figures },
        ],
      }),
    ])
    const fail = catalog.jobs.fail({ job: job.id, agent, code: 'X', message: '', nowMs: 30 })
    expect(await codeOf(fail)).toBe('JOB_ENDED')
  })

  test('a failed job keeps its first reason and takes nothing more', async () => {
    await using setting = await setUp()
    const { catalog, tenant, agent } = setting
    const job = await setting.start()
    await beginJob(catalog, job, [fullDisk('vda', SIZE)])
    await finishDisk(catalog, job, 'vda')
    const fail = (code: string) => catalog.jobs.fail({ job: job.id, agent, code, message: 'm', nowMs: 12 })
    await fail('FIRST')
    await fail('SECOND')
    const found = await catalog.jobs.get({ tenant: tenant.id, job: job.id })
    expect(found?.job).toMatchObject({ state: 'failed', endedMs: 12, error: { code: 'FIRST', message: 'm' } })
    const late = [
      catalog.jobs.commit({
        job: job.id,
        agent,
        bytesRead: 0,
        nowMs: 13,
        manifest: new Uint8Array(32),
        lockedUntilMs: null,
      }),
      catalog.jobs.upload({ job: job.id, agent, disk: 'vda' }),
      beginJob(catalog, job, [fullDisk('vda', SIZE)]),
    ]
    expect(await Promise.all(late.map(codeOf))).toEqual(['JOB_ENDED', 'JOB_ENDED', 'JOB_ENDED'])
    expect((await catalog.points.list({ ...LIST, tenant: tenant.id })).points).toEqual([])
  })

  test('another agent’s job is as one that is not there', async () => {
    await using setting = await setUp()
    const { catalog, tenant } = setting
    const job = await setting.start()
    await beginJob(catalog, job, [fullDisk('vda', SIZE)])
    const calls = (id: string, agent: string) => [
      catalog.jobs.upload({ job: id, agent, disk: 'vda' }),
      catalog.jobs.complete({ job: id, agent }),
      catalog.jobs.commit({
        job: id,
        agent,
        bytesRead: 0,
        nowMs: 13,
        manifest: new Uint8Array(32),
        lockedUntilMs: null,
      }),
      catalog.jobs.fail({ job: id, agent, code: 'X', message: '', nowMs: 13 }),
      beginJob(catalog, { id, agent }, []),
    ]
    const stranger = await addAgent(catalog, tenant)
    const missing = randomUUID()
    const words = async (id: string) =>
      Promise.all(
        calls(id, stranger).map((call) =>
          call.then(
            () => 'done',
            (error: Error) => error.message.replace(id, 'ID'),
          ),
        ),
      )
    expect(await words(job.id)).toEqual(await words(missing))
    expect(new Set(await words(missing))).toEqual(new Set(['there is no job ID']))
  })
})

const LIST = { agent: null, machine: null, before: null, limit: 100 }

describe('job.reconcile', () => {
  test('jobs that are not named have failed, named ones have their state, those just handed over are let alone', async () => {
    await using setting = await setUp()
    const { catalog, tenant, agent } = setting
    const machines = await Promise.all(['a', 'b', 'c'].map((name) => addMachine(catalog, tenant, agent, name)))
    const [kept, lost, newer] = await Promise.all(
      machines.map((machine, index) => startJob(catalog, tenant, machine, { nowMs: 10 + index })),
    )
    const point = await addPoint(catalog, tenant, setting.machine)
    const unknown = randomUUID()
    const reconcile = () =>
      catalog.jobs.reconcile({ agent, jobs: [kept!, point, unknown], handed: [newer!], nowMs: 60 })
    expect(await reconcile()).toEqual({
      states: [
        { job: kept, state: 'running' },
        { job: point, state: 'committed' },
        { job: unknown, state: null },
      ],
      failed: [lost],
    })
    const { job } = (await catalog.jobs.get({ tenant: tenant.id, job: lost! }))!
    expect(job).toMatchObject({ state: 'failed', endedMs: 60, error: { code: 'LEASE_LOST' } })
    expect((await reconcile()).failed).toEqual([])
    const open = await catalog.jobs.get({ tenant: tenant.id, job: newer! })
    expect(open?.job.state).toBe('running')
  })

  test('no clock decides: a job from the future fails like the others', async () => {
    await using setting = await setUp()
    const { catalog, tenant, agent, machine } = setting
    const lost = await startJob(catalog, tenant, machine, { nowMs: 1000 })
    const args = { agent, jobs: [], handed: [], nowMs: 60 }
    expect(await catalog.jobs.reconcile(args)).toEqual({ states: [], failed: [lost] })
    await startJob(catalog, tenant, machine, { nowMs: 61 })
  })

  test('it says and does nothing about another agent’s jobs', async () => {
    await using setting = await setUp()
    const { catalog, tenant } = setting
    const job = await setting.start()
    const stranger = await addAgent(catalog, tenant)
    const args = { agent: stranger, jobs: [job.id], handed: [], nowMs: 60 }
    expect(await catalog.jobs.reconcile(args)).toEqual({ states: [{ job: job.id, state: null }], failed: [] })
    expect((await catalog.jobs.get({ tenant: tenant.id, job: job.id }))?.job.state).toBe('running')
  })
})
