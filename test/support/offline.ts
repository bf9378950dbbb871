// A machine that is off, a model of what its disks hold, and the driver that reads it; between leases the machine runs.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { LeaseBase, LeaseDriver, LeaseRequest, MachineConfig } from '../../agent/drivers/driver.ts'
import type { LeaseJournal } from '../../agent/drivers/journal.ts'
import { addressOf } from '../../agent/drivers/offline/keys.ts'
import { OfflineDriver, type OfflineDriverParts } from '../../agent/drivers/offline/offline-driver.ts'
import { driverHost } from './driver-host.ts'
import { asBase, LeaseBench } from './lease.ts'
import { AGENT_ID } from './lease-stage.ts'
import { offlineVictimProgram } from './lease-victim.ts'
import type { TestDisk } from './qemu.ts'
import { run } from './run.ts'
import { Program } from './stand-program.ts'

/** A machine of the driver `offline`. */
export const offlineMachine = (
  disks: readonly { readonly name: string; readonly path: string; readonly format?: 'raw' | 'qcow2' }[],
  more: Readonly<Record<string, unknown>> = {},
): MachineConfig => {
  const keys = { disks, ...more }
  return { name: 'test', driver: 'offline', address: addressOf(keys), keys, exclude: [], attach: [] }
}

export interface OfflineAgentOptions extends OfflineDriverParts {
  readonly warn?: (details: object, message: string) => void
  readonly dies?: () => 'before' | 'after' | null
}

export interface OfflineAgent extends AsyncDisposable {
  readonly driver: LeaseDriver
  readonly journal: LeaseJournal
  readonly died: Promise<void>
}

/** Processes whose command line has the text, by their program's name and pid. */
export const processesWith = async (text: string): Promise<readonly { name: string; pid: number }[]> => {
  const found: { name: string; pid: number }[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/u.test(pid)) continue
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (command.some((part) => part.includes(text))) found.push({ name: basename(command[0] ?? ''), pid: Number(pid) })
  }
  return found
}

export const isDaemon = ({ name }: { readonly name: string }): boolean => name === 'qemu-storage-daemon'

export class OfflineBench implements AsyncDisposable {
  /** The machine while it runs, with an agent of its own. */
  readonly live: LeaseBench
  readonly folder: string
  readonly #disks: readonly TestDisk[]
  /** Leases of the live agent that are checkpoints. */
  readonly #checkpoints = new Set<string>()

  constructor(folder: string, disks: readonly TestDisk[]) {
    this.folder = folder
    this.#disks = disks
    this.live = new LeaseBench(folder, disks)
  }

  get stateFolder(): string {
    return join(this.folder, 'offline-state')
  }

  get runtimeFolder(): string {
    return join(this.folder, 'run')
  }

  get disks(): string[] {
    return this.#disks.map(({ id }) => id)
  }

  get configured(): MachineConfig {
    return offlineMachine(this.#disks.map(({ id, file, format }) => ({ name: id, path: file, format })))
  }

  /** Whether the lease is a checkpoint in the disks. */
  isCheckpoint(leaseId: string): boolean {
    return this.#checkpoints.has(leaseId)
  }

  async agent(options: OfflineAgentOptions = {}): Promise<OfflineAgent> {
    const { dies, warn = () => undefined, ...parts } = options
    await mkdir(this.stateFolder, { recursive: true })
    const { promise: died, resolve } = Promise.withResolvers<void>()
    let dead = false
    const never = new Promise<never>(() => undefined)
    const act = async <T>(action: () => Promise<T>): Promise<T> => {
      if (dead) return await never
      const when = dies?.() ?? null
      if (when === null) return await action()
      dead = true
      if (when === 'after') await action()
      resolve()
      return await never
    }
    const log = { info: () => undefined, warn }
    const host = await driverHost(this.stateFolder, { agents: [AGENT_ID], log })
    const driver = new OfflineDriver(host, { runtimeFolder: this.runtimeFolder, act, ...parts })
    return { driver, journal: host.journal, died, [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose]() }
  }

  request(options: Partial<LeaseRequest> & { readonly exclude?: readonly string[] } = {}): LeaseRequest {
    const { exclude = [], ...rest } = options
    return this.live.request({ ...rest, machine: rest.machine ?? { ...this.configured, exclude } })
  }

  /** An agent of its own process that has begun the lease. */
  async victim(request: LeaseRequest): Promise<Program> {
    const program = join(this.folder, `victim-${randomUUID()}.ts`)
    const { stateFolder, runtimeFolder } = this
    await writeFile(program, offlineVictimProgram({ stateFolder, runtimeFolder, request }))
    const victim = new Program(program)
    await victim.says(/begun/u)
    return victim
  }

  /** Runs the machine; it is shut down cleanly after. */
  async running<T>(action: (live: LeaseBench) => Promise<T>): Promise<T> {
    await this.live.machine.start()
    try {
      return await action(this.live)
    } finally {
      await this.live.machine.quit()
    }
  }

  /** A checkpoint, made while the machine runs, and no other one. */
  async checkpoint(): Promise<LeaseBase> {
    return await this.running(async (live) => {
      await using agent = await live.agent()
      const lease = await agent.driver.begin(live.request())
      await lease.end('committed')
      this.#checkpoints.add(lease.id)
      return asBase(lease)
    })
  }

  /** A write to the disk of the machine that is off, which its bitmaps record; rejects where the image is locked. */
  async write(disk: string, pattern: number, offset: number, length: number): Promise<void> {
    await this.#io(disk, `write -q -P ${pattern} ${offset} ${length}`)
    this.live.model.get(disk)?.fill(pattern, offset, offset + length)
  }

  async zero(disk: string, offset: number, length: number): Promise<void> {
    await this.#io(disk, `write -q -z ${offset} ${length}`)
    this.live.model.get(disk)?.fill(0, offset, offset + length)
  }

  /** Pids of the storage daemons of its leases. */
  async daemons(): Promise<readonly number[]> {
    return (await processesWith(this.runtimeFolder)).filter(isDaemon).map(({ pid }) => pid)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.live[Symbol.asyncDispose]()
    for (const { pid } of await processesWith(this.runtimeFolder)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // it has ended
      }
    }
  }

  async #io(disk: string, command: string): Promise<void> {
    const { file, format } = this.#disks.find(({ id }) => id === disk)!
    await run('qemu-io', ['-f', format, '-c', command, file])
  }
}
