// Backups from start to commit with an agent in memory and a real datastore: refusals, races, cancelling, coming back.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { Attributions } from '../../../gateway/maintenance/attribute.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { RUN, UP, type Job, type Params } from '../../../protocol/methods.ts'
import { Damager } from '../../support/damage.ts'
import { eventually } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addAgent, fullDisk, incrementalDisk, setPlan, startJob } from '../catalog.ts'
import { joinIds, type Runs } from '../chains/script.ts'
import { addTenant, CHUNK_BYTES, plainChunk } from '../datastore/fixture.ts'
import { chunksMessage, wireChunk } from '../../protocol/wire-chunks.ts'
import { Setting, started, zeroes } from './setting.ts'

test('a backup goes from its order to a restore point, which is the next one’s base', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  const { tenant, datastore } = setting.stand
  expect(setting.orders).toEqual([
    expect.objectContaining({ job, machine: 'db1', full: false, base: null, chunkBytes: tenant.chunkBytes }),
  ])
  expect(Buffer.from(setting.orders[0]!.idKey).equals(tenant.idKey)).toBe(true)
  await setting.begin(job)
  expect(await codeOf(setting.commit(job))).toBe('IMAGE_INCOMPLETE')
  const call = agent.open('image.upload', { job, disk: 'vda' })
  await call.send(zeroes(2))
  call.end()
  expect(await call.result).toEqual({ root: null })
  await setPlan(datastore.catalog, tenant, 'p', { lockDays: 2 })
  expect(await setting.commit(job)).toEqual({ point: job })
  expect(await setting.commit(job)).toEqual({ point: job })
  const point = await datastore.catalog.points.find({ tenant: tenant.id, agent: null, prefix: job })
  // the agent said 70, which was before the job
  const timeMs = setting.clock.now()
  expect(point).toMatchObject({ machine: 'db1', kind: 'full', timeMs, configuration: '{"cpu":1}', bytesRead: 9 })
  expect(point.lockedUntilMs).toBe(setting.clock.now() + 2 * 24 * 3_600_000)
  expect(await setting.view(job)).toMatchObject({ state: 'committed', subject: 'anna', error: null })
  // a finished disk answers at once, also after the commit was asked for
  await setting.start(true)
  expect(setting.orders[1]).toMatchObject({
    full: true,
    base: {
      checkpoint: job,
      agent: setting.machine.agent,
      disks: [{ name: 'vda', size: 2 * CHUNK_BYTES, reread: [] }],
    },
  })
  await setting.begin(setting.orders[1]!.job)
  const again = setting.orders[1]!.job
  for (let round = 0; round < 2; round++) {
    const upload = agent.open('image.upload', { job: again, disk: 'vda' })
    if (round === 0) await upload.send(zeroes(2))
    upload.end()
    expect(await upload.result).toEqual({ root: null })
  }
})

test('a start that the agent refuses, or does not answer, leaves a failed job with the reason', async () => {
  await using setting = await Setting.open()
  expect(await codeOf(setting.start())).toBe('AGENT_OFFLINE')
  const jobs = async () =>
    (await setting.stand.datastore.catalog.jobs.list({ ...ALL, tenant: setting.stand.tenant.id })).jobs.map(
      ({ job }) => [job.state, job.error?.code ?? null],
    )
  expect(await jobs()).toEqual([])
  setting.connect({
    'agent.backup': async () => {
      throw new VarveError('LEASE_HELD', 'busy')
    },
  })
  expect(await codeOf(setting.start())).toBe('LEASE_HELD')
  expect(await jobs()).toEqual([['failed', 'LEASE_HELD']])
  const order = Promise.withResolvers<void>()
  setting.clock.advance(1)
  const silent = setting.connect({
    'agent.backup': () => {
      order.resolve()
      return new Promise(() => {})
    },
  })
  const starting = setting.start()
  await order.promise
  silent.cut()
  expect(await codeOf(starting)).toBe('AGENT_OFFLINE')
  expect(await jobs()).toEqual([
    ['failed', 'AGENT_OFFLINE'],
    ['failed', 'LEASE_HELD'],
  ])
})

const ALL = { agent: null, machine: null, after: null, limit: 10 }

test('one machine has one backup at a time', async () => {
  await using setting = await Setting.open()
  setting.connect()
  const { job } = await setting.start()
  await expect(setting.start()).rejects.toMatchObject({ code: 'JOB_RUNNING', details: { job } })
  await setting.fail(job)
  await setting.start()
})

test('cancelling ends the job, its uploads and tells the agent; a commit that was first wins', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  await setting.begin(job)
  const call = agent.open('image.upload', { job, disk: 'vda' })
  await started(call)
  const { row } = await setting.backups.get(setting.stand.tenant, job)
  await setting.backups.cancel(row, 'anna')
  expect(await codeOf(call.result)).toBe('JOB_ENDED')
  expect(setting.cancelled).toEqual([job])
  expect(await setting.view(job)).toMatchObject({
    state: 'failed',
    error: { code: 'CANCELLED', message: 'cancelled by anna' },
  })
  expect(await codeOf(setting.commit(job))).toBe('JOB_ENDED')

  const next = await setting.start()
  await setting.begin(next.job)
  const upload = agent.open('image.upload', { job: next.job, disk: 'vda' })
  await upload.send(zeroes(2))
  upload.end()
  await upload.result
  const found = await setting.backups.get(setting.stand.tenant, next.job)
  const [committed, cancelled] = await Promise.all([
    codeOf(setting.commit(next.job)),
    codeOf(setting.backups.cancel(found.row, 'anna')),
  ])
  const { state } = await setting.view(next.job)
  expect([state, committed, cancelled]).toEqual(
    state === 'committed' ? ['committed', 'none', 'JOB_ENDED'] : ['failed', 'JOB_ENDED', 'none'],
  )
})

test('an agent that is away is cancelled all the same', async () => {
  await using setting = await Setting.open()
  const link = setting.connect()
  const { job } = await setting.start()
  setting.links.pop()
  link.cut()
  const { row } = await setting.backups.get(setting.stand.tenant, job)
  await setting.backups.cancel(row, 'anna')
  expect((await setting.view(job)).state).toBe('failed')
  expect(await setting.reconcile([job])).toEqual([{ job, state: 'failed', keys: null }])
})

test('a returning agent finds its jobs; those it does not name have lost their lease', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  const { tenant } = setting.stand
  const keys = { idKey: tenant.idKey, chunkBytes: tenant.chunkBytes }
  const unknown = randomUUID()
  expect(await setting.reconcile([job, unknown])).toEqual([
    { job, state: 'running', keys },
    { job: unknown, state: null, keys: null },
  ])
  await setting.begin(job)
  const call = agent.open('image.upload', { job, disk: 'vda' })
  await started(call)
  // handed over on the connection whose list does not have it yet
  for (const nowMs of [setting.clock.now(), 0, 2 ** 45]) {
    setting.clock.set(nowMs)
    expect(await setting.reconcile([])).toEqual([])
    expect((await setting.view(job)).state).toBe('running')
  }
  setting.connect()
  expect(await setting.reconcile([])).toEqual([])
  expect(await setting.view(job)).toMatchObject({ state: 'failed', error: { code: 'LEASE_LOST' } })
  expect(await codeOf(call.result)).toBe('JOB_ENDED')
})

test('a reason is kept in a bounded length', async () => {
  await using setting = await Setting.open()
  setting.connect()
  const { job } = await setting.start()
  const long = 'x'.repeat(100_000)
  await setting.backups.fail({ job, agent: setting.machine.agent, code: long, message: long })
  const { error } = await setting.view(job)
  expect([error!.code.length, error!.message.length]).toEqual([1024, 1024])
})

test('whoever watches is told at first, of changes, and of the end', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  const watch = agent.open('jobs.watch', { job })
  const views: Job[] = []
  const watching = (async () => {
    for await (const view of watch.messages) views.push(view)
    return watch.result
  })()
  await eventually(() => views.length === 1)
  await setting.begin(job, 4)
  const upload = agent.open('image.upload', { job, disk: 'vda' })
  const [id, plain] = [0, plainChunk()]
  await upload.send([UP.runs, [[RUN.zero, 3]]])
  const tick = async (): Promise<void> => {
    setting.clock.advance(250)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await eventually(async () => {
    await tick()
    return views.at(-1)?.disks[id]?.doneBytes === 3 * CHUNK_BYTES
  })
  await upload.send([UP.runs, [[RUN.ids, setting.stand.idOf(plain)]]])
  await upload.send(chunksMessage(UP.chunks, wireChunk(setting.stand.idOf(plain), plain)))
  upload.end()
  await upload.result
  await setting.commit(job)
  await eventually(async () => {
    await tick()
    return views.at(-1)?.state === 'committed'
  })
  await setting.backups.released(setting.machine.agent, job)
  await eventually(async () => {
    await tick()
    return Promise.race([watching.then(() => true), new Promise((resolve) => setImmediate(() => resolve(false)))])
  })
  expect(await watching).toMatchObject({
    id: job,
    state: 'committed',
    released: true,
    disks: [{ name: 'vda', doneBytes: 4 * CHUNK_BYTES }],
  })
  expect(views.some(({ released }) => released)).toBe(false)
})

test('an agent that never says that it gave the lease back is not waited for without end', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  await setting.fail(job)
  let ended: Job | null = null
  void agent.open('jobs.watch', { job }).result.then((view) => (ended = view))
  await eventually(async () => {
    setting.clock.advance(1000)
    await new Promise((resolve) => setImmediate(resolve))
    return ended !== null
  })
  expect(ended).toMatchObject({ state: 'failed', released: false })
})

test('a job that was ended beside the gateway ends its watch too', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { stand, machine } = setting
  const job = await startJob(stand.datastore.catalog, stand.tenant, machine)
  const watch = agent.open('jobs.watch', { job })
  const first = await watch.messages[Symbol.asyncIterator]().next()
  expect(first.done).toBe(false)
  const nowMs = 5000
  await stand.datastore.catalog.jobs.fail({
    job,
    agent: machine.agent,
    code: 'AGENT_REVOKED',
    message: '',
    nowMs,
  })
  await eventually(() => {
    setting.clock.advance(1000)
    return Promise.race([watch.result.then(() => true), new Promise((resolve) => setImmediate(() => resolve(false)))])
  })
  expect(await watch.result).toMatchObject({ state: 'failed', error: { code: 'AGENT_REVOKED' } })
})

test('what the machine’s plan refuses when a backup begins fails its job, and whoever watches it is told', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { stand, machine } = setting
  const { job } = await setting.start()
  // after the order, of which the agent knows only the plan before
  await setPlan(stand.datastore.catalog, stand.tenant, 'p', { refuseFull: ['first'] })
  const watch = agent.open('jobs.watch', { job })
  const begun = setting.begin(job)
  void setting.backups.released(machine.agent, job)
  await expect(begun).rejects.toMatchObject({ code: 'FULL_REFUSED', details: { disk: 'vda', reason: 'first' } })
  const error = { code: 'FULL_REFUSED', message: expect.stringMatching(/disk vda .* \(first\)/) as string }
  expect(await watch.result).toMatchObject({ state: 'failed', error, disks: [] })
  await setting.fail(job)
  expect(await setting.view(job)).toMatchObject({ state: 'failed', error })
  await setPlan(stand.datastore.catalog, stand.tenant, 'p', { refuseFull: [] })
  await setting.begin((await setting.start()).job)
})

test('a disk that the plan wants and that is left out ends the job before anything is sent', async () => {
  await using setting = await Setting.open()
  setting.connect()
  const { stand, machine, backups } = setting
  await setPlan(stand.datastore.catalog, stand.tenant, 'p', { refuseLeftOut: ['unplugged'] })
  const { job } = await setting.start()
  const leftOut = [
    { name: 'cd', reason: 'read-only' as const },
    { name: 'vdb', reason: 'unplugged' as const },
  ]
  const begun = backups.begin(machine.agent, { ...BEGIN, job, leftOut, disks: [fullDisk('vda', CHUNK_BYTES)] })
  await expect(begun).rejects.toMatchObject({ code: 'DISK_LEFT_OUT', details: { disk: 'vdb', reason: 'unplugged' } })
  expect(await setting.view(job)).toMatchObject({ state: 'failed', error: { code: 'DISK_LEFT_OUT' } })
})

test('what a machine says is unchanged is compared with the base of its running job, and nothing else', async () => {
  await using setting = await Setting.open()
  setting.connect()
  const { stand, machine, backups } = setting
  const { tenant } = stand
  const plains = [plainChunk(), null, plainChunk(), plainChunk()]
  const ids = (...which: number[]): Uint8Array =>
    joinIds(which.map((index) => (plains[index] ? stand.idOf(plains[index]) : new Uint8Array(32))))
  const ask = (job: string, more: Partial<Params<'image.compare'>> = {}, agent = machine.agent) =>
    backups.comparisons.compare(tenant, agent, { job, disk: 'vda', positions: [0, 1, 3], ids: ids(0, 1, 3), ...more })

  const first = (await setting.start()).job
  expect(await codeOf(ask(first))).toBe('NOT_FOUND')
  await setting.begin(first, plains.length)
  await stand.uploadAll({ id: first, machine }, plains)
  await setting.commit(first)
  expect(await codeOf(ask(first))).toBe('JOB_ENDED')

  const second = (await setting.start(false, true)).job
  expect(setting.orders.map(({ compare }) => compare)).toEqual([false, true])
  expect(await setting.view(second)).toMatchObject({ comparedBytes: 0 })
  // before the backup has begun, which its outcome decides
  expect(await ask(second)).toEqual({ compared: 3, different: [] })
  expect(await ask(second, { positions: [2, 3], ids: ids(3, 3) })).toEqual({ compared: 2, different: [2] })
  expect(await setting.view(second)).toMatchObject({ state: 'running', comparedBytes: 5 * CHUNK_BYTES })
  expect(await codeOf(ask(second, { positions: [4], ids: ids(0) }))).toBe('PARAMS_INVALID')
  expect(await codeOf(ask(second, { disk: 'vdb' }))).toBe('NOT_FOUND')
  expect(await codeOf(ask(randomUUID()))).toBe('NOT_FOUND')
  const other = await addAgent(stand.datastore.catalog, tenant)
  expect(await codeOf(ask(second, {}, other))).toBe('NOT_FOUND')
  await setting.fail(second)
  expect(await codeOf(ask(second))).toBe('JOB_ENDED')
  expect(await setting.view(second)).toMatchObject({ comparedBytes: 0 })
})

test('a bitmap that was found wrong is not continued again, whatever becomes of the backup that found it', async () => {
  await using setting = await Setting.open()
  setting.connect()
  const { stand, machine, backups } = setting
  const { tenant } = stand
  const plains = [plainChunk(), plainChunk()]
  const size = plains.length * CHUNK_BYTES
  const ids = (index: number): Uint8Array => stand.idOf(plains[index]!)
  const ask = (job: string, position: number, index: number) =>
    backups.comparisons.compare(tenant, machine.agent, { job, disk: 'vda', positions: [position], ids: ids(index) })
  const base = () => setting.orders.at(-1)!.base?.disks.map(({ reread, missed }) => ({ reread, missed }))
  const increment = (job: string) =>
    backups.begin(machine.agent, { ...BEGIN, job, disks: [incrementalDisk('vda', size)] })

  const first = (await setting.start()).job
  await setting.begin(first, plains.length)
  await stand.uploadAll({ id: first, machine }, plains)
  await setting.commit(first)

  // this agent goes by its bitmap before the finding, and by another sample after it
  const second = (await setting.start()).job
  expect(base()).toEqual([{ reread: [], missed: false }])
  expect(await ask(second, 0, 0)).toEqual({ compared: 1, different: [] })
  await increment(second)
  expect(await ask(second, 0, 1)).toEqual({ compared: 1, different: [0] })
  expect(await ask(second, 1, 1)).toEqual({ compared: 1, different: [1] })
  await expect(increment(second)).rejects.toMatchObject({ code: 'UPLOAD_INVALID', details: { disk: 'vda' } })
  await setting.fail(second)

  const third = (await setting.start()).job
  expect(base()).toEqual([{ reread: null, missed: true }])
  await expect(increment(third)).rejects.toMatchObject({ code: 'UPLOAD_INVALID', details: { disk: 'vda' } })
  const full = [fullDisk('vda', size, 'changes-missed')]
  await backups.begin(machine.agent, { ...BEGIN, job: third, checkpoint: false, disks: full })
  await stand.uploadAll({ id: third, machine }, plains)
  await setting.commit(third)
  // that point only read the machine: the bitmap of the one before it would be continued again
  const fourth = (await setting.start()).job
  expect(setting.orders.at(-1)!.base?.checkpoint).toBe(first)
  expect(base()).toEqual([{ reread: null, missed: true }])
  await backups.begin(machine.agent, { ...BEGIN, job: fourth, disks: full })
  await stand.uploadAll({ id: fourth, machine }, plains)
  await setting.commit(fourth)
  await setting.start()
  expect(base()).toEqual([{ reread: [], missed: false }])
})

test('a disk that moved continues its image under another name, and what is remembered of each comes back', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { stand, machine, backups } = setting
  const plains = Array.from({ length: 3 }, plainChunk)
  const size = plains.length * CHUNK_BYTES
  const first = (await setting.start()).job
  await setting.begin(first, plains.length)
  const { root } = await (await stand.uploadAll({ id: first, machine }, plains)).result
  await setting.commit(first)

  const { job } = await setting.start()
  const moved = { ...incrementalDisk('vdb', size, 'vda'), evidence: 'below vdb', comparedChunks: 2 }
  const disks = [{ ...fullDisk('vda', size, 'bitmap-missing'), evidence: 'below vda' }, moved]
  await backups.begin(machine.agent, { ...BEGIN, job, disks })
  const upload = async (disk: string, runs: Runs): Promise<unknown> => {
    const call = agent.open('image.upload', { job, disk })
    await call.send([UP.runs, runs])
    call.end()
    return (await call.result).root
  }
  expect(await upload('vdb', [[RUN.keep, plains.length]])).toEqual(root)
  expect(await upload('vda', [[RUN.zero, plains.length]])).toBeNull()
  await setting.commit(job)
  const { catalog } = stand.datastore
  const point = await catalog.points.find({ tenant: stand.tenant.id, agent: null, prefix: job })
  expect(point.disks).toMatchObject([
    { name: 'vda', root: null, kind: 'full', comparedChunks: 0 },
    { name: 'vdb', root, kind: 'incremental', comparedChunks: 2 },
  ])
  await setting.start()
  expect(setting.orders.at(-1)!.base).toEqual({
    checkpoint: job,
    agent: setting.machine.agent,
    disks: [
      { name: 'vda', size, reread: [], evidence: 'below vda', missed: false },
      { name: 'vdb', size, reread: [], evidence: 'below vdb', missed: false },
    ],
  })
})

test('a job of another tenant is not there', async () => {
  await using setting = await Setting.open()
  setting.connect()
  const { job } = await setting.start()
  const foreign = await addTenant(setting.stand.datastore, 'other')
  const words = (tenant: typeof foreign, id: string) =>
    setting.backups.get(tenant, id).then(
      () => 'found',
      (error: Error) => error.message.replace(id, 'ID'),
    )
  expect(await words(foreign, job)).toBe(await words(setting.stand.tenant, randomUUID()))
})

test('an agent begins no job of another', async () => {
  await using setting = await Setting.open()
  const { datastore, tenant } = setting.stand
  setting.connect()
  const { job } = await setting.start()
  const stranger = await addAgent(datastore.catalog, tenant)
  expect(await codeOf(setting.backups.begin(stranger, { ...BEGIN, job }))).toBe('NOT_FOUND')
})

const BEGIN = {
  timeMs: 1,
  consistency: 'crash',
  note: null,
  configuration: '{}',
  leftOut: [],
  checkpoint: true,
  disks: [],
} satisfies Partial<Params<'backup.begin'>>

test('damage that is found while a backup runs is in its point too, and the next one is told to read it again', async () => {
  await using setting = await Setting.open()
  const { stand, machine } = setting
  const { datastore, tenant } = stand
  await using attributions = new Attributions({ datastore }, (error) => {
    throw error
  })
  datastore.onDamage = (of) => attributions.soon(of)
  const { agent } = setting.connect()
  const plains = Array.from({ length: 70 }, plainChunk)
  const first = (await setting.start()).job
  await setting.begin(first, plains.length)
  await stand.uploadAll({ id: first, machine }, plains)
  await setting.commit(first)

  const second = (await setting.start()).job
  expect(setting.orders[1]!.base!.disks[0]!.reread).toEqual([])
  const disk = incrementalDisk('vda', plains.length * CHUNK_BYTES)
  const begun = {
    timeMs: 71,
    consistency: 'crash',
    note: null,
    configuration: '{}',
    leftOut: [],
    checkpoint: true,
  } satisfies Partial<Params<'backup.begin'>>
  await setting.backups.begin(machine.agent, { ...begun, job: second, disks: [disk] })
  const call = agent.open('image.upload', { job: second, disk: 'vda' })
  await call.send([UP.runs, [[RUN.keep, plains.length]]])
  call.end()
  await call.result
  const id = stand.idOf(plains[5]!)
  await new Damager(stand.folder).flip(id)
  const { quarantine } = datastore.tenantStore(tenant)
  await datastore.tenantStore(tenant).prove([id], new Uint8Array(32))
  await quarantine.attributed()
  await setting.commit(second)
  await quarantine.attributed()
  const lost = async (point: string): Promise<number[][]> =>
    (await datastore.catalog.lost.list({ tenant: tenant.id, point, disk: null, limit: 9 })).lost.map(
      ({ offset, length }) => [offset, length],
    )
  const range = [5 * CHUNK_BYTES, CHUNK_BYTES]
  expect([await lost(first), await lost(second)]).toEqual([[range], [range]])

  const third = (await setting.start()).job
  expect(setting.orders[2]!.base).toEqual({
    checkpoint: second,
    agent: machine.agent,
    disks: [{ name: 'vda', size: disk.size, reread: [range], evidence: '', missed: false }],
  })
  await setting.backups.begin(machine.agent, { ...begun, job: third, disks: [disk] })
  const healing = stand.upload({ id: third, machine })
  const { proofKey } = await healing.started()
  await healing.deliver(
    [
      [RUN.keep, 5],
      [RUN.ids, id],
      [RUN.keep, 64],
    ],
    stand.byId(plains),
    proofKey,
  )
  healing.end()
  await healing.result
  expect(healing.chunks).toBe(1)
  expect([await lost(first), await lost(second)]).toEqual([[], []])
})
