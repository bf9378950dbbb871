// A libvirt domain, a model of what its disks hold, and a lease driver with a link to libvirt of its own.

import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import type { DriverHost, LeaseDriver, MachineConfig } from '../../agent/drivers/driver.ts'
import type { LeaseJournal } from '../../agent/drivers/journal.ts'
import { addressOf } from '../../agent/drivers/libvirt/keys.ts'
import { LibvirtDriver, type LibvirtDriverParts } from '../../agent/drivers/libvirt/libvirt-driver.ts'
import type { LibvirtConnection } from '../../agent/libvirt/connection.ts'
import type { LibvirtCaller } from '../../agent/libvirt/types.ts'
import { driverHost } from './driver-host.ts'
import { MIB } from './lease.ts'
import { AGENT_ID, LeaseStage } from './lease-stage.ts'
import {
  startLibvirt,
  type TestDomain,
  type TestDomainDisk,
  type TestDomainOptions,
  type TestLibvirt,
} from './libvirt.ts'
import { qmpCommand } from './libvirt-calls.ts'

/** Calls that change something in libvirt or in the machine. */
const CHANGES: ReadonlySet<string> = new Set([
  'backupBegin',
  'abortJob',
  'checkpointCreate',
  'checkpointDelete',
  'fsFreeze',
  'fsThaw',
  'resume',
  'suspend',
])

type Moment = 'before' | 'after'

interface Intercepting {
  /** Asked at each call that changes something. */
  readonly dies?: (() => Moment | null) | undefined
  readonly die?: () => void
  /** Runs before each call. */
  readonly before?: ((call: string) => Promise<void>) | undefined
}

/** Wraps a caller so that the agent "dies" at one call: from then on nothing is ever answered. */
const intercepted = (caller: LibvirtCaller, { dies, die, before }: Intercepting): LibvirtCaller => {
  let dead = false
  const never = new Promise<never>(() => undefined)
  return new Proxy(caller, {
    get: (target, property) => {
      if (property === 'closed' && dies !== undefined) return never
      const value: unknown = Reflect.get(target, property, target)
      if (typeof value !== 'function') return value
      const act = (args: unknown[]): unknown => Reflect.apply(value, target, args)
      if (property === 'subscribe' || property === 'close') return (...args: unknown[]) => act(args)
      return async (...args: unknown[]) => {
        if (dead) return await never
        await before?.(String(property))
        const when = CHANGES.has(String(property)) ? (dies?.() ?? null) : null
        if (when === null) return await act(args)
        dead = true
        if (when === 'after') await act(args)
        die?.()
        return await never
      }
    },
  })
}

export interface LibvirtAgentOptions extends Pick<Intercepting, 'dies' | 'before'> {
  readonly warn?: (details: object, message: string) => void
  readonly reserveBytes?: number
  readonly freeBytes?: LibvirtDriverParts['freeBytes']
}

/** One life of an agent process. */
export interface LibvirtTestAgent extends AsyncDisposable {
  readonly driver: LeaseDriver
  readonly journal: LeaseJournal
  readonly host: DriverHost
  readonly died: Promise<void>
}

/** Disks with bitmaps, 4 MiB each. */
export const qcow2Disks = (folder: string, count = 3): TestDomainDisk[] =>
  ['vda', 'vdb', 'vdc'].slice(0, count).map((target) => ({
    target,
    format: 'qcow2',
    file: path.join(folder, `${target}.qcow2`),
    size: 4 * MIB,
  }))

interface Node {
  readonly 'node-name'?: string
  readonly drv: string
  readonly file: string
  readonly 'dirty-bitmaps'?: readonly { readonly name?: string }[]
}

/** Names of the bitmaps and the checkpoint that a lease left. */
export const checkpointOf = (leaseId: string): string => `varve-c0ffee42-cp-${leaseId}`

export class LibvirtBench extends LeaseStage implements AsyncDisposable {
  readonly libvirt: TestLibvirt
  readonly testDisks: readonly TestDomainDisk[]
  domain: TestDomain

  constructor(folder: string, libvirt: TestLibvirt, domain: TestDomain) {
    const { disks } = domain.options
    super(
      folder,
      'libvirt',
      disks.map(({ target, size }) => ({ name: target, size })),
    )
    this.libvirt = libvirt
    this.domain = domain
    this.testDisks = disks
  }

  get disks(): string[] {
    return [...this.model.keys()]
  }

  protected override get guest(): TestDomain {
    return this.domain
  }

  override get configured(): MachineConfig {
    const keys = { domain: this.domain.name, uri: this.libvirt.uri }
    return { name: 'test', driver: 'libvirt', address: addressOf(keys), keys, exclude: [], attach: [] }
  }

  async agent({
    dies,
    before,
    warn = () => undefined,
    ...options
  }: LibvirtAgentOptions = {}): Promise<LibvirtTestAgent> {
    await mkdir(this.stateFolder, { recursive: true })
    const { promise: died, resolve } = Promise.withResolvers<void>()
    const { freeBytes, ...changes } = options
    const between = (connection: LibvirtConnection): LibvirtCaller =>
      dies === undefined && before === undefined ? connection : intercepted(connection, { dies, before, die: resolve })
    const log = { info: () => undefined, warn }
    const host = await driverHost(this.stateFolder, { agents: [AGENT_ID], log, ...changes })
    const { runtimeFolder } = this
    const parts = { runtimeFolder, between, ...(freeBytes === undefined ? {} : { freeBytes }) }
    const driver = new LibvirtDriver(host, parts)
    return { driver, journal: host.journal, host, died, [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose]() }
  }

  /** Names of libvirt's checkpoints. */
  async checkpoints(): Promise<string[]> {
    const found = await this.libvirt.control.listCheckpoints(this.domain.domain)
    return found.map(({ name }) => name).toSorted()
  }

  /** Names of Varve's bitmaps in QEMU, each once. */
  async recorded(): Promise<string[]> {
    const { bitmaps } = (await this.remains()) as { bitmaps: readonly string[] }
    const names = bitmaps.map((bitmap) => bitmap.slice(bitmap.indexOf('/') + 1))
    return [...new Set(names)].filter((name) => name.startsWith('varve-'))
  }

  /** Exports, jobs, nodes and bitmaps in QEMU, libvirt's checkpoints, and the lease's files, to compare before and after. */
  async remains(): Promise<object> {
    const { control } = this.libvirt
    const ask = (command: string, args = {}): Promise<unknown> => qmpCommand(control, this.domain.domain, command, args)
    const nodes = (await ask('query-named-block-nodes', { flat: true })) as Node[]
    const folders = [path.join(this.stateFolder, 'scratch'), this.runtimeFolder]
    const files = await Promise.all(folders.map((folder) => readdir(folder).catch(() => [])))
    const bitmaps = nodes.flatMap(({ file, 'dirty-bitmaps': own = [] }) =>
      own.map(({ name }) => `${path.basename(file, '.qcow2')}/${name}`),
    )
    return {
      exports: await ask('query-block-exports'),
      jobs: await ask('query-jobs'),
      nodes: nodes.map(({ drv, file }) => `${drv} ${file}`).toSorted(),
      bitmaps: bitmaps.toSorted(),
      checkpoints: await this.checkpoints(),
      files: files.flat(),
    }
  }

  withCheckpoint(remains: object, leaseId: string): object {
    const { bitmaps } = remains as { bitmaps: readonly string[] }
    const name = checkpointOf(leaseId)
    const own = this.testDisks.filter(({ format }) => format === 'qcow2').map(({ target }) => `${target}/${name}`)
    return { ...remains, bitmaps: [...bitmaps, ...own].toSorted() }
  }

  async kill(): Promise<void> {
    await this.domain.kill9()
  }

  async start(): Promise<void> {
    await this.domain.start()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.libvirt[Symbol.asyncDispose]()
  }
}

/** A libvirt of its own with one running domain. */
export const startLibvirtBench = async (
  folder: string,
  disks: readonly TestDomainDisk[],
  more: Partial<TestDomainOptions> = {},
): Promise<LibvirtBench> => {
  const libvirt = await startLibvirt({ folder })
  const domain = await libvirt.startDomain({ name: 'db1', disks, ...more })
  return new LibvirtBench(folder, libvirt, domain)
}
