// A real QEMU for the suite of all drivers, in each of the driver's modes.

import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { LeaseBase, LeaseDriver, LeasedDisk, LeaseRequest } from '../../../../agent/drivers/driver.ts'
import type { Mode } from '../../../../agent/drivers/qmp/modes.ts'
import {
  asBase,
  checkpointsOf,
  dirtyRanges,
  LeaseBench,
  MIB,
  type DirtyRange,
  type TestAgent,
} from '../../../support/lease.ts'
import { pushedContent, pushedRanges } from '../../../support/pushed.ts'
import type { Program } from '../../../support/stand-program.ts'
import type { SuiteAgentOptions, SuiteHost } from '../driver-suite.ts'

const isLook = (command: string): boolean => command.startsWith('query-') || command === 'qom-get'

type QmpAgentOptions = SuiteAgentOptions & {
  readonly speed?: number
  readonly before?: (command: string) => Promise<void>
}

export class QmpSuiteHost extends LeaseBench implements SuiteHost {
  readonly holds = 'copies'

  get disks(): string[] {
    return [...this.model.keys()]
  }

  override agent({ dies, ...options }: QmpAgentOptions = {}): Promise<TestAgent> {
    return super.agent({
      ...options,
      ...(dies === undefined ? {} : { dies: (command) => (isLook(command) ? null : dies()) }),
    })
  }

  override victim(request: LeaseRequest): Promise<Program> {
    return super.victim(request, 1)
  }

  async checkpoint(): Promise<LeaseBase> {
    await using agent = await this.agent()
    const lease = await agent.driver.begin(this.request())
    await lease.end('committed')
    return asBase(lease)
  }

  async addForeign(): Promise<void> {
    const { control } = this.machine
    await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs', persistent: true })
    await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs-varve-c0ffee42-cp-0192aaaa-0' })
    await control.execute('blockdev-add', { driver: 'null-co', 'node-name': 'their-node', size: 4 * MIB })
    await control.execute('blockdev-add', { driver: 'null-co', 'node-name': 'theirs-varve-1', size: MIB })
  }

  async remains(): Promise<object> {
    const files = [join(this.stateFolder, 'scratch'), join(this.folder, 'run')]
    const listed = await Promise.all(files.map((folder) => readdir(folder).catch(() => [])))
    return { ...((await this.objects()) as object), files: listed.flat() }
  }

  withCheckpoint(remains: object, leaseId: string): object {
    const { bitmaps } = remains as { bitmaps: readonly string[] }
    return { ...remains, bitmaps: [...bitmaps, ...checkpointsOf(leaseId, this.disks)].toSorted() }
  }

  changed(disk: LeasedDisk): Promise<readonly DirtyRange[]> {
    return dirtyRanges(disk)
  }

  kill(): Promise<void> {
    return this.machine.kill9()
  }

  start(): Promise<void> {
    return this.machine.start()
  }
}

/** What the disks held at the instants of leases, and which lease each continued. */
interface Instant {
  readonly content: ReadonlyMap<string, Buffer>
  readonly base: string | null
}

/** QEMU writes: of an increment there is only what has changed, and the rest is in its base. */
export class PushSuiteHost extends QmpSuiteHost implements SuiteHost {
  override mode: Mode = 'push'
  readonly writesOnlyChanges = true
  readonly #instants = new Map<string, Instant>()

  override request(options: Parameters<QmpSuiteHost['request']>[0] = {}): LeaseRequest {
    const request = super.request(options)
    this.#note(request)
    return request
  }

  override async agent(options: QmpAgentOptions = {}): Promise<TestAgent> {
    const agent = await super.agent(options)
    const begin: LeaseDriver['begin'] = (request) => {
      this.#note(request)
      return agent.driver.begin(request)
    }
    const driver = new Proxy(agent.driver, {
      get: (target, name) => {
        const value: unknown = name === 'begin' ? begin : Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    return { ...agent, driver, [Symbol.asyncDispose]: () => agent[Symbol.asyncDispose]() }
  }

  setMode(mode: Mode): void {
    this.mode = mode
  }

  override async content(disk: LeasedDisk): Promise<Buffer> {
    const { base } = this.#instants.get(basename(disk.pushed!.spool.folder))!
    const before = base === null ? null : this.#instants.get(base)!.content.get(disk.name)!
    return await pushedContent(disk, before ?? Buffer.alloc(disk.size, 0xee))
  }

  override changed(disk: LeasedDisk): Promise<readonly DirtyRange[]> {
    return pushedRanges(disk)
  }

  override withCheckpoint(remains: object, leaseId: string): object {
    const { bitmaps } = super.withCheckpoint(remains, leaseId) as { bitmaps: readonly string[] }
    const marks = checkpointsOf(leaseId, this.disks).map((name) => name.replace('-cp-', '-size-'))
    return { ...remains, bitmaps: [...bitmaps, ...marks].toSorted() }
  }

  #note({ leaseId, base }: LeaseRequest): void {
    this.#instants.set(leaseId, { content: this.snapshot(), base: base?.checkpoint ?? null })
  }
}
