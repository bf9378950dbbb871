// What the gateway may ask of a machine besides backups: allowed QMP commands, events, and its state.
import { VarveError } from '../protocol/errors.ts'
import { QMP_CHARS_MAX, RELAY_TOLD_MAX } from '../protocol/limits.ts'
import type { CheckpointList, MachineStatus, Params, Result } from '../protocol/methods.ts'
import type { ServedCall } from '../protocol/peer.ts'
import type { Relayed } from '../protocol/views.ts'
import type { LeaseDriver, MachineConfig, MachineMonitor, MonitorEvent } from './drivers/driver.ts'

/** Events of one subscriber that may wait; past that the subscription ends rather than drop any silently. */
const EVENTS_WAITING_MAX = 1024

export interface RelayOptions {
  readonly machines: readonly MachineConfig[]
  readonly driverOf: (machine: MachineConfig) => LeaseDriver
  /** Commands that may be relayed; one that ends in `*` allows all that begin so. */
  readonly allowed: readonly string[]
  readonly jobOf: (machine: string) => string | null
  /** The lease that another program holds on a machine; null for none. */
  readonly leaseOf: (machine: string) => { readonly lease: string; readonly target: string } | null
}

/** Whether a list of names, some with `*` at their end, covers a command. */
export const isAllowed = (allowed: readonly string[], command: string): boolean =>
  allowed.some((rule) => (rule.endsWith('*') ? command.startsWith(rule.slice(0, -1)) : rule === command))

/** What the gateway is told of the commands that are relayed: RELAY_TOLD_MAX of them. */
export const relayedOf = (allowed: readonly string[]): Relayed => ({
  commands: allowed.slice(0, RELAY_TOLD_MAX),
  more: Math.max(0, allowed.length - RELAY_TOLD_MAX),
})

export class Relay {
  readonly #options: RelayOptions

  constructor(options: RelayOptions) {
    this.#options = options
  }

  async execute({ machine: name, command, arguments: text }: Params<'agent.qmp'>): Promise<Result<'agent.qmp'>> {
    const machine = this.#machine(name)
    const monitor = this.#monitor(machine)
    if (!isAllowed(this.#options.allowed, command))
      throw new VarveError(
        'QMP_FORBIDDEN',
        `this agent does not relay ${command}; "relay" in its configuration lists what it relays`,
      )
    let args: unknown
    try {
      args = text === '' ? {} : JSON.parse(text)
    } catch {
      throw new VarveError('PARAMS_INVALID', 'the arguments are not JSON')
    }
    if (typeof args !== 'object' || args === null || Array.isArray(args))
      throw new VarveError('PARAMS_INVALID', 'the arguments are not a JSON object')
    const value = JSON.stringify((await monitor.execute(machine, command, args as Record<string, unknown>)) ?? {})
    if (value.length > QMP_CHARS_MAX) throw new VarveError('RESULT_INVALID', "QEMU's answer is too long to relay")
    return { value }
  }

  /** Sends the machine's events until the caller has enough. */
  async events(
    { machine: name }: Params<'agent.events'>,
    call: ServedCall<'agent.events'>,
  ): Promise<Record<string, never>> {
    const machine = this.#machine(name)
    const waiting: MonitorEvent[] = []
    let wake: (() => void) | null = null
    const overflow = Promise.withResolvers<never>()
    overflow.promise.catch(() => {})
    const unsubscribe = this.#monitor(machine).subscribe(machine, (event) => {
      if (waiting.length < EVENTS_WAITING_MAX) waiting.push(event)
      else overflow.reject(new VarveError('TOO_MANY_REQUESTS', 'the subscriber reads the events too slowly'))
      wake?.()
    })
    call.signal.addEventListener('abort', () => wake?.(), { once: true })
    try {
      while (!call.signal.aborted) {
        const event = waiting.shift()
        if (event === undefined) await new Promise<void>((resolve) => (wake = resolve))
        else {
          const data = JSON.stringify(event.data)
          await Promise.race([call.send({ ...event, data }), overflow.promise])
        }
      }
    } finally {
      unsubscribe()
    }
    return {}
  }

  async status(name: string): Promise<MachineStatus> {
    const machine = this.#machine(name)
    const held = this.#options.leaseOf(name)
    const lease = this.#options.jobOf(name) ?? held?.lease ?? null
    return { name, lease, target: held?.target ?? null, ...(await this.#options.driverOf(machine).look(machine)) }
  }

  async checkpoints(name: string): Promise<CheckpointList> {
    const machine = this.#machine(name)
    return await this.#options.driverOf(machine).checkpoints(machine)
  }

  #machine(name: string): MachineConfig {
    const machine = this.#options.machines.find((one) => one.name === name)
    if (machine === undefined) throw new VarveError('NOT_FOUND', `this agent has no machine "${name}"`)
    return machine
  }

  #monitor(machine: MachineConfig): MachineMonitor {
    const { monitor } = this.#options.driverOf(machine)
    if (monitor !== null) return monitor
    const sentence = `machine ${machine.name} has no QMP monitor to relay to: its driver is "${machine.driver}"`
    throw new VarveError('QMP_UNAVAILABLE', sentence)
  }
}
