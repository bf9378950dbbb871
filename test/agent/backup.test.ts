// Backups where a real machine cannot be brought into the state: a scripted lease driver and gateway, a real journal and link.
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { Backups } from '../../agent/backup.ts'
import type { JournalEntry, LeaseJournal } from '../../agent/drivers/journal.ts'
import { Traffic } from '../../agent/status/traffic.ts'
import { openJournal } from '../../agent/drivers/registry.ts'
import type { Lease, LeaseDriver, LeasedDisk, LeaseOutcome, MachineConfig } from '../../agent/drivers/driver.ts'
import { openLog } from '../../protocol/host/log.ts'
import { GatewayLink } from '../../agent/session/link.ts'
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { POLICY_DEFAULT } from '../../protocol/schemas.ts'
import { journalled, qmpMachine } from '../support/journal-entry.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'
import { run } from '../support/run.ts'
import { ID_KEY, UploadGateway } from './image/upload-gateway.ts'
import { qemuIo, startQemuNbd } from './nbd/qemu-nbd.ts'
import { HandClock, settle } from '../support/hand-clock.ts'
import { peerPair, type PeerPair } from './session/peer-pair.ts'

const HOUR_MS = 3_600_000
const error = (code: ErrorCode): VarveError => new VarveError(code, `scripted ${code}`)

/** A lease that does what the test says, and notes how it ended. */
class ScriptedLease implements Lease {
  readonly id: string
  checkpoint = true
  disks: readonly LeasedDisk[]
  compareAll = false
  leftOut: Lease['leftOut'] = []
  readonly consistency = 'crash' as const
  readonly consistencyNote = null
  readonly timeMs = 1_700_000_000_000
  configuration = {}
  readonly losing = Promise.withResolvers<VarveError>()
  readonly lost = this.losing.promise
  /** Thrown by the next checks, in order. */
  readonly checks: VarveError[] = []
  readonly ends: LeaseOutcome[] = []
  /** What comparisons showed: of each disk the chunks, and whether its bitmap missed something. */
  readonly outcomes: [string, number, boolean][] = []
  /** Thrown instead of reading a disk in full. */
  refusal: VarveError | null = null

  constructor(id: string, disks: readonly LeasedDisk[]) {
    this.id = id
    this.disks = disks
  }

  async check(): Promise<void> {
    const failure = this.checks.shift()
    if (failure !== undefined) throw failure
  }

  scratch: Lease['scratch'] = async () => ({ usedBytes: 65_536, limitBytes: 1 << 20 })

  async compared(outcomes: Parameters<Lease['compared']>[0]): Promise<void> {
    for (const [name, { chunks, missed }] of outcomes) this.outcomes.push([name, chunks, missed])
    if (this.outcomes.some(([, , missed]) => missed) && this.refusal !== null) throw this.refusal
    const full = { kind: 'full', reason: 'changes-missed', base: null, dirtyContext: null } as const
    this.disks = this.disks.map((disk) => {
      const outcome = outcomes.get(disk.name)
      return outcome === undefined ? disk : { ...disk, ...(outcome.missed ? full : {}), comparedChunks: outcome.chunks }
    })
  }

  async end(outcome: LeaseOutcome): Promise<void> {
    this.ends.push(outcome)
  }
}

class ScriptedDriver implements LeaseDriver {
  readonly monitor = null
  begin: LeaseDriver['begin'] = () => Promise.reject(error('QMP_UNAVAILABLE'))
  adopt: LeaseDriver['adopt'] = async () => null
  readonly settled: string[] = []
  /** Thrown by the next calls of `settle`, in order. */
  readonly settleFailures: VarveError[] = []
  readonly #journal: LeaseJournal

  constructor(journal: LeaseJournal) {
    this.#journal = journal
  }

  isPassing({ code }: VarveError): boolean {
    return code.startsWith('QMP_')
  }

  // what a backup does not use
  attach(): void {}
  detach(): void {}
  async removeFiles(): Promise<void> {}
  async watchLeft(): Promise<void> {}
  whenOff: LeaseDriver['whenOff'] = async () => null
  identify: LeaseDriver['identify'] = async () => ({ uuid: null, here: true })
  attachments: LeaseDriver['attachments'] = async () => []
  look: LeaseDriver['look'] = () => Promise.reject(error('INTERNAL'))
  checkpoints: LeaseDriver['checkpoints'] = () => Promise.reject(error('INTERNAL'))
  forget: LeaseDriver['forget'] = () => Promise.reject(error('INTERNAL'))
  async [Symbol.asyncDispose](): Promise<void> {}

  async settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    const failure = this.settleFailures.shift()
    if (failure === undefined) await this.#journal.remove(entry.id)
    else await this.#journal.write({ ...entry, phase: 'ending', outcome })
    this.settled.push(`${entry.id.slice(-1)} ${outcome}${failure === undefined ? '' : ' later'}`)
    if (failure !== undefined) throw failure
  }
}

interface Bench extends AsyncDisposable {
  readonly clock: HandClock
  readonly backups: Backups
  readonly driver: ScriptedDriver
  /** As the configuration has them now. */
  readonly machines: MachineConfig[]
  readonly journal: LeaseJournal
  readonly link: GatewayLink
  readonly pairs: PeerPair[]
  /** Calls that reached the gateway, as `method` or `backup.fail CODE`. */
  readonly calls: string[]
  /** False: the gateway cannot be reached. */
  reachable: boolean
  /** Moves the clock on, with time for real input and output, until it holds. */
  until(condition: () => boolean): Promise<void>
}

const bench = async (temp: TempFolder, handlers: Handlers = {}): Promise<Bench> => {
  const clock = new HandClock()
  const journal = await openJournal(temp.path)
  const driver = new ScriptedDriver(journal)
  const calls: string[] = []
  const pairs: PeerPair[] = []
  const made = { reachable: true }
  const serving: Handlers = {
    'backup.begin': async () => ({}),
    'backup.commit': async ({ job }) => ({ point: job }),
    'backup.fail': async () => ({}),
    'backup.progress': async () => ({}),
    'session.renew': async () => ({ expiresMs: 0 }),
    ...handlers,
  }
  const noted = Object.fromEntries(
    Object.entries(serving).map(([name, handler]) => [
      name,
      (params: { code?: string }, call: never) => {
        if (name !== 'session.renew' && name !== 'backup.progress')
          calls.push(params.code === undefined ? name : `${name} ${params.code}`)
        return (handler as (params: object, call: never) => unknown)(params, call)
      },
    ]),
  ) as Handlers
  const link = new GatewayLink({
    connect: async () => {
      if (!made.reachable) throw error('CONNECTION_LOST')
      const pair = peerPair(noted, clock)
      pairs.push(pair)
      return pair.agent
    },
    assertion: async () => 'assertion',
    onOpen: async () => undefined,
    onState: () => undefined,
    clock,
    random: () => 0,
  })
  const machines = [qmpMachine('/nowhere/qmp')]
  const backups = new Backups({
    agentId: randomUUID(),
    formerAgents: [],
    machines,
    leases: { has: () => false, refuseHeld: () => undefined },
    driverOf: () => driver,
    begin: (request) => driver.begin(request),
    journal,
    stateFolder: temp.path,
    link: () => link,
    freezeTimeoutMs: 1000,
    bandwidth: null,
    traffic: new Traffic(clock),
    clock,
    log: openLog({ level: 'silent' }),
  })
  return {
    clock,
    backups,
    driver,
    machines,
    journal,
    link,
    pairs,
    calls,
    get reachable() {
      return made.reachable
    },
    set reachable(value) {
      made.reachable = value
    },
    until: async (condition) => {
      for (let step = 0; !condition(); step++) {
        if (step > 3000) throw new Error(`it never came to be: ${condition.toString()}`)
        await clock.advanceSettled(100)
        await new Promise((resolve) => void setTimeout(resolve, 1))
      }
    },
    [Symbol.asyncDispose]: async () => {
      await backups.stop()
      await link[Symbol.asyncDispose]()
    },
  }
}

const orderOf = (changes: Partial<Params<'agent.backup'>> = {}): Params<'agent.backup'> => ({
  job: randomUUID(),
  machine: 'db1',
  full: false,
  policy: POLICY_DEFAULT,
  idKey: new Uint8Array(32).fill(7),
  chunkBytes: 65_536,
  base: null,
  compare: false,
  ...changes,
})

/** Starts a backup of a lease without disks, or with those given. */
const started = (run: Bench, disks: readonly LeasedDisk[] = []): { job: string; lease: ScriptedLease } => {
  const order = orderOf()
  const lease = new ScriptedLease(order.job, disks)
  run.driver.begin = async () => lease
  run.backups.start(order)
  return { job: order.job, lease }
}

/** Until the only timers are the journal's, the next attempt to connect, the job that waits for it, and its progress. */
const waitsForGateway = async (run: Bench): Promise<void> => {
  await run.pairs.at(-1)!.agent.closed
  await settle()
  await eventually(() => run.clock.waiting === 4)
}

const idle = (run: Bench) => (): boolean => run.backups.jobOf('db1') === null

test('a backup begins, is checked, committed, and then its lease ends as committed', async () => {
  await using temp = await tempFolder()
  const commits: Params<'backup.commit'>[] = []
  // the journal is read from the disk, which may take longer than a whole backup of nothing
  const seen = Promise.withResolvers<void>()
  await using run = await bench(temp, {
    'backup.begin': async () => {
      await seen.promise
      return {}
    },
    'backup.commit': async (params) => {
      commits.push(params)
      return { point: params.job }
    },
  })
  const { job, lease } = started(run)
  expect(run.backups.jobOf('db1')).toBe(job)
  expect(await run.backups.jobs()).toEqual([job])
  seen.resolve()
  await run.until(idle(run))
  expect(run.calls).toEqual(['backup.begin', 'backup.commit'])
  const scratch = { usedBytes: 65_536, limitBytes: 1 << 20 }
  // nothing froze the guest, and the agent knows
  expect(commits).toEqual([{ job, bytesRead: 0, steps: expect.any(Array) as unknown, frozenMs: 0, scratch }])
  expect(commits[0]!.steps.map(({ step }) => step)).toEqual(['lease', 'compare', 'announce', 'check'])
  expect(lease.ends).toEqual(['committed'])
})

test('an order for an unknown machine, or for one that is being backed up, is refused', async () => {
  await using temp = await tempFolder()
  await using run = await bench(temp)
  expect(() => run.backups.start(orderOf({ machine: 'db2' }))).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
  started(run)
  expect(() => run.backups.start(orderOf())).toThrow(expect.objectContaining({ code: 'LEASE_HELD' }))
})

test('a lease that cannot begin fails the job, and what it left is settled', async () => {
  await using temp = await tempFolder()
  await using run = await bench(temp)
  const order = orderOf()
  run.driver.begin = async () => {
    await run.journal.write(journalled({ id: order.job }))
    throw error('DISK_UNSUPPORTED')
  }
  run.backups.start(order)
  await run.until(idle(run))
  expect(run.calls).toEqual(['backup.fail DISK_UNSUPPORTED'])
  expect(run.driver.settled).toEqual([`${order.job.slice(-1)} failed`])
  expect(await run.journal.list()).toEqual([])
})

test('a cancellation before the lease has begun gives it back as soon as it has', async () => {
  await using temp = await tempFolder()
  await using run = await bench(temp)
  const order = orderOf()
  const lease = new ScriptedLease(order.job, [])
  const beginning = Promise.withResolvers<Lease>()
  run.driver.begin = () => beginning.promise
  run.backups.start(order)
  run.backups.cancel(order.job)
  run.backups.cancel(randomUUID())
  beginning.resolve(lease)
  await run.until(idle(run))
  expect(run.calls).toEqual(['backup.fail CANCELLED'])
  expect(lease.ends).toEqual(['failed'])
})

test('a backup that waits for the one before begins with the machine as the configuration has it then', async () => {
  await using temp = await tempFolder()
  await using run = await bench(temp)
  const { job, lease } = started(run)
  const ending = Promise.withResolvers<void>()
  lease.end = async () => await ending.promise
  run.backups.cancel(job)
  const begun: string[] = []
  const next = orderOf()
  run.driver.begin = async ({ machine }) => {
    begun.push(machine.address)
    return new ScriptedLease(next.job, [])
  }
  run.backups.start(next)
  run.machines[0] = qmpMachine('/elsewhere/qmp')
  ending.resolve()
  await run.until(idle(run))
  expect(begun).toEqual(['/elsewhere/qmp'])
})

test('a configuration that is too long for the wire is left out', async () => {
  await using temp = await tempFolder()
  const sent: string[] = []
  await using run = await bench(temp, {
    'backup.begin': async ({ configuration }) => {
      sent.push(configuration)
      return {}
    },
  })
  const { lease } = started(run)
  lease.configuration = { text: 'x'.repeat(100_000) }
  await run.until(idle(run))
  expect(sent).toEqual(['{}'])
  expect(lease.ends).toEqual(['committed'])
})

describe('the check before the commit', () => {
  test('waits for a QMP connection that is coming back', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    const { lease } = started(run)
    lease.checks.push(error('QMP_UNAVAILABLE'), error('QMP_TIMEOUT'))
    await run.until(idle(run))
    expect(lease.ends).toEqual(['committed'])
  })

  test('gives up when QMP stays away', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    const { lease } = started(run)
    lease.checks.push(...Array.from({ length: 100 }, () => error('QMP_UNAVAILABLE')))
    await run.until(idle(run))
    expect(run.calls).toEqual(['backup.begin', 'backup.fail QMP_UNAVAILABLE'])
    expect(lease.ends).toEqual(['failed'])
  })

  test('never lets a lost lease be committed', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    const { lease } = started(run)
    lease.checks.push(error('SCRATCH_LOW'))
    await run.until(idle(run))
    expect(run.calls).toEqual(['backup.begin', 'backup.fail SCRATCH_LOW'])
    expect(lease.ends).toEqual(['failed'])
  })
})

describe('a commit', () => {
  test('whose answer was lost is asked again, and ends the lease once', async () => {
    await using temp = await tempFolder()
    const run: Bench = await bench(temp, {
      'backup.commit': async ({ job }) => {
        if (run.pairs.length === 1) run.pairs[0]!.gateway.close(error('GOING_AWAY'))
        return { point: job }
      },
    })
    const { lease } = started(run)
    await run.until(idle(run))
    expect(run.calls).toEqual(['backup.begin', 'backup.commit', 'backup.commit'])
    expect(lease.ends).toEqual(['committed'])
    await run[Symbol.asyncDispose]()
  })

  test('that was not answered in time, or could not be written just now, is asked again', async () => {
    await using temp = await tempFolder()
    let commits = 0
    await using run = await bench(temp, {
      'backup.commit': async ({ job }) => {
        commits++
        if (commits === 1) throw error('STORE_FAILED')
        if (commits === 2) await new Promise(() => undefined)
        return { point: job }
      },
    })
    const { lease } = started(run)
    await run.until(idle(run))
    expect(commits).toBe(3)
    expect(lease.ends).toEqual(['committed'])
  })

  test('that the gateway refuses gives the lease back', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp, { 'backup.commit': () => Promise.reject(error('IMAGE_INCOMPLETE')) })
    const { lease } = started(run)
    await run.until(idle(run))
    expect(run.calls).toEqual(['backup.begin', 'backup.commit', 'backup.fail IMAGE_INCOMPLETE'])
    expect(lease.ends).toEqual(['failed'])
  })

  test('is not undone by a cancellation or a loss that comes after it was asked', async () => {
    await using temp = await tempFolder()
    const answer = Promise.withResolvers<void>()
    await using run = await bench(temp, {
      'backup.commit': async ({ job }) => {
        await answer.promise
        return { point: job }
      },
    })
    const { job, lease } = started(run)
    await run.until(() => run.calls.includes('backup.commit'))
    run.backups.cancel(job)
    lease.losing.resolve(error('LEASE_LOST'))
    await run.clock.advanceSettled(1000)
    expect(lease.ends).toEqual([])
    answer.resolve()
    await run.until(idle(run))
    expect(lease.ends).toEqual(['committed'])
  })
})

/** A disk of a real export whose upload never ends, because the gateway never answers. */
const stuckUpload = async (temp: TempFolder): Promise<{ handlers: Handlers; disk: LeasedDisk } & AsyncDisposable> => {
  await writeFile(temp.join('disk.raw'), randomBytes(1024 * 1024))
  const nbd = await startQemuNbd(temp, '--read-only', '--format=raw', temp.join('disk.raw'))
  const gateway = new UploadGateway({ beforeAnswer: () => new Promise(() => undefined) })
  const disk: LeasedDisk = {
    name: 'vda',
    size: 1024 * 1024,
    kind: 'full',
    reason: 'first',
    base: null,
    evidence: '',
    comparedChunks: 0,
    socketPath: nbd.socketPath,
    exportName: 'disk',
    dirtyContext: null,
    reread: [],
  }
  return {
    handlers: { 'image.upload': gateway.serve },
    disk,
    [Symbol.asyncDispose]: () => nbd[Symbol.asyncDispose](),
  }
}

describe('before anything is announced, what is said to be unchanged is compared', () => {
  const CHUNKS = 32

  /** A disk whose bitmap shows one chunk as changed, and the real export that it is. */
  const incremental = async (temp: TempFolder): Promise<{ disk: LeasedDisk } & AsyncDisposable> => {
    const image = temp.join('disk.qcow2')
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, '2M'])
    await qemuIo(image, 'qcow2', 'write -P 1 0 2M')
    await run('qemu-img', ['bitmap', '--add', '-g', '65536', image, 'changes'])
    await qemuIo(image, 'qcow2', 'write -P 2 1M 64k')
    const nbd = await startQemuNbd(temp, '--read-only', '--format=qcow2', '-B', 'changes', image)
    const disk: LeasedDisk = {
      name: 'vdb',
      size: 2 * 1024 * 1024,
      kind: 'incremental',
      reason: 'bitmap',
      base: 'vda',
      evidence: 'qcow2',
      comparedChunks: 0,
      socketPath: nbd.socketPath,
      exportName: 'disk',
      dirtyContext: 'qemu:dirty-bitmap:changes',
      reread: [],
    }
    return { disk, [Symbol.asyncDispose]: () => nbd[Symbol.asyncDispose]() }
  }

  interface Seen {
    readonly begins: Params<'backup.begin'>[]
    readonly asked: Params<'image.compare'>[]
    readonly upload: UploadGateway
    readonly lease: ScriptedLease
    readonly calls: readonly string[]
  }

  /** A whole backup; the gateway answers each question as it is told. */
  const backUp = async (
    answer: (asked: Params<'image.compare'>) => Result<'image.compare'>,
    change: (lease: ScriptedLease) => void = () => undefined,
  ): Promise<Seen> => {
    await using temp = await tempFolder()
    await using served = await incremental(temp)
    const begins: Params<'backup.begin'>[] = []
    const asked: Params<'image.compare'>[] = []
    const upload = new UploadGateway()
    await using made = await bench(temp, {
      'image.content': async () => ({ positions: [5], next: null }),
      'image.compare': async (params) => {
        asked.push(params)
        return answer(params)
      },
      'backup.begin': async (params) => {
        begins.push(params)
        return {}
      },
      'image.upload': upload.serve,
    })
    const order = orderOf({ idKey: ID_KEY })
    const lease = new ScriptedLease(order.job, [served.disk])
    change(lease)
    made.driver.begin = async () => lease
    made.backups.start(order)
    await made.until(idle(made))
    return { begins, asked, upload, lease, calls: made.calls }
  }

  const equal = ({ positions }: Params<'image.compare'>): Result<'image.compare'> => ({
    compared: positions.length,
    different: [],
  })

  test.each([
    ['a sample', false],
    ['all of it', true],
  ])('%s, by the name that the image has in the base; the point tells how much', async (_, all) => {
    const seen = await backUp(equal, (lease) => (lease.compareAll = all))
    // a sample takes one question more, for its last content
    expect(seen.calls.slice(0, 2)).toEqual(all ? ['image.compare', 'backup.begin'] : ['image.content', 'image.compare'])
    expect(seen.calls.indexOf('backup.begin')).toBe(seen.asked.length + (all ? 0 : 1))
    expect(new Set(seen.asked.map(({ disk, job }) => `${disk} ${job}`))).toEqual(new Set([`vda ${seen.lease.id}`]))
    const clean = Array.from({ length: CHUNKS }, (_unused, position) => position).filter((position) => position !== 16)
    const asked = seen.asked.flatMap(({ positions }) => positions).toSorted((a, b) => a - b)
    expect(all ? asked : asked.filter((position) => !clean.includes(position))).toEqual(all ? clean : [])
    expect(new Set(asked).size).toBe(asked.length)
    expect(seen.lease.outcomes).toEqual([['vdb', asked.length, false]])
    const read = { name: 'vdb', size: 2 * 1024 * 1024, kind: 'incremental', reason: 'bitmap', base: 'vda' }
    expect(seen.begins[0]!.disks).toEqual([{ ...read, evidence: 'qcow2', comparedChunks: asked.length }])
    expect(seen.upload.places.filter(({ kind }) => kind !== 'keep')).toHaveLength(1)
    expect(seen.lease.ends).toEqual(['committed'])
  })

  test.each([false, true])('a difference makes it a full read, with the reason (all of it: %s)', async (all) => {
    const seen = await backUp(
      ({ positions }) => ({ compared: positions.length, different: positions.filter((position) => position === 5) }),
      (lease) => (lease.compareAll = all),
    )
    expect(seen.lease.outcomes).toEqual([['vdb', expect.any(Number), true]])
    expect(seen.begins[0]!.disks).toMatchObject([{ kind: 'full', reason: 'changes-missed', base: null }])
    expect(seen.upload.places).toHaveLength(CHUNKS)
    expect(seen.upload.places.filter(({ kind }) => kind !== 'chunk')).toEqual([])
    const content = Buffer.alloc(2 * 1024 * 1024, 1)
    content.fill(2, 1024 * 1024, 1024 * 1024 + 65_536)
    expect(seen.upload.content(content.length, 65_536).equals(content)).toBe(true)
    expect(seen.lease.ends).toEqual(['committed'])
  })

  test('a full read that the policy refuses ends the backup', async () => {
    const seen = await backUp(
      ({ positions }) => ({ compared: positions.length, different: [positions[0]!] }),
      (lease) => (lease.refusal = error('FULL_REFUSED')),
    )
    expect(seen.begins).toEqual([])
    expect(seen.calls.filter((call) => !call.startsWith('image.'))).toEqual(['backup.fail FULL_REFUSED'])
    expect(seen.lease.ends).toEqual(['failed'])
  })

  test('what the gateway cannot compare is no difference', async () => {
    const seen = await backUp(() => ({ compared: 0, different: [] }))
    expect(seen.begins[0]!.disks).toMatchObject([{ kind: 'incremental', reason: 'bitmap', comparedChunks: 0 }])
    expect(seen.lease.ends).toEqual(['committed'])
  })

  test('what is left out is announced, and a disk that is read in full is not compared', async () => {
    const leftOut = [{ name: 'cd', reason: 'read-only' }] as const
    const seen = await backUp(equal, (lease) => {
      lease.leftOut = leftOut
      lease.disks = lease.disks.map((disk) => ({
        ...disk,
        kind: 'full',
        reason: 'disk-added',
        base: null,
        dirtyContext: null,
      }))
    })
    expect(seen.asked).toEqual([])
    expect(seen.lease.outcomes).toEqual([])
    expect(seen.begins).toMatchObject([{ leftOut, disks: [{ kind: 'full', comparedChunks: 0 }] }])
  })

  test('an answer that ends the job ends the backup', async () => {
    const seen = await backUp(() => {
      throw error('JOB_ENDED')
    })
    expect(seen.begins).toEqual([])
    expect(seen.calls.at(-1)).toBe('backup.fail JOB_ENDED')
    expect(seen.lease.ends).toEqual(['failed'])
  })
})

describe('in the middle of an upload', () => {
  test.each(['LEASE_LOST', 'SCRATCH_LOW'] as const)('%s gives it up with that reason', async (code) => {
    await using temp = await tempFolder()
    await using stuck = await stuckUpload(temp)
    await using run = await bench(temp, stuck.handlers)
    const { lease } = started(run, [stuck.disk])
    await run.until(() => run.calls.includes('image.upload'))
    lease.losing.resolve(error(code))
    await run.until(idle(run))
    expect(run.calls.at(-1)).toBe(`backup.fail ${code}`)
    expect(lease.ends).toEqual(['failed'])
  })

  test('a stop leaves the lease as it is, and tells nobody that it failed', async () => {
    await using temp = await tempFolder()
    await using stuck = await stuckUpload(temp)
    await using run = await bench(temp, stuck.handlers)
    const { lease } = started(run, [stuck.disk])
    await run.until(() => run.calls.includes('image.upload'))
    await run.backups.stop()
    expect(run.backups.jobOf('db1')).toBe(null)
    expect(lease.ends).toEqual([])
    expect(run.calls).toEqual(['backup.begin', 'image.upload'])
  })

  test('an interruption gives the lease back, also while the gateway is away', async () => {
    await using temp = await tempFolder()
    await using stuck = await stuckUpload(temp)
    await using run = await bench(temp, stuck.handlers)
    const { lease } = started(run, [stuck.disk])
    await run.until(() => run.calls.includes('image.upload'))
    run.reachable = false
    run.pairs[0]!.gateway.close(error('GOING_AWAY'))
    await waitsForGateway(run)
    let over = false
    const givingUp = run.backups.giveUp().then(() => (over = true))
    await run.until(() => lease.ends.length > 0)
    expect(lease.ends).toEqual(['failed'])
    // it tries to tell the gateway, though not for ever
    await run.until(() => over)
    await givingUp
  })

  test('a gateway that stays away for more than half a day costs the lease', async () => {
    await using temp = await tempFolder()
    await using stuck = await stuckUpload(temp)
    await using run = await bench(temp, stuck.handlers)
    const { lease } = started(run, [stuck.disk])
    await run.until(() => run.calls.includes('image.upload'))
    run.reachable = false
    run.pairs[0]!.gateway.close(error('GOING_AWAY'))
    await waitsForGateway(run)
    await run.clock.advanceSettled(11 * HOUR_MS)
    expect(lease.ends).toEqual([])
    await run.clock.advanceSettled(2 * HOUR_MS)
    expect(lease.ends).toEqual(['failed'])
    run.reachable = true
    await run.until(idle(run))
    expect(run.calls.at(-1)).toBe('backup.fail CONNECTION_LOST')
  })
})

test('a stop while a commit waits for a gateway that is away leaves the lease to the next start', async () => {
  await using temp = await tempFolder()
  await using run = await bench(temp, { 'backup.commit': () => new Promise(() => undefined) })
  const { lease } = started(run)
  await run.until(() => run.calls.includes('backup.commit'))
  run.reachable = false
  run.pairs[0]!.gateway.close(error('GOING_AWAY'))
  await run.clock.advanceSettled(10_000)
  await run.backups.stop()
  expect(lease.ends).toEqual([])
})

describe('after a restart', () => {
  const entryOf = (digit: number, changes: Partial<JournalEntry> = {}): JournalEntry =>
    journalled({ id: `0192bbbb-1111-7000-8000-00000000000${digit}`, phase: 'active', ...changes })
  const keys = { idKey: new Uint8Array(32), chunkBytes: 65_536 }

  test('the gateway decides what becomes of each job of the journal', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    for (const digit of [1, 2, 3]) await run.journal.write(entryOf(digit))
    expect(await run.backups.jobs()).toEqual([1, 2, 3].map((digit) => entryOf(digit).id))
    await run.backups.reconcile([
      { job: entryOf(1).id, state: 'committed', keys: null },
      { job: entryOf(2).id, state: 'failed', keys: null },
      { job: entryOf(3).id, state: null, keys: null },
      { job: randomUUID(), state: 'committed', keys: null },
    ])
    await run.until(() => run.driver.settled.length === 3)
    expect(run.driver.settled.toSorted()).toEqual(['1 committed', '2 failed', '3 failed'])
    await run.clock.advanceSettled(100)
    expect(await run.backups.jobs()).toEqual([])
  })

  test('an outcome that the journal knows holds against what the gateway says', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    await run.journal.write(entryOf(1, { outcome: 'failed', phase: 'ending' }))
    await run.backups.reconcile([{ job: entryOf(1).id, state: 'committed', keys: null }])
    await run.until(() => run.driver.settled.length === 1)
    expect(run.driver.settled).toEqual(['1 failed'])
  })

  test('a running job goes on with its lease, and says not whether an earlier process froze the guest', async () => {
    await using temp = await tempFolder()
    const told: unknown[] = []
    await using run = await bench(temp, {
      'backup.commit': async ({ job, frozenMs }) => {
        told.push(frozenMs)
        return { point: job }
      },
    })
    const lease = new ScriptedLease(entryOf(1).id, [])
    run.driver.adopt = async () => lease
    await run.journal.write(entryOf(1))
    await run.backups.reconcile([{ job: entryOf(1).id, state: 'running', keys }])
    expect(run.backups.jobOf('db1')).toBe(entryOf(1).id)
    await run.until(idle(run))
    expect(run.calls).toEqual(['backup.begin', 'backup.commit'])
    expect(told).toEqual([null])
    expect(lease.ends).toEqual(['committed'])
    expect(run.driver.settled).toEqual([])
  })

  test('a running job whose lease did not survive fails, and what is left is removed', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    await run.journal.write(entryOf(1))
    await run.backups.reconcile([{ job: entryOf(1).id, state: 'running', keys }])
    await run.until(idle(run))
    expect(run.calls).toEqual(['backup.fail LEASE_LOST'])
    expect(run.driver.settled).toEqual(['1 failed'])
  })

  test('a job that the gateway has ended meanwhile is given up', async () => {
    await using temp = await tempFolder()
    await using stuck = await stuckUpload(temp)
    await using run = await bench(temp, stuck.handlers)
    const { job, lease } = started(run, [stuck.disk])
    await run.until(() => run.calls.includes('image.upload'))
    await run.backups.reconcile([{ job, state: 'running', keys }])
    expect(run.backups.jobOf('db1')).toBe(job)
    await run.backups.reconcile([{ job, state: 'failed', keys: null }])
    await run.until(idle(run))
    expect(lease.ends).toEqual(['failed'])
    expect(run.calls.at(-1)).toBe('backup.fail JOB_ENDED')
  })

  test('a lease that QEMU holds on to is settled later; one without an outcome waits for the gateway', async () => {
    await using temp = await tempFolder()
    await using run = await bench(temp)
    run.driver.settleFailures.push(error('QMP_UNAVAILABLE'), error('QMP_UNAVAILABLE'))
    await run.journal.write(entryOf(1))
    await run.journal.write(entryOf(2))
    await run.backups.reconcile([{ job: entryOf(1).id, state: 'committed', keys: null }])
    await run.until(() => run.driver.settled.length === 3)
    expect(run.driver.settled).toEqual(['1 committed later', '1 committed later', '1 committed'])
    await run.clock.advanceSettled(120_000)
    expect(run.driver.settled).toHaveLength(3)
    expect(await run.backups.jobs()).toEqual([entryOf(2).id])
  })
})
