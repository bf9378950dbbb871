// A stand: a gateway process, hosts with agent processes and real machines, and the people who look at them.
import path from 'node:path'
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import { enrolHost } from '../../agent/enrol.ts'
import { restoreDisk } from '../../agent/restore/restore.ts'
import type { DiskWriter } from '../../agent/restore/target.ts'
import { dial } from '../../protocol/host/dial.ts'
import { openAuthority } from '../../gateway/auth/authority.ts'
import { issueEnrolment, issueToken } from '../../gateway/auth/tokens.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../gateway/datastore/datastore.ts'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES } from '../../protocol/chunk.ts'
import type { Role } from '../../protocol/claims.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Job } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import type { Point } from '../../protocol/schemas.ts'
import type { Snapshot } from './model-machine.ts'
import { tinyFileSystem, type Made } from '../agent/restore/devices.ts'
import { Host, type HostOptions } from './stand-host.ts'
import { Program, runProgram, type Outcome, type Said } from './stand-program.ts'
import { eventually, tempFolder, type TempFolder } from './temp.ts'

/** The tenant that is meant when none is named. */
export const TENANT = 'acme'

const TTL_MS = 60 * 60 * 1000

const DONE = new VarveError('CANCELLED', 'done')

type PersonRole = Exclude<Role, 'agent'>

class MemoryDisk implements DiskWriter {
  readonly bytes: Buffer

  constructor(size: number) {
    // what is not written shows
    this.bytes = Buffer.alloc(size, 0xaa)
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.bytes.set(bytes, offset)
  }

  async zero(offset: number, length: number): Promise<void> {
    this.bytes.fill(0, offset, offset + length)
  }
}

export class Stand implements AsyncDisposable {
  readonly folder: TempFolder
  readonly dataFolder: string
  /** A file system of its own for the data folder, where a test wants one. */
  readonly #disk: Made | null
  readonly #hosts: Host[] = []
  readonly #peers = new Map<string, Peer>()
  #gateway: Program | null = null
  #url = ''
  /** Holds what the gateway's time of day is ahead; null where it has the right one. */
  readonly #clockFile: string | null
  /** More options of the gateway, at each start. */
  readonly #serve: readonly string[]

  private constructor(folder: TempFolder, disk: Made | null, clockFile: string | null, serve: readonly string[]) {
    this.folder = folder
    this.#disk = disk
    this.#clockFile = clockFile
    this.#serve = serve
    this.dataFolder = disk === null ? folder.join('data') : path.join(disk.path, 'data')
  }

  /**
   * Starts a gateway with the tenant TENANT; with `diskBytes` on a file system of that size, which only root can make; with
   * `ownClock` with a time of day that can be set; `serve` are more options of it.
   */
  static async start(
    options: { diskBytes?: number; ownClock?: boolean; serve?: readonly string[] } = {},
  ): Promise<Stand> {
    const folder = await tempFolder()
    const { diskBytes, ownClock = false, serve = [] } = options
    const disk = diskBytes === undefined ? null : await tinyFileSystem(folder.join('disk'), diskBytes)
    if (diskBytes !== undefined && disk === null) throw new Error('this process may not mount a file system')
    const stand = new Stand(folder, disk, ownClock ? folder.join('clock') : null, serve)
    try {
      if (ownClock) await stand.setClock(0)
      await stand.startGateway()
      await stand.#tenant(TENANT)
      return stand
    } catch (error) {
      await stand[Symbol.asyncDispose]()
      throw error
    }
  }

  get catalogFile(): string {
    return path.join(this.dataFolder, CATALOG_NAME)
  }

  get url(): string {
    return this.#url
  }

  get gateway(): Program {
    if (this.#gateway === null) throw new Error('the gateway is not running')
    return this.#gateway
  }

  get hasGateway(): boolean {
    return this.#gateway !== null
  }

  /** Starts the gateway, on a port of its own each time; the hosts' links lead there. */
  async startGateway(): Promise<void> {
    const args = ['serve', '--data', this.dataFolder, '--listen', '127.0.0.1:0', ...this.#serve]
    this.#gateway = new Program('gateway', args, this.#clockFile)
    this.#url = (await this.gateway.says(/ws:\/\/127\.0\.0\.1:\d+/))[0]
    for (const host of this.#hosts) host.link.target = this.#port
  }

  /** Sets the gateway's time of day so far ahead of the right one, in milliseconds, while it runs and for its next starts. */
  async setClock(aheadMs: number): Promise<void> {
    const file = this.#clockFile
    if (file === null) throw new Error('this gateway has the right time of day')
    // never half written for who reads it
    await writeFile(`${file}.new`, String(aheadMs))
    await rename(`${file}.new`, file)
  }

  async endGateway(signal: NodeJS.Signals): Promise<Outcome> {
    const outcome = await this.gateway.end(signal)
    this.#gateway = null
    for (const host of this.#hosts) host.link.target = null
    return outcome
  }

  /** Enrols a host; its machines are to be added before its agent is started. */
  async addHost(options: Partial<Omit<HostOptions, 'folder'>> = {}): Promise<Host> {
    const { name = `host${this.#hosts.length}`, tenant = TENANT, settings = {} } = options
    const host = await Host.make({ ...options, name, tenant, settings, folder: this.folder.join(name) })
    this.#hosts.push(host)
    host.link.target = this.#port
    const row = await this.#tenant(tenant)
    const { token } = await this.#withAuthority((authority) =>
      issueEnrolment(authority, { tenant: row, ttlMs: TTL_MS, nowMs: Date.now() }),
    )
    await enrolHost({ gateway: this.#url, ca: null, token, state: host.stateFolder })
    await host.enrolled()
    return host
  }

  /** One of the gateway's commands on its data folder. */
  run(...args: readonly string[]): Promise<Said> {
    return runProgram('gateway', [...args, '--data', this.dataFolder])
  }

  async done(...args: readonly string[]): Promise<Said> {
    const outcome = await this.run(...args)
    if (outcome.code !== 0)
      throw new Error(`varve-gateway ${args.join(' ')} ended with ${outcome.code}: ${outcome.stderr}`)
    return outcome
  }

  async token(role: PersonRole, tenant = TENANT): Promise<string> {
    const row = await this.#tenant(tenant)
    const { token } = await this.#withAuthority((authority) =>
      issueToken(authority, {
        tenant: role === 'platform' ? null : row,
        subject: `test ${role}`,
        role,
        ttlMs: TTL_MS,
        nowMs: Date.now(),
      }),
    )
    return token
  }

  /** A person's session, the same one until it breaks. */
  async peer(role: PersonRole = 'owner', tenant = TENANT): Promise<Peer> {
    const key = `${role} ${tenant}`
    const known = this.#peers.get(key)
    if (known !== undefined) return known
    const token = await this.token(role, tenant)
    const options = { gateway: this.#url, ca: null, program: 'test', serving: false, handlers: {}, clock: systemClock }
    const { peer } = await dial({ ...options, token })
    this.#peers.set(key, peer)
    void peer.closed.then(() => this.#peers.delete(key))
    return peer
  }

  /** The newest jobs of a tenant. */
  async jobs(tenant = TENANT): Promise<readonly Job[]> {
    return (await (await this.peer('owner', tenant)).call('jobs.list', { machine: null, limit: 100 })).jobs
  }

  /** A job as a person sees it; null while the gateway is away. */
  async job(id: string, tenant = TENANT): Promise<Job | null> {
    try {
      return (await this.jobs(tenant)).find((job) => job.id === id) ?? null
    } catch (error) {
      if (asVarveError(error).endsConnection) return null
      throw error
    }
  }

  /** Starts a backup as soon as gateway and agent are there and no other one runs; gives its job. */
  async startBackup(machine: string, full = false, tenant = TENANT): Promise<string> {
    return await eventually(async () => {
      try {
        return (await (await this.peer('owner', tenant)).call('backup.start', { machine, full })).job
      } catch (thrown) {
        const { code, endsConnection } = asVarveError(thrown)
        if (endsConnection || ['AGENT_OFFLINE', 'JOB_RUNNING', 'LEASE_HELD'].includes(code)) return null
        throw thrown
      }
    })
  }

  /** Waits until the instant of a job lies behind it (or it has ended). */
  async begun(job: string, tenant = TENANT): Promise<Job> {
    return await eventually(async () => {
      const found = await this.job(job, tenant)
      return found !== null && (found.state !== 'running' || found.disks.length > 0) ? found : null
    })
  }

  async ended(job: string, tenant = TENANT): Promise<Job> {
    return await eventually(async () => {
      const found = await this.job(job, tenant)
      return found !== null && found.state !== 'running' ? found : null
    })
  }

  /** Waits until so much of a running job is durable. */
  async durable(job: string, bytes: number, tenant = TENANT): Promise<Job> {
    return await eventually(async () => {
      const found = await this.job(job, tenant)
      if (found === null) return null
      if (found.state !== 'running') throw new Error(`the job ${found.state} too early: ${found.error?.message}`)
      return found.disks.reduce((sum, { doneBytes }) => sum + doneBytes, 0) >= bytes ? found : null
    })
  }

  async listPoints(tenant = TENANT): Promise<Point[]> {
    const peer = await this.peer('owner', tenant)
    return (await peer.call('points.list', { machine: null, limit: 250 })).points
  }

  async point(id: string, tenant = TENANT): Promise<Point> {
    return (await (await this.peer('owner', tenant)).call('points.get', { point: id })).point
  }

  /** Every disk of a restore point, restored in this process by the code of the command. */
  async restore(id: string, tenant = TENANT): Promise<Snapshot> {
    const { disks } = await this.point(id, tenant)
    const peer = await this.peer('owner', tenant)
    const restored = new Map<string, Buffer>()
    for (const { name, size, root } of disks) {
      const target = new MemoryDisk(size)
      await restoreDisk({
        repeat: (work) => work(peer),
        point: id,
        disk: name,
        size,
        root,
        target,
        skipDamaged: false,
        signal: new AbortController().signal,
        onProgress: () => {},
      })
      restored.set(name, target.bytes)
    }
    return restored
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers.values()) peer.close(DONE)
    for (const host of this.#hosts) await host[Symbol.asyncDispose]()
    await this.#gateway?.[Symbol.asyncDispose]()
    await this.#disk?.[Symbol.asyncDispose]()
    await this.folder[Symbol.asyncDispose]()
  }

  get #port(): number {
    return Number(new URL(this.#url).port)
  }

  async #withAuthority<R>(work: (authority: Awaited<ReturnType<typeof openAuthority>>) => Promise<R>): Promise<R> {
    using catalog = openLocal(this.catalogFile)
    return await work(await openAuthority({ folder: this.dataFolder, catalog, nowMs: Date.now() }))
  }

  async #tenant(name: string): Promise<Tenant> {
    using catalog = openLocal(this.catalogFile)
    const known = await catalog.tenants.byName({ name })
    if (known !== null) return known
    const idKey = randomBytes(ID_KEY_BYTES)
    const row = { name, id: randomUUID(), idKey, chunkBytes: CHUNK_BYTES_DEFAULT, nowMs: Date.now() }
    return await catalog.tenants.add(row)
  }
}
