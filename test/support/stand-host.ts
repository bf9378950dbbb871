// A hypervisor of a stand: an agent process with its own folder and link, its machines, and its command line.
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as v from 'valibot'
import { Identity } from '../../agent/identity.ts'
import { agentTag, checkpointName, sizeMarkOf } from '../../agent/drivers/checkpoint-names.ts'
import type { Mode } from '../../agent/drivers/qmp/modes.ts'
import { tinyFileSystem, type Made } from '../agent/restore/devices.ts'
import type { Image } from './image-chain.ts'
import { ModelMachine, type ModelDisk } from './model-machine.ts'
import type { TestMachineOptions } from './qemu.ts'
import { Program, runProgram, type Outcome, type Said } from './stand-program.ts'
import { LinkProxy } from './stand-proxy.ts'
import { eventually } from './temp.ts'

/** Where an agent makes its folders of sockets. */
const RUNTIME_FOLDER = process.getuid?.() === 0 ? '/run' : tmpdir()

/** How long an agent may take to give its leases back at the end of a test, in milliseconds. */
const GIVE_BACK_LIMIT_MS = 10_000

/** Names of the bitmaps of a checkpoint, by the number of the disk in its restore point. */
export type Checkpoint = (index: number) => readonly string[]

/** Lines of the agent's configuration that tests change. */
export interface HostSettings {
  /** Such as `2 MiB`, of uploads in a second. */
  readonly bandwidth?: string
  readonly relay?: readonly string[]
  readonly exclude?: readonly string[]
  /** Files and folders that go with each point. */
  readonly attach?: readonly string[]
  readonly tpmState?: string
  /** How machines' disks come to the agent. */
  readonly mode?: Mode
  /** Such as `1 GiB`, that must stay free on the scratch file system. */
  readonly scratchReserve?: string
  /** Where the agent serves its metrics. */
  readonly metricsListen?: string
  /** Further lines of its configuration, such as `[[machine]]` tables of machines that the test makes by itself. */
  readonly tables?: readonly string[]
  /** The agent knows the machines' disks, and reads them while a machine is off. */
  readonly whileOff?: boolean
}

export interface HostOptions {
  readonly name: string
  readonly tenant: string
  readonly folder: string
  readonly settings: HostSettings
  /** Size of a file system for the state folder alone, which only root can make. */
  readonly stateBytes?: number
}

const kind = v.picklist(['full', 'incremental'])

const leftOut = v.array(v.strictObject({ name: v.string(), reason: v.string() }))

const pointSchema = v.object({
  id: v.pipe(v.string(), v.uuid()),
  machine: v.string(),
  time: v.pipe(v.string(), v.isoTimestamp()),
  future: v.boolean(),
  kind,
  reason: v.string(),
  consistency: v.picklist(['crash', 'frozen']),
  note: v.nullable(v.string()),
  bytesRead: v.number(),
  bytesSent: v.number(),
  bytesStored: v.number(),
  durationMs: v.number(),
  leftOut,
  disks: v.array(
    v.object({
      name: v.string(),
      size: v.number(),
      changedBytes: v.number(),
      kind,
      reason: v.string(),
      comparedChunks: v.number(),
    }),
  ),
})
export type PointAnswer = v.InferOutput<typeof pointSchema>

const pointsSchema = v.object({ points: v.array(pointSchema) })
const backupSchema = v.object({ point: pointSchema, released: v.boolean() })

/** The restore point of a backup, with its id as `point`. */
export type BackupAnswer = PointAnswer & { readonly point: string }

const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) ?? ''

/** What a backup may leave on a host's file system; empty while no lease is held. */
export interface Residue {
  readonly scratch: readonly string[]
  readonly journal: readonly string[]
  readonly sockets: readonly string[]
}

const offDisk = (name: string, { file, format }: Image): string =>
  `{ name = "${name}", path = "${file}", format = "${format}" }`

const entries = (folder: string): Promise<string[]> => readdir(folder).catch(() => [])

export class Host implements AsyncDisposable {
  readonly name: string
  readonly tenant: string
  readonly folder: string
  readonly link: LinkProxy
  readonly #machines = new Map<string, ModelMachine>()
  readonly #guestAgents = new Map<string, string>()
  /** A file system of its own for the state folder, where a test wants one. */
  readonly #disk: Made | null
  #settings: HostSettings
  #agent: Program | null = null
  #agentId = ''

  private constructor(options: HostOptions, link: LinkProxy, disk: Made | null) {
    this.name = options.name
    this.tenant = options.tenant
    this.folder = options.folder
    this.link = link
    this.#settings = options.settings
    this.#disk = disk
  }

  static async make(options: HostOptions): Promise<Host> {
    const { folder, stateBytes } = options
    await mkdir(folder, { recursive: true })
    const disk = stateBytes === undefined ? null : await tinyFileSystem(join(folder, 'state'), stateBytes)
    if (stateBytes !== undefined && disk === null) throw new Error('this process may not mount a file system')
    return new Host(options, await LinkProxy.listen(), disk)
  }

  get configFile(): string {
    return join(this.folder, 'agent.toml')
  }

  get stateFolder(): string {
    return join(this.folder, 'state')
  }

  get agentId(): string {
    return this.#agentId
  }

  get agent(): Program {
    if (this.#agent === null) throw new Error(`the agent of ${this.name} is not running`)
    return this.#agent
  }

  /** Whether its agent runs, or is stopped. */
  get hasAgent(): boolean {
    return this.#agent?.running ?? false
  }

  machine(name: string): ModelMachine {
    const machine = this.#machines.get(name)
    if (machine === undefined) throw new Error(`host ${this.name} has no machine ${name}`)
    return machine
  }

  async addMachine(
    name: string,
    disks: readonly ModelDisk[],
    options: { readonly qemu?: Partial<TestMachineOptions>; readonly guestAgent?: string } = {},
  ): Promise<ModelMachine> {
    const { qemu = {}, guestAgent } = options
    const machine = await ModelMachine.start({ name, folder: join(this.folder, name), disks, qemu })
    this.#machines.set(name, machine)
    if (guestAgent !== undefined) this.#guestAgents.set(name, guestAgent)
    return machine
  }

  /** To be called once the host has enrolled. */
  async enrolled(): Promise<void> {
    this.#agentId = (await Identity.load(this.stateFolder)).record.agentId
  }

  /** Starts `varve-agent run` and waits until it serves its machines. */
  async start(settings: HostSettings = {}): Promise<void> {
    await this.configure(settings)
    this.launch()
    await this.agent.says(/connected to the gateway/)
  }

  /** Starts `varve-agent run`, whether there is a gateway or not. */
  launch(): void {
    this.#agent = new Program('agent', ['run', '--config', this.configFile])
  }

  /** Changes the configuration that the next start reads. */
  async configure(settings: HostSettings): Promise<void> {
    this.#settings = { ...this.#settings, ...settings }
    await this.writeConfig()
  }

  /** Has the running agent take a changed configuration, and waits until it has. */
  async reload(settings: HostSettings): Promise<void> {
    await this.configure(settings)
    const taken = (): number => (this.agent.stdout + this.agent.stderr).split('the configuration was reloaded').length
    const before = taken()
    this.agent.signal('SIGHUP')
    await eventually(() => taken() > before)
  }

  async end(signal: NodeJS.Signals): Promise<Outcome> {
    const outcome = await this.agent.end(signal)
    this.#agent = null
    return outcome
  }

  async writeConfig(): Promise<void> {
    const { bandwidth, relay, exclude = [], attach = [], tpmState, mode } = this.#settings
    const { scratchReserve = '32 MiB', whileOff = false, tables = [], metricsListen } = this.#settings
    const lines = [
      `gateway = "ws://127.0.0.1:${this.link.port}"`,
      `state = "${this.stateFolder}"`,
      // what else happens to the file system of a busy test machine is not this test's business
      `scratch_reserve = "${scratchReserve}"`,
      ...(bandwidth === undefined ? [] : [`bandwidth = "${bandwidth}"`]),
      ...(metricsListen === undefined ? [] : [`metrics_listen = "${metricsListen}"`]),
      ...(relay === undefined ? [] : [`relay = ${JSON.stringify(relay)}`]),
      ...[...this.#machines.values()].flatMap((machine) => [
        '[[machine]]',
        `name = "${machine.name}"`,
        `qmp = "${machine.qemu.qmpPath}"`,
        ...(whileOff
          ? [`disks = [${machine.disks.map(({ id }) => offDisk(id, machine.chainOf(id)[0])).join(', ')}]`]
          : []),
        ...(mode === undefined ? [] : [`mode = "${mode}"`]),
        `exclude = ${JSON.stringify(exclude)}`,
        `attach = ${JSON.stringify(attach)}`,
        ...(tpmState === undefined ? [] : [`tpm_state = "${tpmState}"`]),
        ...(this.#guestAgents.has(machine.name) ? [`guest_agent = "${this.#guestAgents.get(machine.name)}"`] : []),
      ]),
      ...tables,
    ]
    await writeFile(this.configFile, `${lines.join('\n')}\n`)
  }

  /** One of the agent's commands, left running. */
  command(...args: readonly string[]): Program {
    return new Program('agent', [...args, '--config', this.configFile])
  }

  /** One of the agent's commands, run to its end. */
  run(...args: readonly string[]): Promise<Said> {
    return runProgram('agent', [...args, '--config', this.configFile])
  }

  /** Runs a command that has to succeed. */
  async done(...args: readonly string[]): Promise<Said> {
    const outcome = await this.run(...args)
    if (outcome.code !== 0)
      throw new Error(`varve-agent ${args.join(' ')} ended with ${outcome.code}: ${outcome.stderr}`)
    return outcome
  }

  async backup(machine: string, ...flags: readonly string[]): Promise<BackupAnswer> {
    const { stdout } = await this.done('backup', machine, '--json', ...flags)
    const { point } = v.parse(backupSchema, JSON.parse(lastLine(stdout)))
    return { ...point, point: point.id }
  }

  async points(...args: readonly string[]): Promise<PointAnswer[]> {
    return v.parse(pointsSchema, JSON.parse(lastLine((await this.done('points', ...args, '--json')).stdout))).points
  }

  /** The bitmaps that a restore point's disk number `index` has. */
  checkpoint(point: string): Checkpoint {
    return (index) => {
      const name = checkpointName(this.#agentId, point, index)
      return this.#settings.mode === 'push' ? [name, sizeMarkOf(name)] : [name]
    }
  }

  async residue(): Promise<Residue> {
    const own = `varve-${agentTag(this.#agentId)}-`
    return {
      scratch: await entries(join(this.stateFolder, 'scratch')),
      journal: await entries(join(this.stateFolder, 'leases')),
      sockets: (await entries(RUNTIME_FOLDER)).filter((name) => name.startsWith(own)),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endAgent()
    for (const machine of this.#machines.values()) await machine[Symbol.asyncDispose]()
    await this.link[Symbol.asyncDispose]()
    await this.#disk?.[Symbol.asyncDispose]()
    // what a failed test left outside the stand's own folder
    if (this.#agentId !== '')
      for (const name of (await this.residue()).sockets) await rm(join(RUNTIME_FOLDER, name), { recursive: true })
  }

  /** Lets the agent give back the lease that the end of a test may have met it in. */
  async #endAgent(): Promise<void> {
    if (this.#agent === null) return
    this.#agent.signal('SIGINT')
    await Promise.race([this.#agent.ended, sleep(GIVE_BACK_LIMIT_MS, undefined, { ref: false })])
    await this.#agent[Symbol.asyncDispose]()
  }
}
