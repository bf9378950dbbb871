// What is measured: a QEMU with the image attached, a gateway and an agent, each a real process, as a person would run them.
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { agentProgram, Commands, gatewayProgram } from '../demo/commands.ts'
import { accepts, freePort, Service } from '../demo/service.ts'
import { startMachine, type TestMachine } from '../support/qemu.ts'
import { tempFolder } from '../support/temp.ts'
import type { Command, Watched } from './measure.ts'

const MACHINE = 'bench'
const TENANT = 'bench'
const READY_TIMEOUT_MS = 30_000

/** The disk's name in restore points; its node in QEMU has the same. */
export const DISK = 'vda'

const EXPORT_NAME = 'bench'

const configText = (gateway: string, state: string, qmp: string): string => `gateway = "${gateway}"
state = "${state}"
[[machine]]
name = "${MACHINE}"
qmp = "${qmp}"
`

export interface StandOptions {
  /** Where disk, store and state lie; the caller removes it. */
  readonly folder: string
  /** The image that the machine's disk is a copy of. */
  readonly qcow2: string
  readonly size: number
  readonly signal: AbortSignal
}

/** Disposing it ends its processes in the reverse order of their start. */
export class Stand implements AsyncDisposable {
  readonly machine: TestMachine
  readonly #gateway: Service
  readonly #agent: Service
  readonly #config: string
  readonly #socketFolder: string
  readonly #stack: AsyncDisposableStack

  private constructor(
    parts: { machine: TestMachine; gateway: Service; agent: Service; config: string; socketFolder: string },
    stack: AsyncDisposableStack,
  ) {
    this.machine = parts.machine
    this.#gateway = parts.gateway
    this.#agent = parts.agent
    this.#config = parts.config
    this.#socketFolder = parts.socketFolder
    this.#stack = stack
  }

  static async start({ folder, qcow2, size, signal }: StandOptions): Promise<Stand> {
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
    const url = `ws://127.0.0.1:${port}`
    const data = path.join(folder, 'gateway')
    const config = path.join(folder, 'agent.toml')
    await writeFile(config, configText(url, path.join(folder, 'agent'), machine.qmpPath))
    const service = async (name: string, args: readonly string[]): Promise<Service> =>
      stack.use(await Service.start(name, path.join(folder, `${name}.log`), process.execPath, args))
    const gateway = await service('gateway', [gatewayProgram, 'serve', '--data', data, '--listen', `127.0.0.1:${port}`])
    await gateway.until(() => accepts(port), READY_TIMEOUT_MS)
    const commands = new Commands(data, config, signal)
    await commands.addTenant(TENANT)
    await commands.enrol(url, await commands.enrolmentToken(TENANT))
    const agent = await service('agent', [agentProgram, 'run', '--config', config])
    await agent.until(() => commands.agentAnswers(), READY_TIMEOUT_MS)
    return new Stand({ machine, gateway, agent, config, socketFolder: sockets.path }, stack.move())
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
    return this.#command('backup', MACHINE, '--json', ...options)
  }

  restore(point: string, target: string): Command {
    return this.#command('restore', point, '--disk', DISK, '--to', target, '--json')
  }

  /** The ends of the logs of gateway and agent, for a person who looks for what went wrong. */
  async logTails(): Promise<string> {
    const tail = async (service: Service): Promise<string> => `--- ${service.name}\n${await service.tail()}`
    return (await Promise.all([this.#gateway, this.#agent].map(tail))).join('\n')
  }

  /** Lends the disk as it is now over NBD while `work` runs; nothing may back the machine up meanwhile. */
  async exported<T>(work: (uri: string) => Promise<T>): Promise<T> {
    const { control } = this.machine
    const socket = path.join(this.#socketFolder, 'export.sock')
    await control.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socket } } })
    try {
      await control.execute('block-export-add', { id: EXPORT_NAME, type: 'nbd', 'node-name': DISK, name: EXPORT_NAME })
      return await work(`nbd+unix:///${EXPORT_NAME}?socket=${socket}`)
    } finally {
      await control.execute('nbd-server-stop')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  #command(...args: string[]): Command {
    const [verb, ...rest] = args
    const all = [agentProgram, verb ?? '', ...rest, '--config', this.#config]
    return { name: 'command', program: process.execPath, args: all }
  }
}
