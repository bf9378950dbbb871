// What is measured: a QEMU with the image attached, a gateway and an agent, each a real process, as a person would run them.
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AGENT_NODE, agentProgram, Commands, GATEWAY_NODE, gatewayProgram } from '../demo/commands.ts'
import { accepts, ENVIRONMENT, freePort, Service } from '../demo/service.ts'
import { run } from '../rig/run.ts'
import { startMachine, type TestMachine } from '../support/qemu.ts'
import { tempFolder } from '../support/temp.ts'
import type { Command, Watched } from './measure.ts'
import { exported, exportedInstant, type Lent } from './nbd-export.ts'

const MACHINE = 'bench'
const TENANT = 'bench'
const READY_TIMEOUT_MS = 30_000

/** The disk's name in restore points; its node in QEMU has the same. */
export const DISK = 'vda'

interface Certificate {
  readonly cert: string
  readonly key: string
}

const configText = (
  gateway: string,
  state: string,
  qmp: string,
  { ca, logLevel }: { ca: string | null; logLevel: string },
): string => `gateway = "${gateway}"
state = "${state}"
log_level = "${logLevel}"
${ca === null ? '' : `ca = "${ca}"`}
[[machine]]
name = "${MACHINE}"
qmp = "${qmp}"
`

const makeCertificate = async (folder: string): Promise<Certificate> => {
  const cert = path.join(folder, 'cert.pem')
  const key = path.join(folder, 'key.pem')
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const subject = ['-subj', '/CN=bench', '-addext', 'subjectAltName=IP:127.0.0.1']
  await run('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-days', '2', ...subject])
  return { cert, key }
}

export interface StandOptions {
  /** Where disk, store and state lie; the caller removes it. */
  readonly folder: string
  /** The image that the machine's disk is a copy of. */
  readonly qcow2: string
  readonly size: number
  /** The connection is encrypted; plain otherwise. */
  readonly tls?: boolean
  /** More options of Node for the gateway. */
  readonly gatewayNode?: readonly string[]
  /** Of the agent. */
  readonly logLevel?: 'info' | 'debug'
  readonly signal: AbortSignal
}

interface StandParts {
  readonly machine: TestMachine
  readonly url: string
  readonly commands: Commands
  readonly data: string
  readonly gateway: Service
  readonly agent: Service
  readonly agentLog: string
  readonly config: string
  readonly socketFolder: string
  readonly stack: AsyncDisposableStack
}

/** Disposing it ends its processes in the reverse order of their start. */
export class Stand implements AsyncDisposable {
  readonly machine: TestMachine
  readonly url: string
  /** File of the agent's log. */
  readonly agentLog: string
  readonly #commands: Commands
  readonly #data: string
  readonly #gateway: Service
  readonly #agent: Service
  readonly #config: string
  readonly #socketFolder: string
  readonly #stack: AsyncDisposableStack

  private constructor(parts: StandParts) {
    this.machine = parts.machine
    this.url = parts.url
    this.agentLog = parts.agentLog
    this.#commands = parts.commands
    this.#data = parts.data
    this.#gateway = parts.gateway
    this.#agent = parts.agent
    this.#config = parts.config
    this.#socketFolder = parts.socketFolder
    this.#stack = parts.stack
  }

  static async start(options: StandOptions): Promise<Stand> {
    const { folder, qcow2, size, tls = false, gatewayNode = [], logLevel = 'info', signal } = options
    await using stack = new AsyncDisposableStack()
    await mkdir(folder, { recursive: true })
    // Sockets need a short path, so they lie apart.
    const sockets = stack.use(await tempFolder('varve-bench'))
    const file = path.join(folder, 'disk.qcow2')
    await copyFile(qcow2, file)
    const machine = stack.use(
      await startMachine({ folder: sockets.path, name: MACHINE, disks: [{ id: DISK, format: 'qcow2', file, size }] }),
    )
    const port = await freePort()
    const certificate = tls ? await makeCertificate(folder) : null
    const url = `${tls ? 'wss' : 'ws'}://127.0.0.1:${port}`
    const data = path.join(folder, 'gateway')
    const config = path.join(folder, 'agent.toml')
    const settings = { ca: certificate?.cert ?? null, logLevel }
    await writeFile(config, configText(url, path.join(folder, 'agent'), machine.qmpPath, settings))
    const service = async (name: string, args: readonly string[]): Promise<Service> =>
      stack.use(await Service.start(name, path.join(folder, `${name}.log`), process.execPath, args))
    const keys = certificate === null ? [] : ['--tls-cert', certificate.cert, '--tls-key', certificate.key]
    const listen = ['--listen', `127.0.0.1:${port}`, ...keys]
    const gateway = await service('gateway', [
      ...GATEWAY_NODE,
      ...gatewayNode,
      gatewayProgram,
      'serve',
      '--data',
      data,
      ...listen,
    ])
    await gateway.until(() => accepts(port), READY_TIMEOUT_MS)
    const commands = new Commands(data, config, signal)
    await commands.addTenant(TENANT)
    await commands.enrol(url, await commands.enrolmentToken(TENANT))
    const agent = await service('agent', [...AGENT_NODE, agentProgram, 'run', '--config', config])
    await agent.until(() => commands.agentAnswers(), READY_TIMEOUT_MS)
    const agentLog = path.join(folder, 'agent.log')
    const parts = { machine, url, commands, data, gateway, agent, agentLog, config, socketFolder: sockets.path }
    return new Stand({ ...parts, stack: stack.move() })
  }

  /** A folder with a short path that goes with the stand. */
  get socketFolder(): string {
    return this.#socketFolder
  }

  get qemu(): Watched {
    return { name: 'QEMU', pid: this.machine.pid }
  }

  get gateway(): Watched {
    return { name: 'gateway', pid: this.#gateway.pid }
  }

  get agent(): Watched {
    return { name: 'agent', pid: this.#agent.pid }
  }

  backup(...options: string[]): Command {
    return this.command('backup', MACHINE, '--json', ...options)
  }

  restore(point: string, target: string): Command {
    return this.command('restore', point, '--disk', DISK, '--to', target, '--json')
  }

  /** Any command of the agent's program, with its configuration. */
  command(...args: string[]): Command {
    const [verb, ...rest] = args
    const all = [agentProgram, verb ?? '', ...rest, '--config', this.#config]
    return { name: 'command', program: process.execPath, args: all, env: ENVIRONMENT }
  }

  /** Adds a tenant and gives a token of somebody who may look at what it has. */
  async addViewer(tenant: string): Promise<string> {
    await this.#commands.addTenant(tenant)
    const args = ['token', 'issue', '--tenant', tenant, '--role', 'viewer', '--data', this.#data]
    return (await run(process.execPath, [gatewayProgram, ...args], { label: 'varve-gateway token issue' })).trim()
  }

  /** The ends of the logs of gateway and agent, for a person who looks for what went wrong. */
  async logTails(): Promise<string> {
    const tail = async (service: Service): Promise<string> => `--- ${service.name}\n${await service.tail()}`
    return (await Promise.all([this.#gateway, this.#agent].map(tail))).join('\n')
  }

  /** Lends the disk as it is now, and bitmaps of it, over NBD while `work` runs; nothing may back the machine up meanwhile. */
  exported<T>(work: (uri: string) => Promise<T>, bitmaps: readonly string[] = []): Promise<T> {
    return exported({ ...this.#lent, bitmaps }, work)
  }

  /** Lends the disk as it is now, while the machine goes on writing, as a backup reads it; nothing may back it up meanwhile. */
  exportedInstant<T>(size: number, work: (uri: string) => Promise<T>): Promise<T> {
    return exportedInstant({ ...this.#lent, scratchFolder: this.#socketFolder, size }, work)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  get #lent(): Lent {
    return { control: this.machine.control, node: DISK, socketFolder: this.#socketFolder }
  }
}
