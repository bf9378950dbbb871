// Everything that the demonstration has running: gateway, agent and guests, and how to end them.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Guest } from '../rig/guest.ts'
import { AGENT_NODE, agentProgram, Commands, gatewayProgram } from './commands.ts'
import type { BootOptions, Host } from './host.ts'
import { accepts, freePort, Service } from './service.ts'

const MACHINE = 'demo-vm'
/** Longest time that gateway or agent may need before they answer, in milliseconds. */
const READY_TIMEOUT_MS = 30_000

const configText = (port: number, folder: string, machine: string): string => `gateway = "ws://127.0.0.1:${port}"
state = "${folder}/agent"

[[machine]]
name = "${MACHINE}"
${machine}
`

/** Disposing it ends everything in the reverse order of its start. */
export class Stage implements AsyncDisposable {
  readonly folder: string
  readonly machine = MACHINE
  readonly host: Host
  readonly commands: Commands
  readonly #config: string
  readonly #data: string
  readonly #services: Service[] = []
  readonly #guests: Guest[] = []
  readonly #abort = new AbortController()
  #port = 0
  #hosting: Promise<void> = Promise.resolve()
  #over = false

  constructor(folder: string, host: Host) {
    this.folder = folder
    this.host = host
    this.#config = path.join(folder, 'agent.toml')
    this.#data = path.join(folder, 'gateway')
    this.commands = new Commands(this.#data, this.#config, this.#abort.signal)
  }

  get interrupted(): boolean {
    return this.#abort.signal.aborted
  }

  get gatewayUrl(): string {
    return `ws://127.0.0.1:${this.#port}`
  }

  /** Stops the story: what it waits for fails, and nothing new is started. */
  interrupt(signal: string): never {
    this.#abort.abort()
    throw new Error(`interrupted by ${signal}`)
  }

  async startHost(): Promise<void> {
    if (this.#over) return
    this.#hosting = this.host.start()
    await this.#hosting
  }

  async startGateway(): Promise<void> {
    this.#port = await freePort()
    await writeFile(this.#config, configText(this.#port, this.folder, this.host.machineKeys(MACHINE)))
    const args = [gatewayProgram, 'serve', '--data', this.#data, '--listen', `127.0.0.1:${this.#port}`]
    const gateway = await this.#service('gateway', args)
    await gateway.until(() => accepts(this.#port), READY_TIMEOUT_MS)
  }

  async startAgent(): Promise<void> {
    const agent = await this.#service('agent', [...AGENT_NODE, agentProgram, 'run', '--config', this.#config])
    await agent.until(() => this.commands.agentAnswers(), READY_TIMEOUT_MS)
  }

  async bootGuest(options: BootOptions): Promise<Guest> {
    const guest = await this.host.boot(options)
    this.#guests.push(guest)
    if (this.#over) await guest.stop()
    return guest
  }

  async logTails(): Promise<{ name: string; tail: string }[]> {
    return Promise.all(this.#services.map(async (service) => ({ name: service.name, tail: await service.tail() })))
  }

  /** Lets the gateway back the machine up by itself; what a person may look at: the console, by a link that signs in. */
  async hints(): Promise<string> {
    const config = `--config ${this.#config}`
    await this.commands.planHourly('demo')
    return [
      '',
      'Everything goes on until Ctrl-C. The console, signed in as owner of the tenant (once, within 5 minutes):',
      `  ${await this.commands.consoleLink('demo')}`,
      'Another link, and the commands, from the repository:',
      `  npm run --silent gateway -- login --tenant demo --data ${this.#data}`,
      `  npm run --silent agent -- points ${config}`,
      `  npm run --silent agent -- backup ${MACHINE} ${config}`,
      `  npm run --silent agent -- restore POINT --disk vda --to disk.raw ${config}`,
      `  tail -f ${this.folder}/*.log`,
      ...this.host.hints(MACHINE).map((hint) => `  ${hint}`),
    ].join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    // The agent settles with QEMU when it stops, so the guests go after it, and what they run on after them.
    for (const service of this.#services.filter(({ name }) => name === 'agent')) await service[Symbol.asyncDispose]()
    for (const guest of this.#guests) await guest.stop()
    // One that is just starting can be ended when it has started.
    await this.#hosting.catch(() => undefined)
    await this.host[Symbol.asyncDispose]()
    for (const service of this.#services.toReversed()) await service[Symbol.asyncDispose]()
  }

  async #service(name: string, args: readonly string[]): Promise<Service> {
    const service = await Service.start(name, path.join(this.folder, `${name}.log`), process.execPath, args)
    this.#services.push(service)
    if (this.#over) await service[Symbol.asyncDispose]()
    return service
  }
}
