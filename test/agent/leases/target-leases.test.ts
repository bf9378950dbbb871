// Leases of other programs on a real QEMU: each target continues what it has read itself, whatever others read and however its
// own leases end. Method: what a lease's exports hold and mark is compared with a model of the disks.
import { expect, test, vi } from 'vitest'
import { holderOf } from '../../../agent/leases/holder.ts'
import { TargetLeases } from '../../../agent/leases/target-leases.ts'
import { TargetNotes } from '../../../agent/leases/target-notes.ts'
import type { LeasedDisk } from '../../../agent/drivers/driver.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { LEASE_TTL_MAX_MS, LEASE_TTL_MIN_MS, TARGETS_MAX, type HeldLease } from '../../../protocol/leases.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'
import { asBase, dirtyRanges, startBench, threeDisks, type LeaseBench, type TestAgent } from '../../support/lease.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined }

interface Rig {
  readonly agent: TestAgent
  readonly leases: TargetLeases
}

/** One life of an agent with its leases. */
const rigOf = async (
  bench: LeaseBench,
  clock: HandClock,
  job: { of: string | null } = { of: null },
  before?: () => Promise<void>,
): Promise<Rig> => {
  const agent = await bench.agent(before === undefined ? {} : { before })
  const leases = new TargetLeases({
    machines: [bench.configured],
    driverOf: () => agent.driver,
    begin: (request) => agent.driver.begin(request),
    journal: agent.journal,
    stateFolder: bench.stateFolder,
    freezeTimeoutMs: 10_000,
    jobOf: () => job.of,
    clock,
    log: quiet as never,
  })
  return { agent, leases }
}

const order = (target: string, full = false) =>
  ({ machine: 'test', target, ttlMs: 60_000, full, consistency: 'none' }) as const

const diskOf = (held: HeldLease, name: string): LeasedDisk => {
  const { socket: socketPath, changed: dirtyContext, ...disk } = held.disks.find((one) => one.name === name)!
  return { ...disk, socketPath, dirtyContext } as unknown as LeasedDisk
}

/** What a lease's disk marks as changed, in chunks of 64 KiB. */
const changedOf = async (held: HeldLease, name: string): Promise<number[]> =>
  (await dirtyRanges(diskOf(held, name))).flatMap(({ offset, length }) =>
    Array.from({ length: length / 65_536 }, (_, index) => offset / 65_536 + index),
  )

const bitmapsOf = async (bench: LeaseBench): Promise<string[]> =>
  ((await bench.objects()) as { bitmaps: string[] }).bitmaps

const end = (rig: Rig, held: HeldLease, success: boolean): Promise<void> =>
  rig.leases.end({ machine: 'test', lease: held.lease, success })

test('two targets and a chain of backups each see what changed since their own last success', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const rig = await rigOf(bench, new HandClock())
  await using agent = rig.agent
  const chunk = async (index: number): Promise<void> => await bench.write('vda', index + 1, index * 65_536, 65_536)

  const first = await agent.driver.begin(bench.request())
  await first.end('committed')
  await chunk(0)
  const a1 = await rig.leases.begin(order('a'))
  expect(a1.disks.map(({ kind, reason, changed }) => [kind, reason, changed])).toEqual([
    ['full', 'first', null],
    ['full', 'first', null],
    ['full', 'first', null],
  ])
  const asRead = bench.snapshot()
  await chunk(1)
  for (const { name } of a1.disks) expect(await bench.content(diskOf(a1, name))).toEqual(asRead.get(name))
  await end(rig, a1, true)
  await chunk(2)
  const b1 = await rig.leases.begin(order('b'))
  await end(rig, b1, true)
  await chunk(3)

  const a2 = await rig.leases.begin(order('a'))
  expect([a2.base, await changedOf(a2, 'vda'), await changedOf(a2, 'vdb')]).toEqual([
    { lease: a1.lease, timeMs: a1.timeMs },
    [1, 2, 3],
    [],
  ])
  // a lease that fails is covered by the next one
  await end(rig, a2, false)
  await chunk(4)
  const a3 = await rig.leases.begin(order('a'))
  expect(await changedOf(a3, 'vda')).toEqual([1, 2, 3, 4])
  await end(rig, a3, true)
  // said twice, as its answer may have been lost
  await end(rig, a3, true)
  const b2 = await rig.leases.begin(order('b'))
  expect(await changedOf(b2, 'vda')).toEqual([3, 4])
  await end(rig, b2, true)
  const again = await rig.leases.begin(order('b', true))
  expect(again.disks.map(({ reason }) => reason)).toEqual(['requested', 'requested', 'requested'])
  await end(rig, again, false)

  const second = await agent.driver.begin(bench.request({ base: asBase(first) }))
  const changed = (await dirtyRanges(second.disks[0]!)).map(({ offset, length }) => [offset, length])
  expect(changed).toEqual([[0, 5 * 65_536]])
  await second.end('committed')
  const of = (id: string): string[] => ['vda', 'vdb', 'vdc'].map((disk, index) => `${disk} ${id} ${index}`)
  const shown = (await bitmapsOf(bench)).map((name) =>
    name.replace(/^(.*)\/varve-[0-9a-z]{8}-cp-(.*)-(\d)$/u, '$1 $2 $3'),
  )
  expect(shown.toSorted()).toEqual([...of(a3.lease), ...of(b2.lease), ...of(second.id)].toSorted())
})

test('a lease that nobody renews fails: its machine is free, and the next lease covers both', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const clock = new HandClock()
  const rig = await rigOf(bench, clock)
  await using _agent = rig.agent
  const before = await bench.objects()
  const held = await rig.leases.begin(order('a'))
  expect(held.expiresMs).toBe(clock.now() + 60_000)
  clock.advance(50_000)
  const { expiresMs } = await rig.leases.renew({ machine: 'test', lease: held.lease, ttlMs: LEASE_TTL_MIN_MS })
  expect(expiresMs).toBe(clock.now() + LEASE_TTL_MIN_MS)
  clock.advance(LEASE_TTL_MIN_MS - 1)
  expect(rig.leases.of('test')).toMatchObject({ lease: held.lease, target: 'a' })
  clock.advance(1)
  await eventually(() => rig.leases.of('test') === null)
  await expect(end(rig, held, true)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  // one without a success leaves nothing
  expect([await bench.objects(), await rig.leases.targets('test')]).toEqual([before, { targets: [] }])
})

test('one lease at a time, named; as many targets as are allowed; a removed target leaves no bitmap', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const job = { of: null as string | null }
  const rig = await rigOf(bench, new HandClock(), job)
  await using _agent = rig.agent
  const before = await bench.objects()
  const held = await rig.leases.begin(order('a'))
  const sentence = new RegExp(
    `^lease ${held.lease} of target a holds machine test, until .* UTC unless it is renewed$`,
    'u',
  )
  await expect(rig.leases.begin(order('b'))).rejects.toMatchObject({
    code: 'LEASE_HELD',
    message: expect.stringMatching(sentence),
  })
  await end(rig, held, true)
  job.of = 'job-1'
  await expect(rig.leases.begin(order('a'))).rejects.toMatchObject({
    code: 'LEASE_HELD',
    message: 'job job-1 holds the lease of test',
  })
  job.of = null
  const notes = new TargetNotes(bench.stateFolder)
  for (let count = 1; count < TARGETS_MAX; count += 1)
    await notes.change('test', `t${count}`, () => ({ target: `t${count}`, base: null, held: null }))
  await expect(rig.leases.begin(order('one-more'))).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
  for (let count = 1; count < TARGETS_MAX; count += 1) await rig.leases.remove({ machine: 'test', target: `t${count}` })
  expect(await bitmapsOf(bench)).toHaveLength(3)
  await rig.leases.remove({ machine: 'test', target: 'a' })
  expect([await bench.objects(), await rig.leases.targets('test')]).toEqual([before, { targets: [] }])
  await expect(rig.leases.remove({ machine: 'test', target: 'a' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('an agent that is killed: a lease goes on, one whose time is over fails, and a success counts from its note on', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const clock = new HandClock()
  const one = await rigOf(bench, clock)
  const first = await one.leases.begin(order('a'))
  await end(one, first, true)
  await bench.write('vda', 1, 0, 65_536)
  const held = await one.leases.begin(order('a'))
  const asRead = bench.snapshot()
  await one.leases.stop()
  await one.agent[Symbol.asyncDispose]()

  // noted when the clock was ahead
  const far = { lease: held.lease, expiresMs: clock.now() + 2 * LEASE_TTL_MAX_MS }
  await new TargetNotes(bench.stateFolder).change('test', 'a', (note) => ({ ...note!, held: far }))
  const two = await rigOf(bench, clock)
  await two.leases.resume()
  const expiresMs = clock.now() + LEASE_TTL_MAX_MS
  expect(two.leases.of('test')).toEqual({ lease: held.lease, target: 'a', expiresMs })
  await bench.write('vda', 2, 0, 65_536)
  expect(await bench.content(diskOf(held, 'vda'))).toEqual(asRead.get('vda'))
  // killed between the note of a success and its end in QEMU
  const note = (await new TargetNotes(bench.stateFolder).of('test'))[0]!
  const disks = note.base!.disks
  await new TargetNotes(bench.stateFolder).change('test', 'a', () => ({
    target: 'a',
    base: { lease: held.lease, timeMs: held.timeMs, disks },
    held: null,
  }))
  await two.leases.stop()
  await two.agent[Symbol.asyncDispose]()

  const three = await rigOf(bench, clock)
  await three.leases.resume()
  expect([three.leases.of('test'), await three.agent.journal.list()]).toEqual([null, []])
  const next = await three.leases.begin(order('a'))
  expect(next.disks.map(({ reason }) => reason)).toEqual(['bitmap', 'bitmap', 'bitmap'])
  expect([next.base?.lease, await changedOf(next, 'vda')]).toEqual([held.lease, [0]])
  await three.leases.stop()
  await three.agent[Symbol.asyncDispose]()

  clock.advance(60_001)
  const four = await rigOf(bench, clock)
  await using _agent = four.agent
  await four.leases.resume()
  expect([four.leases.of('test'), await four.agent.journal.list()]).toEqual([null, []])
  const last = await four.leases.begin(order('a'))
  expect([last.base?.lease, await changedOf(last, 'vda')]).toEqual([held.lease, [0]])
  await four.leases.giveUp()
  expect((await bitmapsOf(bench)).every((name) => name.includes(held.lease))).toBe(true)
})

test('an end is answered by what really ends the lease, and what passes ends none', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  let gate = (): Promise<void> => Promise.resolve()
  const rig = await rigOf(bench, new HandClock(), undefined, () => gate())
  await using _agent = rig.agent
  const closed = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = () => promise
    return resolve
  }
  const answers = async (held: HeldLease, open: () => void, said: readonly boolean[]): Promise<unknown> => {
    const ends = said.map((success) => end(rig, held, success))
    await settle(50)
    open()
    const settled = await Promise.allSettled(ends)
    return settled.map((one) => (one.status === 'fulfilled' ? 'ended' : (one.reason as VarveError).code))
  }
  const failing = await rig.leases.begin(order('a'))
  expect(await answers(failing, closed(), [false, true, false])).toEqual(['ended', 'NOT_FOUND', 'ended'])
  const held = await rig.leases.begin(order('a'))
  gate = () => Promise.reject(new VarveError('QMP_TIMEOUT', 'x'))
  await expect(end(rig, held, true)).rejects.toMatchObject({ code: 'QMP_TIMEOUT' })
  expect(await answers(held, closed(), [true, true])).toEqual(['ended', 'ended'])
  const next = await rig.leases.begin(order('a'))
  expect(next.base?.lease).toBe(held.lease)
  await end(rig, next, false)
})

test('a success that cannot be noted is a failure, and the machine is free', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const rig = await rigOf(bench, new HandClock())
  await using _agent = rig.agent
  const first = await rig.leases.begin(order('a'))
  await end(rig, first, true)
  const held = await rig.leases.begin(order('a'))
  using _full = vi.spyOn(TargetNotes.prototype, 'change').mockRejectedValueOnce(new Error('disk full'))
  await expect(end(rig, held, true)).rejects.toThrow('disk full')
  expect([rig.leases.of('test'), await rig.agent.journal.list()]).toEqual([null, []])
  await expect(end(rig, held, true)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await end(rig, held, false)
  const next = await rig.leases.begin(order('a'))
  expect(next.base?.lease).toBe(first.lease)
  await end(rig, next, false)
})

test('what could not be taken up at the start is taken up a little later: it goes on, or is ended', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const clock = new HandClock()
  const one = await rigOf(bench, clock)
  const held = await one.leases.begin(order('a'))
  await one.leases.stop()
  await one.agent[Symbol.asyncDispose]()
  const resumed = async (): Promise<Rig> => {
    const rig = await rigOf(bench, clock)
    vi.spyOn(rig.agent.journal, 'list').mockRejectedValueOnce(new Error('no files left'))
    await rig.leases.resume()
    expect(rig.leases.of('test')).toBe(null)
    clock.advance(30_000)
    return rig
  }
  const two = await resumed()
  await eventually(() => two.leases.of('test')?.lease === held.lease)
  await two.leases.stop()
  await two.agent[Symbol.asyncDispose]()
  await new TargetNotes(bench.stateFolder).change('test', 'a', () => null)
  const three = await resumed()
  await using _agent = three.agent
  await eventually(async () => (await three.agent.journal.list()).length === 0)
  await three.leases.giveUp()
})

test('a lease that nobody waits for any more fails, and a stop waits for those that begin', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const rig = await rigOf(bench, new HandClock())
  await using _agent = rig.agent
  const before = await bench.objects()
  const gone = rig.leases.begin(order('a'), AbortSignal.abort(new VarveError('CONNECTION_LOST', 'x')))
  await expect(gone).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  expect([rig.leases.of('test'), await bench.objects()]).toEqual([null, before])
  const late = expect(rig.leases.begin(order('a'))).rejects.toMatchObject({ code: 'GOING_AWAY' })
  await rig.leases.stop()
  expect([rig.leases.of('test'), await rig.agent.journal.list(), await bench.objects()]).toEqual([null, [], before])
  await late
})

test('holders have names of their own', () => {
  expect(holderOf('veeam')).toMatch(/^target veeam [0-9a-f]{8}$/u)
  expect(holderOf('veeam').slice(-8)).not.toBe(holderOf('veean').slice(-8))
})
