// A machine with a model of what its disks hold, and what tests of leases ask of it, whatever its hypervisor.
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { LeasedDisk, LeaseRequest, MachineConfig } from '../../agent/drivers/driver.ts'
import { victimProgram, type VictimOptions } from './lease-victim.ts'
import { run } from './run.ts'
import { Program } from './stand-program.ts'

export const AGENT_ID = '0192aaaa-0000-7000-8000-0000c0ffee42'

export const nbdUri = (disk: LeasedDisk): string => `nbd+unix:///${disk.exportName}?socket=${disk.socketPath}`

/** What writes to the disks as the guest would. */
interface Guest {
  guestWrite(disk: string, pattern: number, offset: number, length: number): Promise<void>
  guestZero(disk: string, offset: number, length: number): Promise<void>
}

export abstract class LeaseStage {
  readonly folder: string
  /** What each disk holds, by name. */
  readonly model = new Map<string, Buffer>()
  readonly #driver: NonNullable<VictimOptions['driver']>

  protected constructor(
    folder: string,
    driver: NonNullable<VictimOptions['driver']>,
    disks: readonly { readonly name: string; readonly size: number }[],
  ) {
    this.folder = folder
    this.#driver = driver
    for (const { name, size } of disks) this.model.set(name, Buffer.alloc(size))
  }

  /** The machine as the configuration names it. */
  abstract get configured(): MachineConfig

  protected abstract get guest(): Guest

  get stateFolder(): string {
    return path.join(this.folder, 'state')
  }

  get runtimeFolder(): string {
    return path.join(this.folder, 'run')
  }

  request(options: Partial<LeaseRequest> & { readonly exclude?: readonly string[] } = {}): LeaseRequest {
    const { exclude = [], ...rest } = options
    return {
      machine: { ...this.configured, exclude },
      leaseId: randomUUID(),
      agentId: AGENT_ID,
      formerAgents: [],
      base: null,
      full: false,
      compare: false,
      chunkBytes: 65_536,
      consistency: 'none',
      freezeTimeoutMs: 10_000,
      refuseFull: [],
      refuseLeftOut: [],
      ...rest,
    }
  }

  /** An agent of its own process that has begun the lease. */
  async victim(request: LeaseRequest, reserveBytes = 1): Promise<Program> {
    const program = path.join(this.folder, 'victim.ts')
    const { stateFolder, runtimeFolder } = this
    await mkdir(stateFolder, { recursive: true })
    const options = { driver: this.#driver, stateFolder, runtimeFolder, request, reserveBytes }
    await writeFile(program, victimProgram(options))
    const victim = new Program(program)
    await victim.says(/begun/)
    return victim
  }

  async write(disk: string, pattern: number, offset: number, length: number): Promise<void> {
    await this.guest.guestWrite(disk, pattern, offset, length)
    this.model.get(disk)?.fill(pattern, offset, offset + length)
  }

  async zero(disk: string, offset: number, length: number): Promise<void> {
    await this.guest.guestZero(disk, offset, length)
    this.model.get(disk)?.fill(0, offset, offset + length)
  }

  /** The disks as the guest has written them up to now. */
  snapshot(): ReadonlyMap<string, Buffer> {
    return new Map([...this.model].map(([disk, bytes]) => [disk, Buffer.from(bytes)]))
  }

  /** What a lease's export holds, copied by nbdcopy. */
  async content(disk: LeasedDisk): Promise<Buffer> {
    const file = path.join(this.folder, `copy-${randomUUID()}`)
    await run('nbdcopy', [nbdUri(disk), file])
    const bytes = await readFile(file)
    await rm(file)
    return bytes
  }
}
