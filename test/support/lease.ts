// A machine, a model of what its disks hold, and a lease driver over a QMP link of its own.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { LeaseJournal } from '../../agent/drivers/journal.ts'
import type {
  DriverHost,
  Lease,
  LeaseBase,
  LeaseDriver,
  LeasedDisk,
  MachineConfig,
} from '../../agent/drivers/driver.ts'
import type { Fleecing } from '../../agent/drivers/qmp/keys.ts'
import type { Mode } from '../../agent/drivers/qmp/modes.ts'
import { QmpDriver, type QmpDriverParts } from '../../agent/drivers/qmp/qmp-driver.ts'
import type { QmpCaller, QmpClient } from '../../agent/qmp/client.ts'
import { listNodes } from '../../agent/qmp/disks.ts'
import { driverHost } from './driver-host.ts'
import { qmpMachine } from './journal-entry.ts'
import { AGENT_ID, LeaseStage, nbdUri } from './lease-stage.ts'
import { TestMachine, type TestDisk } from './qemu.ts'
import { run } from './run.ts'

export const MIB = 1024 * 1024

/** A clean or changed range of a disk, as a dirty bitmap's meta context shows it. */
export interface DirtyRange {
  readonly offset: number
  readonly length: number
}

interface MapEntry extends DirtyRange {
  readonly type: number
}

/** The changed ranges of an incremental disk. */
export const dirtyRanges = async (disk: LeasedDisk): Promise<readonly DirtyRange[]> => {
  const map: MapEntry[] = JSON.parse(await run('nbdinfo', [`--map=${disk.dirtyContext}`, '--json', nbdUri(disk)]))
  return map.filter(({ type }) => type !== 0).map(({ offset, length }) => ({ offset, length }))
}

/** The bitmaps that a lease left on its disks, as `objects` shows them. */
export const checkpointsOf = (leaseId: string, disks: readonly string[]): string[] =>
  disks.map((disk, index) => `${disk}/varve-c0ffee42-cp-${leaseId}-${index}`).toSorted()

/** The base that a later lease continues from. */
export const asBase = (lease: Lease, agent = AGENT_ID): LeaseBase & { readonly checkpoint: string } => ({
  checkpoint: lease.id,
  agent,
  disks: lease.disks.map(({ name, size, evidence }) => ({ name, size, reread: [], evidence })),
})

/** Wraps a caller so that the agent "dies" at one command: from then on nothing is ever answered. */
export const dyingAt = (
  caller: QmpCaller,
  dies: (command: string) => 'before' | 'after' | null,
  die: () => void,
): QmpCaller => {
  let dead = false
  const never = new Promise<never>(() => undefined)
  return {
    version: caller.version,
    closed: never,
    subscribe: (listener) => caller.subscribe(listener),
    execute: async (command, args, options) => {
      if (dead) return await never
      const when = dies(command)
      if (when === null) return await caller.execute(command, args, options)
      dead = true
      if (when === 'after') await caller.execute(command, args, options)
      die()
      return await never
    },
  }
}

/** Wraps a caller whose commands reach QEMU with other arguments. */
const altered = (caller: QmpCaller, alter: Alter): QmpCaller => ({
  version: caller.version,
  closed: caller.closed,
  subscribe: (listener) => caller.subscribe(listener),
  execute: (command, args, options) => caller.execute(command, alter(command, args ?? {}), options),
})

type Alter = (command: string, args: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>

const preceded = (caller: QmpCaller, before: (command: string) => Promise<void>): QmpCaller => ({
  version: caller.version,
  closed: caller.closed,
  subscribe: (listener) => caller.subscribe(listener),
  execute: async (command, args, options) => {
    await before(command)
    return await caller.execute(command, args, options)
  },
})

const slowed = (caller: QmpCaller, speed: number): QmpCaller => ({
  version: caller.version,
  closed: caller.closed,
  subscribe: (listener) => caller.subscribe(listener),
  execute: async (command, args, options) => {
    if (command !== 'transaction') return await caller.execute(command, args, options)
    const { actions } = args as { readonly actions: readonly { readonly type: string; readonly data: object }[] }
    const slow = actions.map((action) =>
      action.type === 'blockdev-backup' ? { ...action, data: { ...action.data, speed } } : action,
    )
    return await caller.execute(command, { actions: slow }, options)
  },
})

type AgentOptions = Partial<Pick<DriverHost, 'reserveBytes'> & Pick<QmpDriverParts, 'freeBytes'>> & {
  readonly warn?: (details: object, message: string) => void
  readonly dies?: (command: string) => 'before' | 'after' | null
  /** Backup jobs copy so many bytes a second, until that is changed. */
  readonly speed?: number
  /** Runs before each command of the driver reaches QEMU. */
  readonly before?: (command: string) => Promise<void>
  /** Gives the arguments with which a command reaches QEMU. */
  readonly alter?: Alter
}

/** One life of an agent process: a link, a journal, a driver. */
export interface TestAgent extends AsyncDisposable {
  readonly driver: LeaseDriver
  readonly journal: LeaseJournal
  /** The QMP connection it uses now. */
  client(): QmpClient
  /** Resolves when the agent "died". */
  readonly died: Promise<void>
}

export class LeaseBench extends LeaseStage implements AsyncDisposable {
  readonly machine: TestMachine
  guestAgent: string | null = null
  /** Null for what the configuration takes by itself. */
  fleecing: Fleecing | null = null
  mode: Mode = 'pull'

  constructor(folder: string, disks: readonly TestDisk[]) {
    super(
      folder,
      'qmp',
      disks.map(({ id, size }) => ({ name: id, size })),
    )
    this.machine = new TestMachine({ folder, disks })
  }

  override get configured(): MachineConfig {
    const { guestAgent, fleecing, mode } = this
    return qmpMachine(this.machine.qmpPath, { name: 'test', guestAgent, fleecing, mode })
  }

  protected override get guest(): TestMachine {
    return this.machine
  }

  async agent({
    dies,
    before,
    alter,
    speed,
    warn = () => undefined,
    ...options
  }: AgentOptions = {}): Promise<TestAgent> {
    await mkdir(this.stateFolder, { recursive: true })
    const { promise: died, resolve } = Promise.withResolvers<void>()
    let last: QmpClient | null = null
    const between = (client: QmpClient): QmpCaller => {
      last = client
      if (before !== undefined) return preceded(client, before)
      if (alter !== undefined) return altered(client, alter)
      if (speed !== undefined) return slowed(client, speed)
      if (dies === undefined) return client
      return dyingAt(client, dies, () => {
        client.close()
        resolve()
      })
    }
    const { freeBytes, ...changes } = options
    const log = { info: () => undefined, warn }
    const host = await driverHost(this.stateFolder, { agents: [AGENT_ID], log, ...changes })
    const { runtimeFolder } = this
    const driver = new QmpDriver(host, { runtimeFolder, between, ...(freeBytes === undefined ? {} : { freeBytes }) })
    const end = (): Promise<void> => driver[Symbol.asyncDispose]()
    return { driver, journal: host.journal, died, client: () => last!, [Symbol.asyncDispose]: end }
  }

  /** Every export, job, node and bitmap in QEMU, to compare before and after. */
  async objects(): Promise<unknown> {
    const { control } = this.machine
    const nodes = await listNodes(control)
    return {
      exports: await control.execute('query-block-exports'),
      jobs: await control.execute('query-jobs'),
      nodes: nodes.map(({ node }) => node).toSorted(),
      bitmaps: nodes.flatMap(({ node, bitmaps }) => bitmaps.map(({ name }) => `${node}/${name}`)).toSorted(),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]()
  }
}

/** Starts a machine with the given disks in `folder`. */
export const startBench = async (folder: string, disks: readonly TestDisk[]): Promise<LeaseBench> => {
  const bench = new LeaseBench(folder, disks)
  await bench.machine.start()
  return bench
}

/** A qcow2 disk, a raw one and one on an iothread, 4 MiB each. */
export const threeDisks = (folder: string): readonly TestDisk[] => [
  { id: 'vda', format: 'qcow2', file: join(folder, 'a.qcow2'), size: 4 * MIB },
  { id: 'vdb', format: 'raw', file: join(folder, 'b.raw'), size: 4 * MIB },
  { id: 'vdc', format: 'qcow2', file: join(folder, 'c.qcow2'), size: 4 * MIB, iothread: true },
]
