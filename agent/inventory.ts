// What this agent's machines are and whether they run here: told to the gateway when a connection opens, and again when one comes
// or goes.
import type { Params, Result } from '../protocol/methods.ts'
import type { Clock, Peer } from '../protocol/peer.ts'
import { asVarveError, toldError, VarveError } from '../protocol/errors.ts'
import { Limiter } from '../protocol/host/limiter.ts'
import type { Log } from '../protocol/host/log.ts'
import { MACHINES_MAX } from '../protocol/limits.ts'
import { within } from '../protocol/host/within.ts'
import { relayedOf } from './relay.ts'
import type { LeaseDriver, MachineConfig, MachineIdentity } from './drivers/driver.ts'

/** How long a machine may take to say who it is, in milliseconds; later it counts as not here. */
const IDENTIFY_LIMIT_MS = 5000

/** Machines that are asked at once. */
const IDENTIFY_AT_ONCE = 32

/** How long a change is left to settle before it is looked at, in milliseconds: a migration ends in several steps. */
const SETTLE_MS = 300

/** Shortest time between two looks, in milliseconds, whatever machines do. */
const PAUSE_MS = 2000

/** How often it is looked whether the gateway was told of a machine that somebody waits for, in milliseconds. */
const TOLD_POLL_MS = 50

/** How often all machines are looked at, in milliseconds: not every arrival has an event. */
const LOOK_INTERVAL_MS = 30_000

/** How long after the departure of a machine the gateway is told again, in milliseconds: it says then who has the machine. */
const DEPARTURE_MS = 10_000

const NOT_HERE: MachineIdentity = { uuid: null, here: false }

type Announced = Params<'agent.inventory'>['machines'][number]
type Told = Required<Pick<Params<'agent.inventory'>, 'machines' | 'relay'>>
type Refused = Result<'agent.inventory'>['refused']

interface InventoryOptions {
  /** This host's name. */
  readonly host: string
  /** Those of the configuration; a reload changes the list in place. */
  readonly machines: readonly MachineConfig[]
  readonly driverOf: (machine: MachineConfig) => Pick<LeaseDriver, 'identify'>
  /** QMP commands that are relayed; a reload changes the list in place. */
  readonly relay: readonly string[]
  /** Jobs that hold, or may have left, something in a machine. */
  readonly jobs: () => Promise<string[]>
  /** Takes what the gateway refuses, where that is not what it refused before. */
  readonly onRefused: (refused: Refused) => Promise<void>
  readonly clock: Clock
  readonly log: Log
}

export class Inventory implements Disposable {
  readonly #options: InventoryOptions
  readonly #asking = new Limiter({ weightMax: IDENTIFY_AT_ONCE, waitingMax: MACHINES_MAX })
  readonly #known = new Map<string, MachineIdentity>()
  /** Machines of which a driver said that something has happened. */
  readonly #doubtful = new Set<string>()
  #peer: Peer | null = null
  /** What the gateway was told last on this connection, and what it refused, as texts; null for nothing. */
  #told: string | null = null
  #refused: string | null = null
  /** A machine has left, and the gateway did not say yet who has it. */
  #departed = false
  #busy = false
  #lookedMs = Number.NEGATIVE_INFINITY
  #dueMs: number | null = null
  #stopTimer: () => void = () => {}
  #over = false

  constructor(options: InventoryOptions) {
    this.#options = options
  }

  /** Tells the gateway on a connection that has just opened; what it says of the jobs. */
  async open(peer: Peer): Promise<Result<'agent.inventory'>['jobs']> {
    this.#peer = peer
    this.#told = null
    void peer.closed.then(() => this.#closed(peer))
    await this.#identify(this.#options.machines)
    const jobs = await this.#tell(peer)
    this.#wait(LOOK_INTERVAL_MS)
    return jobs
  }

  /** Something happened that may have brought or taken this machine. */
  changed(machine: string): void {
    this.#doubtful.add(machine)
    this.#wait(SETTLE_MS)
  }

  /**
   * Resolves once the gateway has been told of this machine as it is now; rejects with what it refuses it with, and with
   * AGENT_OFFLINE where there is no connection.
   */
  async told(machine: string): Promise<void> {
    const isTold = (): boolean => {
      const told = this.#told === null ? null : (JSON.parse(this.#told) as Told)
      return told?.machines.some(({ name, here }) => name === machine && here) === true
    }
    while (!isTold()) {
      if (this.#peer === null || this.#over)
        throw new VarveError('AGENT_OFFLINE', 'the agent is not connected to the gateway just now')
      this.changed(machine)
      await new Promise<void>((resolve) => this.#options.clock.after(TOLD_POLL_MS, resolve))
    }
    const refused = (JSON.parse(this.#refused ?? '[]') as Refused).find((one) => one.machine === machine)
    if (refused !== undefined) throw toldError(refused.code, `refused by the gateway: ${refused.message}`)
  }

  [Symbol.dispose](): void {
    this.#over = true
    this.#stopTimer()
  }

  #closed(peer: Peer): void {
    if (this.#peer === peer) this.#peer = null
  }

  /** The next look is in so many milliseconds at the latest. */
  #wait(delayMs: number): void {
    const { clock } = this.#options
    const dueMs = Math.max(clock.elapsed() + delayMs, this.#lookedMs + PAUSE_MS)
    if (this.#over || this.#busy || (this.#dueMs !== null && this.#dueMs <= dueMs)) return
    this.#stopTimer()
    this.#dueMs = dueMs
    this.#stopTimer = clock.after(dueMs - clock.elapsed(), () => void this.#look())
  }

  async #look(): Promise<void> {
    const { machines, clock, log } = this.#options
    this.#busy = true
    this.#dueMs = null
    const doubtful = new Set(this.#doubtful)
    this.#doubtful.clear()
    try {
      await this.#identify(doubtful.size === 0 ? machines : machines.filter(({ name }) => doubtful.has(name)))
      const peer = this.#peer
      // what was refused may be granted by now: by a person, or as the other agent has let it go
      if (peer !== null && (this.#told !== this.#text() || this.#departed || this.#waitsForMore()))
        await this.#tell(peer)
    } catch (thrown) {
      const error = asVarveError(thrown)
      this.#told = null
      if (!error.endsConnection)
        log.warn({ code: error.code, reason: error.message }, 'the gateway could not be told which machines are here')
    } finally {
      this.#busy = false
      this.#lookedMs = clock.elapsed()
      this.#wait(this.#doubtful.size > 0 ? SETTLE_MS : this.#departed ? DEPARTURE_MS : LOOK_INTERVAL_MS)
    }
  }

  async #identify(machines: readonly MachineConfig[]): Promise<void> {
    const { driverOf } = this.#options
    const ask = async (machine: MachineConfig): Promise<void> => {
      const identity = await within(driverOf(machine).identify(machine), IDENTIFY_LIMIT_MS)
      this.#known.set(machine.name, identity ?? NOT_HERE)
    }
    await Promise.all(machines.map((machine) => this.#asking.run(1, () => ask(machine))))
  }

  #list(): Announced[] {
    return this.#options.machines.map(({ name }) => ({ name, ...(this.#known.get(name) ?? NOT_HERE) }))
  }

  #text(): string {
    return JSON.stringify({ machines: this.#list(), relay: relayedOf(this.#options.relay) } satisfies Told)
  }

  /** Whether a machine that runs here was refused. */
  #waitsForMore(): boolean {
    const refused = JSON.parse(this.#refused ?? '[]') as Refused
    return refused.some(({ machine }) => this.#known.get(machine)?.here === true)
  }

  async #tell(peer: Peer): Promise<Result<'agent.inventory'>['jobs']> {
    const { host, jobs, onRefused } = this.#options
    const text = this.#text()
    const told = JSON.parse(text) as Told
    const { machines } = told
    const last = this.#told === null ? null : (JSON.parse(this.#told) as Told)
    const before = new Set((last?.machines ?? []).flatMap((one) => (one.here ? one.name : [])))
    const answer = await peer.call('agent.inventory', { host, ...told, jobs: await jobs() })
    this.#told = text
    this.#departed = machines.some(({ name, here }) => !here && before.has(name))
    const refused = JSON.stringify(answer.refused)
    if (refused !== this.#refused) await onRefused(answer.refused)
    this.#refused = refused
    return answer.jobs
  }
}
