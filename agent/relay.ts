// What the gateway may ask of a machine besides backups: allowed QMP commands, events, and how the machine is.
import { asVarveError, VarveError } from '../protocol/errors.ts'
import { QMP_CHARS_MAX } from '../protocol/limits.ts'
import type { MachineStatus, Params, Result } from '../protocol/methods.ts'
import type { ServedCall } from '../protocol/peer.ts'
import * as v from 'valibot'
import type { MachineConfig } from './config.ts'
import { checkAnswer, listDisks, splitExcluded, type MachineDisk } from './qmp/disks.ts'
import type { QmpLink } from './qmp/link.ts'
import type { QmpEvent } from './qmp/message.ts'

/** Events of one subscriber that may wait; past that the subscription ends rather than lose some silently. */
const EVENTS_WAITING_MAX = 1024

const runState = v.object({ status: v.string() })

export interface RelayOptions {
  readonly machines: readonly MachineConfig[]
  readonly links: ReadonlyMap<string, QmpLink>
  /** Commands that may be relayed; one that ends in `*` allows all that begin so. */
  readonly allowed: readonly string[]
  readonly jobOf: (machine: string) => string | null
}

/** Whether a list of names, some with `*` at their end, covers a command. */
export const isAllowed = (allowed: readonly string[], command: string): boolean =>
  allowed.some((rule) => (rule.endsWith('*') ? command.startsWith(rule.slice(0, -1)) : rule === command))

/** The image's format, also while a backup's filter of QEMU lies over it. */
const formatOf = ({ format, backing }: MachineDisk): string =>
  format === 'copy-before-write' ? (backing[0]?.format ?? format) : format

export class Relay {
  readonly #options: RelayOptions

  constructor(options: RelayOptions) {
    this.#options = options
  }

  async execute({ machine, command, arguments: text }: Params<'agent.qmp'>): Promise<Result<'agent.qmp'>> {
    const link = this.#link(machine)
    if (!isAllowed(this.#options.allowed, command))
      throw new VarveError(
        'QMP_FORBIDDEN',
        `this agent does not relay ${command}; its configuration's "relay" lists what it does`,
      )
    let args: unknown
    try {
      args = text === '' ? {} : JSON.parse(text)
    } catch {
      throw new VarveError('PARAMS_INVALID', 'the arguments are not JSON')
    }
    if (typeof args !== 'object' || args === null || Array.isArray(args))
      throw new VarveError('PARAMS_INVALID', 'the arguments are not a JSON object')
    const client = await link.client()
    const value = JSON.stringify((await client.execute(command, args as Record<string, unknown>)) ?? {})
    if (value.length > QMP_CHARS_MAX) throw new VarveError('RESULT_INVALID', "QEMU's answer is too long to relay")
    return { value }
  }

  /** Sends the machine's events until the caller has enough. */
  async events({ machine }: Params<'agent.events'>, call: ServedCall<'agent.events'>): Promise<Record<string, never>> {
    const link = this.#link(machine)
    const waiting: QmpEvent[] = []
    let wake: (() => void) | null = null
    const overflow = Promise.withResolvers<never>()
    overflow.promise.catch(() => {})
    const unsubscribe = link.subscribe((event) => {
      if (waiting.length < EVENTS_WAITING_MAX) waiting.push(event)
      else overflow.reject(new VarveError('TOO_MANY_REQUESTS', 'the subscriber takes the events too slowly'))
      wake?.()
    })
    call.signal.addEventListener('abort', () => wake?.(), { once: true })
    try {
      while (!call.signal.aborted) {
        const event = waiting.shift()
        if (event === undefined) await new Promise<void>((resolve) => (wake = resolve))
        else {
          const { event: name, timeMs, data } = event
          await Promise.race([call.send({ event: name, timeMs, data: JSON.stringify(data) }), overflow.promise])
        }
      }
    } finally {
      unsubscribe()
    }
    return {}
  }

  async status(name: string): Promise<MachineStatus> {
    const link = this.#link(name)
    const { exclude } = this.#options.machines.find((machine) => machine.name === name)!
    const lease = this.#options.jobOf(name)
    try {
      const client = await link.client()
      const { status } = checkAnswer(runState, await client.execute('query-status'), 'query-status')
      const { major, minor, micro } = client.version
      const { disks: found, leftOut } = splitExcluded(await listDisks(client), exclude)
      const disks = found.map((disk) => ({ name: disk.name, size: disk.size, format: formatOf(disk) }))
      return {
        name,
        qmp: 'up',
        status,
        qemu: `${major}.${minor}.${micro}`,
        lease,
        problem: null,
        disks,
        leftOut: [...leftOut],
      }
    } catch (thrown) {
      const problem = asVarveError(thrown).message
      return { name, qmp: link.state, status: null, qemu: null, lease, problem, disks: [], leftOut: [] }
    }
  }

  #link(machine: string): QmpLink {
    const link = this.#options.links.get(machine)
    if (link === undefined) throw new VarveError('NOT_FOUND', `this agent has no machine "${machine}"`)
    return link
  }
}
