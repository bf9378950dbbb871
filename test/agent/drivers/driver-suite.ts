// What every lease driver must do, on the real thing: exact at one instant, nothing missed, reasons, nothing foreign touched,
// nothing of ours left, whenever the agent dies. Method: each driver's test brings a host with one machine of its kind.

import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type {
  Lease,
  LeaseBase,
  LeaseDriver,
  LeaseOutcome,
  LeaseRequest,
  LeasedDisk,
  MachineConfig,
} from '../../../agent/drivers/driver.ts'
import type { Checkpoint } from '../../../protocol/methods.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { ScratchUse } from '../../../protocol/schemas.ts'
import type { JournalEntry, LeaseJournal } from '../../../agent/drivers/journal.ts'
import { asBase, MIB, type DirtyRange } from '../../support/lease.ts'
import type { Program } from '../../support/stand-program.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const KIB64 = 65_536

export type Moment = 'before' | 'after'

/** One life of an agent process. */
export interface SuiteAgent extends AsyncDisposable {
  readonly driver: LeaseDriver
  readonly journal: LeaseJournal
  /** Resolves when the agent "died". */
  readonly died: Promise<void>
}

export interface SuiteAgentOptions {
  /**
   * Asked at each step that changes something in the hypervisor: the agent does nothing more from there on, before or after
   * it.
   */
  readonly dies?: () => Moment | null
  readonly warn?: (details: object, message: string) => void
}

/** A host with one machine of the driver's kind. */
export interface SuiteHost extends AsyncDisposable {
  /**
   * How a lease keeps its content. `copies`: the guest runs and writes; what it overwrites is copied away first, and each lease
   * is a checkpoint. `locks`: the machine is off, and whatever would write is refused until the lease has ended; checkpoints
   * are made between leases, while the machine runs.
   */
  readonly holds: 'copies' | 'locks'
  readonly configured: MachineConfig
  readonly stateFolder: string
  /** Names of its disks, of 4 MiB each, full of zeroes. */
  readonly disks: readonly string[]
  agent(options?: SuiteAgentOptions): Promise<SuiteAgent>
  /** An agent of its own process that has begun the lease. */
  victim(request: LeaseRequest): Promise<Program>
  request(options?: Partial<LeaseRequest> & { readonly exclude?: readonly string[] }): LeaseRequest
  /** A committed checkpoint of the machine as it is now, and no other one. */
  checkpoint(): Promise<LeaseBase>
  /** A write of the guest; rejects where it is refused. */
  write(disk: string, pattern: number, offset: number, length: number): Promise<void>
  zero(disk: string, offset: number, length: number): Promise<void>
  /** The disks as the guest has written them up to now. */
  snapshot(): ReadonlyMap<string, Buffer>
  /** A disk's map cannot be added to: what is to be read again makes a full read. */
  readonly writesOnlyChanges?: true
  /** What an incremental disk says has changed. */
  changed(disk: LeasedDisk): Promise<readonly DirtyRange[]>
  /** All that a leased disk holds. */
  content(disk: LeasedDisk): Promise<Buffer>
  /** Makes things of somebody else's in the machine that look much like ours. */
  addForeign(): Promise<void>
  /** All that is in the machine and on the host that a driver could make or remove, in a form to be compared. */
  remains(): Promise<object>
  /** The same with the checkpoint of a lease, if it makes one, in it, and no other. */
  withCheckpoint(remains: object, leaseId: string): object
  /** Ends at once what a lease depends on: the machine, or the process that has the locks. */
  kill(): Promise<void>
  start(): Promise<void>
}

/** With so many disks, else with as many as tell the most. */
type StartHost = (folder: string, disks?: number) => Promise<SuiteHost>

const reasons = (lease: Lease): string[] => lease.disks.map(({ kind, reason }) => `${kind} ${reason}`)

const expectContent = async (host: SuiteHost, lease: Lease, expected: ReadonlyMap<string, Buffer>): Promise<void> => {
  expect(lease.disks.map(({ name }) => name)).toEqual(host.disks)
  for (const disk of lease.disks) {
    expect((await host.content(disk)).equals(expected.get(disk.name) ?? Buffer.alloc(0)), disk.name).toBe(true)
  }
}

/** Scratch space has grown by what the guest has written of each disk since `before`; what copies nothing needs none. */
const expectCopied = async (host: SuiteHost, lease: Lease, before: ScratchUse | null, bytes: number): Promise<void> => {
  const now = await lease.scratch()
  // it holds what QEMU writes of the disks, too
  if (host.writesOnlyChanges === true) return expect(now!.limitBytes).toBeGreaterThan(now!.usedBytes)
  const none = { usedBytes: 0, limitBytes: null }
  if (host.holds !== 'copies') return expect([before, now]).toEqual([none, none])
  expect(now!.usedBytes - before!.usedBytes).toBeGreaterThanOrEqual(host.disks.length * bytes)
  expect(now!.limitBytes).toBeGreaterThan(now!.usedBytes)
}

const expectClean = async (host: SuiteHost, remains: object): Promise<void> => {
  expect(await host.remains()).toEqual(remains)
  expect(await readdir(join(host.stateFolder, 'leases'))).toEqual([])
}

const entryOf = async ({ journal }: SuiteAgent): Promise<JournalEntry> => {
  const [entry] = await journal.list()
  if (entry === undefined) throw new Error('the journal is empty')
  return entry
}

/** An agent of another host. */
const ELSEWHERE = '0192aaaa-0000-7000-8000-00000badcafe'

/** The base of what follows a committed lease. */
const continued = async (host: SuiteHost, lease: Lease): Promise<LeaseBase> =>
  host.holds === 'copies' ? asBase(lease) : await host.checkpoint()

/** The guest's writes while a lease is held: they happen, or are refused and happen when `later` is called. */
const writing = async (host: SuiteHost, writes: () => Promise<void>): Promise<{ later: () => Promise<void> }> => {
  if (host.holds === 'copies') {
    await writes()
    return { later: async () => {} }
  }
  await expect(writes()).rejects.toThrow(/lock/u)
  return { later: writes }
}

/** The lease; null where the guest has a disk open just now. */
const tryToBegin = async ({ driver }: SuiteAgent, request: LeaseRequest): Promise<Lease | null> => {
  try {
    return await driver.begin(request)
  } catch (error) {
    if (error instanceof VarveError && error.code === 'DISK_IN_USE') return null
    throw error
  }
}

/** A new agent settles what the journal has; adopting is tried first, as a start does. */
const settleAll = async (host: SuiteHost, outcome: LeaseOutcome): Promise<void> => {
  await using agent = await host.agent()
  for (const entry of await agent.journal.list()) {
    const adopted = await agent.driver.adopt(entry)
    await (adopted === null ? agent.driver.settle(entry, outcome) : adopted.end(outcome))
  }
}

/** Dies at step number `at` from when it is armed. */
const counter = (at: number, moment: Moment) => {
  const seen = { count: 0, armed: true }
  const dies = (): Moment | null => {
    if (!seen.armed) return null
    seen.count += 1
    return seen.count === at ? moment : null
  }
  return { seen, dies }
}

/** More steps than any lease has. */
const STEPS_MAX = 100

const content = (startHost: StartHost): void => {
  test('full, incremental, failed and again incremental: exact at the instant, nothing missed, nothing left', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await using agent = await host.agent()
    await host.addForeign()
    const untouched = await host.remains()
    for (const disk of host.disks) await host.write(disk, 0x11, 0, 3 * KIB64)

    const atFull = host.snapshot()
    const full = await agent.driver.begin(host.request())
    expect(full).toMatchObject({ consistency: 'crash', consistencyNote: null, leftOut: [] })
    expect(new Set(reasons(full))).toEqual(new Set(['full first']))
    for (const { dirtyContext, base: from } of full.disks) expect([dirtyContext, from]).toEqual([null, null])
    const scratch = await full.scratch()
    const afterFull = await writing(host, async () => {
      for (const disk of host.disks) {
        await host.write(disk, 0x22, KIB64, KIB64)
        await host.zero(disk, 2 * KIB64, KIB64)
      }
    })
    await expectContent(host, full, atFull)
    await expectCopied(host, full, scratch, 2 * KIB64)
    await full.check()
    await full.end('committed')
    const base = await continued(host, full)
    await afterFull.later()

    const atFailed = host.snapshot()
    const failed = await agent.driver.begin(host.request({ base }))
    expect(new Set(reasons(failed))).toEqual(new Set(['incremental bitmap']))
    for (const disk of failed.disks) expect(await host.changed(disk)).toEqual([{ offset: KIB64, length: 2 * KIB64 }])
    const afterFailed = await writing(host, async () => {
      for (const disk of host.disks) await host.write(disk, 0x33, MIB, KIB64)
    })
    await expectContent(host, failed, atFailed)
    await failed.end('failed')
    await afterFailed.later()

    const atLast = host.snapshot()
    const last = await agent.driver.begin(host.request({ base }))
    for (const disk of last.disks) {
      expect(await host.changed(disk)).toEqual([
        { offset: KIB64, length: 2 * KIB64 },
        { offset: MIB, length: KIB64 },
      ])
    }
    const afterLast = await writing(host, () => host.write(host.disks[0]!, 0x44, 2 * MIB, 512))
    await expectContent(host, last, atLast)
    await last.end('committed')
    const lastBase = await continued(host, last)
    await afterLast.later()

    const next = await agent.driver.begin(host.request({ base: lastBase }))
    const [first, ...others] = await Promise.all(next.disks.map((disk) => host.changed(disk)))
    expect(first).toEqual([{ offset: 2 * MIB, length: KIB64 }])
    for (const other of others) expect(other).toEqual([])
    await next.end('failed')
    await expectClean(host, host.withCheckpoint(untouched, lastBase.checkpoint!))
  })

  test('a read that begins in what the guest has overwritten and ends in what it has not is of the instant too', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await using agent = await host.agent()
    for (const disk of host.disks) await host.write(disk, 0x11, 0, 2 * MIB)
    const expected = host.snapshot()
    const lease = await agent.driver.begin(host.request())
    const after = await writing(host, async () => {
      // the content is read in pieces that hold several of these
      for (const disk of host.disks) {
        for (let at = 0; at < 4 * MIB; at += 3 * KIB64) await host.write(disk, 0x22, at, KIB64)
        for (let at = KIB64; at < 4 * MIB; at += 9 * KIB64) await host.write(disk, 0x33, at, 512)
      }
    })
    await expectContent(host, lease, expected)
    await lease.end('failed')
    await after.later()
  })

  test('all disks are of one instant, not before its time, while the guest writes to them in turn', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await using agent = await host.agent()
    const [first = '', second = ''] = host.disks
    const writtenMs: number[] = []
    let stopped = false
    const guest = (async () => {
      for (let number = 1; !stopped && number < 256; number++) {
        await host.write(first, number, 0, 512)
        await host.write(second, number, 0, 512)
        writtenMs.push(Date.now())
      }
    })()
    // where locks hold a lease, the first refused write is the guest's last, and no lease begins beside a write
    const written = host.holds === 'copies' ? guest : guest.catch(() => undefined)
    const lease = await eventually(() => tryToBegin(agent, host.request()))
    stopped = true
    await written
    const [one = 0, other = 0] = await Promise.all(
      [first, second].map(async (name) => (await host.content(lease.disks.find((disk) => disk.name === name)!))[0]),
    )
    expect([other, other + 1], 'of one instant').toContain(one)
    expect(other).toBeGreaterThanOrEqual(writtenMs.filter((ms) => ms < lease.timeMs).length)
    await lease.end('failed')
  })
}

const decisions = (startHost: StartHost): void => {
  test('a reason for every full read, and a policy that refuses it leaves nothing', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const base = await host.checkpoint()
    const { disks } = base
    const untouched = await host.remains()
    const changed = (changes: Partial<LeaseBase['disks'][number]>): LeaseBase => ({
      ...base,
      disks: disks.map((disk) => ({ ...disk, ...changes })),
    })
    const cases: [string, Partial<LeaseRequest>][] = [
      ['incremental bitmap', { base }],
      ['full first', { base: null }],
      ['full requested', { base, full: true }],
      ['full disk-added', { base: { ...base, checkpoint: 'another-lease', disks: [] } }],
      ['full bitmap-missing', { base: { ...base, checkpoint: 'another-lease' } }],
      ['full moved', { base: { ...base, checkpoint: 'another-lease', agent: ELSEWHERE } }],
      ['full no-bitmap', { base: { ...base, checkpoint: null } }],
      ['full size-changed', { base: changed({ size: MIB }) }],
      ['full backing-changed', { base: changed({ evidence: null }) }],
      ['full base-damaged', { base: changed({ reread: null }) }],
      ['full changes-missed', { base: changed({ reread: null, missed: true }) }],
    ]
    await using agent = await host.agent()
    for (const [expected, options] of cases) {
      const reason = expected.split(' ')[1] as LeaseRequest['refuseFull'][number]
      if (reason !== 'bitmap') {
        const refused = agent.driver.begin(host.request({ ...options, refuseFull: [reason] }))
        const details = { disk: host.disks[0], reason }
        await expect(refused, reason).rejects.toMatchObject({ code: 'FULL_REFUSED', details })
      } else {
        const lease = await agent.driver.begin(host.request(options))
        expect(new Set(reasons(lease))).toEqual(new Set([expected]))
        await lease.end('failed')
      }
    }
    await expectClean(host, untouched)
  })

  test('a disk continues the image that its checkpoint is of, whatever it was called, with what is to be read again', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const base = await host.checkpoint()
    await using agent = await host.agent()
    const reread: [number, number][] = [[MIB, KIB64]]
    const renamed = base.disks.map((disk, index) => ({ ...disk, name: `was-${index}`, reread: [...reread] }))
    const lease = await agent.driver.begin(host.request({ base: { ...base, disks: renamed } }))
    if (host.writesOnlyChanges === true) {
      expect(new Set(reasons(lease))).toEqual(new Set(['full base-damaged']))
      await lease.end('failed')
      for (const disk of renamed) disk.reread.splice(0)
    } else {
      for (const disk of lease.disks) expect(disk.reread).toEqual(reread)
      await lease.end('failed')
    }
    const other = await agent.driver.begin(host.request({ base: { ...base, disks: renamed } }))
    expect(other.disks.map(({ kind, base: from }) => [kind, from])).toEqual(
      host.disks.map((_, index) => ['incremental', `was-${index}`]),
    )
    await other.end('failed')
  })

  test('what a comparison found wrong is read in full from then on, whatever became of its backup and of the names', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const base = await host.checkpoint()
    for (const disk of host.disks) await host.write(disk, 0x11, KIB64, KIB64)
    const expected = host.snapshot()
    const [wrong = '', ...right] = host.disks
    const kinds = ({ disks }: Lease): string[] => disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)
    const increments = right.map((name) => `${name} incremental bitmap`)
    const full = [`${wrong} full changes-missed`, ...increments]
    {
      await using agent = await host.agent()
      const finding = await agent.driver.begin(host.request({ base }))
      await finding.compared(new Map([[wrong, { chunks: 7, missed: true }]]))
      expect(kinds(finding)).toEqual(full)
      await expectContent(host, finding, expected)
      await finding.end('failed')
    }
    // what the agent kept is gone with the lease: the gateway says it, of the disk by the name that it has in the base
    const disks = base.disks.map((disk, index) =>
      index === 0 ? { ...disk, name: `was-${disk.name}`, reread: null, missed: true } : disk,
    )
    await using agent = await host.agent()
    for (let lease = 0; lease < 2; lease++) {
      const next = await agent.driver.begin(host.request({ base: { ...base, disks } }))
      expect(kinds(next)).toEqual(full)
      await expectContent(host, next, expected)
      await next.end('failed')
    }
  })

  test('disks that the configuration excludes, or that are there no more, are named or refused', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const base = await host.checkpoint()
    const [first = '', ...others] = host.disks
    const asked = {
      base: { ...base, disks: [...base.disks, { ...base.disks[0]!, name: 'gone' }] },
      exclude: [first],
    }
    await using agent = await host.agent()
    for (const [name, reason] of [
      [first, 'excluded'],
      ['gone', 'unplugged'],
    ] as const)
      await expect(agent.driver.begin(host.request({ ...asked, refuseLeftOut: [reason] }))).rejects.toMatchObject({
        code: 'DISK_LEFT_OUT',
        details: { disk: name, reason },
      })
    const lease = await agent.driver.begin(host.request(asked))
    expect(lease.disks.map(({ name }) => name)).toEqual(others)
    expect(lease.leftOut).toEqual([
      { name: first, reason: 'excluded' },
      { name: 'gone', reason: 'unplugged' },
    ])
    await lease.end('failed')
    await expect(agent.driver.begin(host.request({ exclude: host.disks }))).rejects.toMatchObject({
      code: 'DISK_UNSUPPORTED',
    })
  })

  test('a committed lease is listed with what was written since, as a whole checkpoint, and after kill -9 no longer so', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await host.addForeign()
    const base = await host.checkpoint()
    const { checkpoint } = base
    await host.write(host.disks[0]!, 0x55, KIB64, 2 * KIB64)
    await using agent = await host.agent()
    const untouched = await host.remains()
    const list = async (): Promise<Checkpoint[]> => (await agent.driver.checkpoints(host.configured)).checkpoints
    const isOurs = ({ point }: Checkpoint): boolean => point === checkpoint
    const listed = await list()
    const runs = host.holds === 'copies'
    const sized = host.disks.map((name, index) => ({ name, bytes: runs ? (index === 0 ? 2 * KIB64 : 0) : null }))
    const whole = sized.map((disk) => ({ ...disk, health: 'whole' }))
    expect(listed.filter(isOurs)).toMatchObject([{ own: true, parent: null, timeMs: null, disks: whole }])
    const theirs = listed.find(({ name }) => name === 'theirs')
    expect(theirs).toMatchObject({ own: false, point: null, disks: [{ name: host.disks[0] }] })
    expect(await host.remains(), 'nothing is left of the look').toEqual(untouched)

    const lease = await agent.driver.begin(host.request({ base }))
    const during = await list()
    expect(during.some(({ name }) => name === 'theirs')).toBe(true)
    const ours = during.filter(isOurs)
    expect(ours.map(({ disks }) => disks.map(({ name }) => name))).toEqual([host.disks])
    // not every hypervisor tells more while a backup runs
    for (const { health } of ours.flatMap(({ disks }) => disks)) expect(['whole', 'unknown']).toContain(health)
    expect(during.some(({ point }) => point === lease.id)).toBe(runs)
    await lease.end('failed')

    await host.kill()
    await host.start()
    const after = (await eventually(() => list().catch(() => null))).filter(isOurs)
    const healths = new Set(after.flatMap(({ disks }) => disks.map(({ health }) => health)))
    if (runs) expect(healths.has('whole')).toBe(false)
    else expect(healths).toEqual(new Set(['whole']))
  })

  test('one lease on a machine at a time, and ids that are no names', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await using agent = await host.agent()
    const lease = await agent.driver.begin(host.request())
    await expect(agent.driver.begin(host.request())).rejects.toMatchObject({ code: 'LEASE_HELD' })
    await expect(agent.driver.forget(host.configured, null)).rejects.toMatchObject({ code: 'LEASE_HELD' })
    await lease.end('failed')
    await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await expect(agent.driver.begin(host.request({ leaseId: '../../etc' }))).rejects.toMatchObject({
      code: 'PARAMS_INVALID',
    })
  })
}

const deaths = (startHost: StartHost): void => {
  test.each(['first', 'later'] as const)('death at any step of a %s begin', async (which) => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path, 2)
    await host.addForeign()
    const base = which === 'first' ? null : await host.checkpoint()
    await host.write(host.disks[0]!, 0x11, 0, KIB64)
    const untouched = await host.remains()
    for (let at = 1; ; at++) {
      expect(at).toBeLessThan(STEPS_MAX)
      let outcome = 'begun'
      for (const moment of ['before', 'after'] as const) {
        const { dies } = counter(at, moment)
        await using agent = await host.agent({ dies })
        const begun = agent.driver.begin(host.request({ base }))
        outcome = await Promise.race([begun.then(() => 'begun'), agent.died.then(() => 'died')])
        await agent[Symbol.asyncDispose]()
        await settleAll(host, 'failed')
        await expectClean(host, untouched)
        if (outcome === 'begun') break
      }
      if (outcome === 'begun') break
    }
  })

  test.each(['committed', 'failed'] as const)('death at any step of an end as %s', async (outcome) => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path, 2)
    // where a lease is no checkpoint, all of them continue one that stays
    const kept = host.holds === 'copies' ? null : await host.checkpoint()
    const bare = await host.remains()
    let base = kept
    for (let at = 1; ; at++) {
      expect(at).toBeLessThan(STEPS_MAX)
      const { dies, seen } = counter(at, at % 2 === 0 ? 'before' : 'after')
      seen.armed = false
      await using agent = await host.agent({ dies })
      const lease: Lease = await agent.driver.begin(host.request({ base }))
      seen.armed = true
      const how = await Promise.race([lease.end(outcome).then(() => 'ended'), agent.died.then(() => 'died')])
      await agent[Symbol.asyncDispose]()
      // what was journalled holds, whatever is said later
      await settleAll(host, outcome === 'committed' ? 'failed' : 'committed')
      await expectClean(host, outcome === 'committed' ? host.withCheckpoint(bare, lease.id) : bare)
      base = outcome === 'committed' && kept === null ? asBase(lease) : kept
      if (how === 'ended') break
    }
  })

  test('a killed agent’s lease is adopted: same instant, same bytes, in nobody’s way but a new one’s, and it ends cleanly', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const untouched = await host.remains()
    for (const disk of host.disks) await host.write(disk, 0x11, 0, MIB)
    const expected = host.snapshot()
    const request = host.request()
    await using victim = await host.victim(request)
    await victim.end('SIGKILL')
    await writing(host, async () => {
      for (const disk of host.disks) await host.write(disk, 0x22, 0, MIB)
    })

    await using agent = await host.agent()
    const entry = await entryOf(agent)
    expect(entry).toMatchObject({ id: request.leaseId, phase: 'active', outcome: null })
    await expect(agent.driver.begin(host.request())).rejects.toMatchObject({ code: 'LEASE_HELD' })
    const adopted = await agent.driver.adopt(entry)
    if (adopted === null) throw new Error('the lease was not adopted')
    expect(adopted).toMatchObject({ id: entry.id, timeMs: entry.timeMs, configuration: entry.configuration })
    await expectContent(host, adopted, expected)
    await adopted.check()
    await adopted.end('failed')
    await expectClean(host, untouched)
  })

  test('a lease is lost with what it depends on, and nothing is left of it once the machine is back', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const untouched = await host.remains()
    await using agent = await host.agent()
    expect(await agent.driver.look(host.configured)).toMatchObject({
      reachable: true,
      problem: null,
      disks: host.disks.map((name) => ({ name, size: 4 * MIB })),
    })
    const lease = await agent.driver.begin(host.request())
    await host.kill()
    expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST' })
    await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
    // a machine that is off needs nothing that runs
    const gone =
      host.holds === 'copies'
        ? { reachable: false, problem: expect.any(String), disks: [] }
        : { reachable: true, problem: null, runState: 'shut off' }
    expect(await agent.driver.look(host.configured)).toMatchObject(gone)
    await lease.end('failed').catch(() => undefined)
    await host.start()
    for (const entry of await agent.journal.list()) await agent.driver.settle(entry, 'failed')
    await expectClean(host, untouched)
  })
}

const journal = (startHost: StartHost): void => {
  test('an entry of another version holds its machine, and is left as it is with all that it tells of', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    const request = host.request()
    await using victim = await host.victim(request)
    await victim.end('SIGKILL')
    const file = join(host.stateFolder, 'leases', `${request.leaseId}.json`)
    const text = (await readFile(file, 'utf8')).replace(/"payloadVersion":\d+/u, '"payloadVersion":99')
    await writeFile(file, text)
    const before = await host.remains()

    const warned = Promise.withResolvers<void>()
    await using agent = await host.agent({ warn: () => warned.resolve() })
    expect([await agent.journal.list(), await agent.journal.listUnknown()]).toMatchObject([[], [{ file }]])
    const held = { code: 'LEASE_HELD', message: expect.stringContaining(file) }
    await expect(agent.driver.begin(host.request())).rejects.toMatchObject(held)
    await expect(agent.driver.forget(host.configured, null)).rejects.toMatchObject(held)
    agent.driver.attach(host.configured)
    await warned.promise
    expect(await host.remains()).toEqual(before)
    expect(await readFile(file, 'utf8')).toBe(text)
  })

  test('what is left of a lease whose entry was damaged goes as soon as the machine is attached', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await host.addForeign()
    const untouched = await host.remains()
    const request = host.request()
    await using victim = await host.victim(request)
    await victim.end('SIGKILL')
    await writeFile(join(host.stateFolder, 'leases', `${request.leaseId}.json`), 'damaged')
    await using agent = await host.agent()
    agent.driver.attach(host.configured)
    // its checkpoint goes with the next lease
    const cleared = host.withCheckpoint(untouched, request.leaseId)
    await eventually(async () => JSON.stringify(await host.remains()) === JSON.stringify(cleared))
  })

  test('forgetting removes the checkpoints and nothing else; the next read is full', async () => {
    await using folder = await tempFolder()
    await using host = await startHost(folder.path)
    await host.addForeign()
    const untouched = await host.remains()
    const base = await host.checkpoint()
    expect(await host.remains()).not.toEqual(untouched)
    await using agent = await host.agent()
    await agent.driver.forget(host.configured, null)
    await expectClean(host, untouched)
    const lease = await agent.driver.begin(host.request({ base }))
    expect(new Set(reasons(lease))).toEqual(new Set(['full bitmap-missing']))
    await lease.end('failed')
  })
}

/** Holds a driver to all of it. */
export const driverSuite = (startHost: StartHost): void => {
  describe('content', () => content(startHost))
  describe('decisions', () => decisions(startHost))
  describe('deaths', () => deaths(startHost))
  describe('journal', () => journal(startHost))
}
