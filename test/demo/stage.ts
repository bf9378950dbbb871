// Everything that the demonstration has running: gateway, agent and guests, and how to end them or let them be.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { bootGuest, type Guest, type GuestOptions } from '../rig/guest.ts'
import { agentProgram, Commands, gatewayProgram } from './commands.ts'
import { accepts, freePort, Service } from './service.ts'

const MACHINE = 'demo-vm'
/** Longest time that gateway or agent may need before they answer, in milliseconds. */
const READY_TIMEOUT_MS = 30_000

const configText = (port: number, folder: string): string => `gateway = "ws://127.0.0.1:${port}"
state = "${folder}/agent"

[[machine]]
name = "${MACHINE}"
qmp = "${folder}/agent.qmp"
guest_agent = "${folder}/guest-agent.sock"
`

/** Disposing it ends everything in the reverse order of its start. */
export class Stage implements AsyncDisposable {
  readonly folder: string
  readonly machine = MACHINE
  readonly commands: Commands
  readonly #config: string
  readonly #data: string
  readonly #services: Service[] = []
  readonly #guests: Guest[] = []
  readonly #abort = new AbortController()
  #port = 0
  #over = false

  constructor(folder: string) {
    this.folder = folder
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

  async startGateway(): Promise<void> {
    this.#port = await freePort()
    await writeFile(this.#config, configText(this.#port, this.folder))
    const args = [gatewayProgram, 'serve', '--data', this.#data, '--listen', `127.0.0.1:${this.#port}`]
    const gateway = await this.#service('gateway', args)
    await gateway.until(() => accepts(this.#port), READY_TIMEOUT_MS)
  }

  async startAgent(): Promise<void> {
    const agent = await this.#service('agent', [agentProgram, 'run', '--config', this.#config])
    await agent.until(() => this.commands.agentAnswers(), READY_TIMEOUT_MS)
  }

  /** Boots a guest; one with the agent's sockets is what the agent backs up. */
  async bootGuest(options: Omit<GuestOptions, 'folder'>): Promise<Guest> {
    const guest = await bootGuest({ ...options, folder: this.folder })
    this.#guests.push(guest)
    if (this.#over) await guest.stop()
    return guest
  }

  async logTails(): Promise<{ name: string; tail: string }[]> {
    return Promise.all(this.#services.map(async (service) => ({ name: service.name, tail: await service.tail() })))
  }

  /** Lets everything run on; tells how to look around and how to end it. */
  release(): string {
    const guests = this.#guests.filter((guest) => !guest.over)
    for (const held of [...this.#services, ...guests]) held.release()
    const pids = [...this.#services.toReversed(), ...guests].map(({ pid }) => pid).join(' ')
    const config = `--config ${this.#config}`
    return [
      '',
      'Everything goes on. To look around, from the repository:',
      `  npm run --silent agent -- points ${config}`,
      `  npm run --silent agent -- backup ${MACHINE} ${config}`,
      `  npm run --silent agent -- restore POINT --disk vda --to disk.raw ${config}`,
      `  npm run --silent gateway -- tenant list --data ${this.#data}`,
      `  curl http://127.0.0.1:${this.#port}/healthz`,
      `  tail -f ${this.folder}/*.log`,
      'To end it:',
      `  kill ${pids}; sleep 2; rm -rf ${this.folder}`,
    ].join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    // The agent settles with QEMU when it stops, so the guests go after it; the gateway comes last.
    for (const service of this.#services.toReversed().filter(({ name }) => name !== 'gateway')) {
      await service[Symbol.asyncDispose]()
    }
    for (const guest of this.#guests) await guest.stop()
    for (const service of this.#services) await service[Symbol.asyncDispose]()
  }

  async #service(name: string, args: readonly string[]): Promise<Service> {
    const service = await Service.start(name, path.join(this.folder, `${name}.log`), process.execPath, args)
    this.#services.push(service)
    if (this.#over) await service[Symbol.asyncDispose]()
    return service
  }
}
