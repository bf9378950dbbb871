// A machine that is stopped for a lease's instant: how it is looked at, stopped and continued, by its monitor or by libvirt.
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { LibvirtConnection } from '../libvirt/connection.ts'
import type { LibvirtCaller, LibvirtDomain } from '../libvirt/types.ts'
import { QmpClient, type QmpCaller } from '../qmp/client.ts'
import { checkAnswer } from '../qmp/disks.ts'
import { GUEST_COMMAND_LIMIT_MS, GUEST_SYNC_LIMIT_MS, type GuestCommandOptions } from './channel.ts'
import type { GuestCommand, GuestOptions, GuestSession } from './guest.ts'
import { parseLibvirtGuest } from './libvirt-guest.ts'

const PREFIX = 'paused '

/** The address of a machine that was stopped, as its note holds it; its monitor's is a socket, or as `libvirtGuest` writes it. */
export const pausedMachine = (monitor: string): string => `${PREFIX}${monitor}`

/** The monitor in such an address; null for the address of a guest. */
export const monitorOfPaused = (address: string): string | null =>
  address.startsWith(PREFIX) ? address.slice(PREFIX.length) : null

/** The state of a machine by its hypervisor's word; `paused` only where it was stopped on request. */
export interface RunLook {
  readonly running: boolean
  readonly state: string
}

/** What stops a machine and continues it. */
export interface MachineRun {
  look(): Promise<RunLook>
  pause(): Promise<void>
  resume(): Promise<void>
}

const statusSchema = v.object({ running: v.boolean(), status: v.string() })

/** By the monitor of its QEMU. */
export const qmpRun = (client: QmpCaller): MachineRun => ({
  look: async () => {
    const { running, status } = checkAnswer(statusSchema, await client.execute('query-status'), 'query-status')
    return { running, state: status }
  },
  pause: async () => void (await client.execute('stop')),
  resume: async () => void (await client.execute('cont')),
})

/** Why libvirt says that a domain is paused that somebody suspended; `unknown` is what a restarted libvirtd may say. */
const ON_REQUEST: ReadonlySet<string> = new Set(['user', 'unknown'])

/** By libvirt. */
export const libvirtRun = (caller: LibvirtCaller, domain: LibvirtDomain): MachineRun => ({
  look: async () => {
    // its state is told without waiting for a suspend under way; this waits for it
    const waited = await caller.diskErrors(domain).catch(asVarveError)
    const { state, reason } = await caller.domainState(domain)
    const running = state === 'running' || state === 'blocked'
    if (running && waited instanceof VarveError) throw waited
    if (state !== 'paused') return { running, state }
    return { running: false, state: ON_REQUEST.has(reason) ? state : `${state}, ${reason}` }
  },
  pause: () => caller.suspend(domain),
  resume: () => caller.resume(domain),
})

const late = (command: string, timeoutMs: number): VarveError =>
  new VarveError('GUEST_AGENT_UNAVAILABLE', `the machine did not answer ${command} within ${timeoutMs} ms`, {
    details: { errno: null },
  })

/** Such a machine as a guest that is thawed: continuing it is what thawing is to a guest. */
export class PausedMachine implements GuestSession {
  readonly #run: MachineRun
  readonly #close: () => void

  constructor(run: MachineRun, close: () => void = () => undefined) {
    this.#run = run
    this.#close = close
  }

  async execute(command: GuestCommand, options: GuestCommandOptions = {}): Promise<unknown> {
    const { timeoutMs = GUEST_COMMAND_LIMIT_MS } = options
    const limit = Promise.withResolvers<never>()
    const timer = setTimeout(() => limit.reject(options.late ?? late(command, timeoutMs)), timeoutMs)
    try {
      return await Promise.race([this.#answer(command), limit.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  /** A hypervisor answers each command before it takes the next one. */
  resync(): Promise<boolean> {
    return Promise.resolve(true)
  }

  close(): void {
    this.#close()
  }

  async #answer(command: GuestCommand): Promise<unknown> {
    if (command === 'guest-fsfreeze-status') return (await this.#isPaused()) ? 'frozen' : 'thawed'
    if (command !== 'guest-fsfreeze-thaw') throw new Error(`a machine that is stopped is not asked for ${command}`)
    if (!(await this.#isPaused())) return 0
    await this.#run.resume()
    return 1
  }

  async #isPaused(): Promise<boolean> {
    return (await this.#run.look()).state === 'paused'
  }
}

/** Opens a connection of its own to a stopped machine, within `timeoutMs`. */
export const openPaused = async (monitor: string, options: Omit<GuestOptions, 'guestAgent'>): Promise<GuestSession> => {
  const { timeoutMs = GUEST_SYNC_LIMIT_MS, signal } = options
  const domain = parseLibvirtGuest(monitor)
  const connection =
    domain === null
      ? await QmpClient.connect({ path: monitor, timeoutMs })
      : await LibvirtConnection.open({ uri: domain.uri, timeoutMs })
  const close = (): void => {
    signal?.removeEventListener('abort', close)
    connection.close()
  }
  signal?.addEventListener('abort', close, { once: true })
  if (domain === null || connection instanceof QmpClient)
    return new PausedMachine(qmpRun(connection as QmpClient), close)
  try {
    return new PausedMachine(libvirtRun(connection, await connection.domainByUuid(domain.uuid)), close)
  } catch (error) {
    close()
    throw error
  }
}
