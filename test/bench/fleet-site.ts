// One gateway and any number of hosts (a QEMU and an agent each) around it, every one a real process.
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { enrolHost } from '../../agent/enrol.ts'
import { issueEnrolment } from '../../gateway/auth/tokens.ts'
import { openAuthority } from '../../gateway/auth/authority.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../gateway/folder/layout.ts'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES } from '../../protocol/chunk.ts'
import { AGENT_NODE, agentProgram, GATEWAY_NODE, gatewayProgram } from '../demo/commands.ts'
import { accepts, freePort, Service } from '../demo/service.ts'
import { startMachine, type TestDisk, type TestMachine } from '../support/qemu.ts'
import { tempFolder } from '../support/temp.ts'
import type { Command, Watched } from './measure.ts'

const READY_TIMEOUT_MS = 60_000
const ENROLMENT_TTL_MS = 60 * 60 * 1000

/** What the agent logs once its session is open. */
const AGENT_READY = 'connected to the gateway'

const pointSchema = v.object({
  id: v.string(),
  kind: v.string(),
  reason: v.string(),
  bytesRead: v.number(),
  bytesSent: v.number(),
  bytesStored: v.number(),
  disks: v.array(v.object({ name: v.string(), changedBytes: v.number() })),
})
export type BackupFigures = v.InferOutput<typeof pointSchema> & { readonly point: string }

const backupSchema = v.object({ point: pointSchema })

/** The figures in what `varve-agent backup --json` printed; throws unless the backup was made for the expected reason. */
export const backupFigures = (output: string, reason: string): BackupFigures => {
  const { point } = v.parse(backupSchema, JSON.parse(output.trimEnd().split('\n').at(-1) ?? ''))
  const figures = { ...point, point: point.id }
  if (figures.reason !== reason) throw new Error(`a backup was made for ${figures.reason}, expected ${reason}`)
  return figures
}

export interface HostOptions {
  /** Of the host, its machine and its folder. */
  readonly name: string
  readonly tenant: string
  readonly disks: readonly TestDisk[]
  /** Where the agent and its commands connect; the gateway itself unless something lies between. */
  readonly url?: string
}

/** A running QEMU and the agent that backs it up. */
export class Host {
  readonly name: string
  readonly machine: TestMachine
  /** A folder with a short path that goes with the host. */
  readonly socketFolder: string
  readonly stateFolder: string
  readonly #service: Service
  readonly #config: string

  constructor(parts: {
    name: string
    machine: TestMachine
    socketFolder: string
    stateFolder: string
    service: Service
    config: string
  }) {
    this.name = parts.name
    this.machine = parts.machine
    this.socketFolder = parts.socketFolder
    this.stateFolder = parts.stateFolder
    this.#service = parts.service
    this.#config = parts.config
  }

  get agent(): Watched {
    return { name: 'agent', pid: this.#service.pid }
  }

  get qemu(): Watched {
    return { name: 'QEMU', pid: this.machine.pid }
  }

  backup(...options: string[]): Command {
    return this.#command('backup', this.name, '--json', ...options)
  }

  restore(point: string, disk: string, target: string): Command {
    return this.#command('restore', point, '--disk', disk, '--to', target, '--json')
  }

  points(): Command {
    return this.#command('points', this.name, '--json')
  }

  logTail(): Promise<string> {
    return this.#service.tail()
  }

  #command(...args: string[]): Command {
    return { name: 'command', program: process.execPath, args: [agentProgram, ...args, '--config', this.#config] }
  }
}

/** Disposing it ends its processes in the reverse order of their start. */
export class Site implements AsyncDisposable {
  readonly data: string
  readonly port: number
  readonly #folder: string
  readonly #resources = new AsyncDisposableStack()
  readonly #hosts: Host[] = []
  #gateway: Service | null = null

  private constructor(folder: string, port: number) {
    this.#folder = folder
    this.data = path.join(folder, 'gateway')
    this.port = port
    this.#resources.defer(() => this.stopGateway())
  }

  /** A site in this folder (made if needed), its gateway running; what lies in `gateway/` there is used. */
  static async start(folder: string): Promise<Site> {
    await mkdir(folder, { recursive: true })
    const site = new Site(folder, await freePort())
    try {
      await site.startGateway()
    } catch (error) {
      await site[Symbol.asyncDispose]()
      throw error
    }
    return site
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`
  }

  get gateway(): Watched {
    if (this.#gateway === null) throw new Error('the gateway is not running')
    return { name: 'gateway', pid: this.#gateway.pid }
  }

  /** Starts the gateway at its address; resolves when it accepts connections. */
  async startGateway(): Promise<void> {
    const args = [...GATEWAY_NODE, gatewayProgram, 'serve', '--data', this.data, '--listen', `127.0.0.1:${this.port}`]
    this.#gateway = await Service.start('gateway', path.join(this.#folder, 'gateway.log'), process.execPath, args)
    await this.#gateway.until(() => accepts(this.port), READY_TIMEOUT_MS)
  }

  /** Ends the gateway gracefully, or as a crash does with `SIGKILL`. */
  async stopGateway(signal?: 'SIGKILL'): Promise<void> {
    const gateway = this.#gateway
    this.#gateway = null
    if (gateway === null) return
    if (signal !== undefined) process.kill(gateway.pid, signal)
    await gateway[Symbol.asyncDispose]()
  }

  /** One-time enrolment tokens of a tenant, which is made if needed. */
  async enrolmentTokens(tenantName: string, count: number): Promise<string[]> {
    using catalog = openLocal(path.join(this.data, CATALOG_NAME))
    const nowMs = Date.now()
    const authority = await openAuthority({ folder: this.data, catalog, nowMs })
    const known = await catalog.tenants.byName({ name: tenantName })
    const fresh = { name: tenantName, id: randomUUID(), idKey: randomBytes(ID_KEY_BYTES), nowMs }
    const tenant = known ?? (await catalog.tenants.add({ ...fresh, chunkBytes: CHUNK_BYTES_DEFAULT }))
    const tokens: string[] = []
    const one = { tenant, ttlMs: ENROLMENT_TTL_MS, nowMs }
    while (tokens.length < count) tokens.push((await issueEnrolment(authority, one)).token)
    return tokens
  }

  /** Starts a machine and its agent; resolves when the agent is connected. */
  async addHost({ name, tenant, disks, url = this.url }: HostOptions): Promise<Host> {
    const folder = path.join(this.#folder, name)
    await mkdir(folder, { recursive: true })
    // Sockets need a short path, so they lie apart.
    const { path: socketFolder } = this.#resources.use(await tempFolder('varve-bench'))
    const machine = this.#resources.use(await startMachine({ folder: socketFolder, name, disks }))
    const config = path.join(folder, 'agent.toml')
    const stateFolder = path.join(folder, 'agent')
    const lines = [`gateway = "${url}"`, `state = "${stateFolder}"`, '[[machine]]', `name = "${name}"`]
    await writeFile(config, `${[...lines, `qmp = "${machine.qmpPath}"`].join('\n')}\n`)
    const [token = ''] = await this.enrolmentTokens(tenant, 1)
    await enrolHost({ gateway: this.url, ca: null, token, state: stateFolder })
    const args = [...AGENT_NODE, agentProgram, 'run', '--config', config]
    const logFile = path.join(folder, 'agent.log')
    const service = this.#resources.use(await Service.start(`agent ${name}`, logFile, process.execPath, args))
    await service.until(async () => (await readFile(logFile, 'utf8')).includes(AGENT_READY), READY_TIMEOUT_MS)
    const host = new Host({ name, machine, socketFolder, stateFolder, service, config })
    this.#hosts.push(host)
    return host
  }

  /** Runs `work` on the site; shows the ends of the logs when it fails. */
  async explained<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!signal.aborted) console.error(await this.#logTails())
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }

  async #logTails(): Promise<string> {
    const tails = [`--- gateway\n${(await this.#gateway?.tail()) ?? 'not running'}`]
    for (const host of this.#hosts) tails.push(`--- agent ${host.name}\n${await host.logTail()}`)
    return tails.join('\n')
  }
}
