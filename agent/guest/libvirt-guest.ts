// Freezes and thaws the guest of a libvirt domain by libvirt's own calls.
import { VarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import { LIBVIRT_CODES } from '../libvirt/codes.ts'
import { LibvirtConnection } from '../libvirt/connection.ts'
import { isLibvirtError } from '../libvirt/errors.ts'
import type { LibvirtDomain } from '../libvirt/types.ts'
import { GUEST_COMMAND_LIMIT_MS, GUEST_SYNC_LIMIT_MS, type GuestCommandOptions } from './channel.ts'

/** How long libvirt may take for one freeze or thaw, in milliseconds; longer than any guest is waited for. */
const CALL_LIMIT_MS = 600_000

const ADDRESS = /^libvirt ([0-9a-f-]{36}) (\S+)(?: (\/.*))?$/su

export interface LibvirtGuestAddress {
  readonly uri: string
  readonly uuid: string
  /** Where QEMU listens for the guest's agent, by which the guest is thawed while no libvirt runs. */
  readonly socket?: string | null
}

/** The address of a domain's guest, as the note of a freeze holds it. */
export const libvirtGuest = ({ uri, uuid, socket = null }: LibvirtGuestAddress): string =>
  `libvirt ${uuid} ${uri}${socket === null ? '' : ` ${socket}`}`

export const isLibvirtGuest = (address: string): boolean => ADDRESS.test(address)

/** What an address says; null for one of another kind. */
export const parseLibvirtGuest = (address: string): Required<LibvirtGuestAddress> | null => {
  const [, uuid, uri, socket = null] = ADDRESS.exec(address) ?? []
  return uuid === undefined || uri === undefined ? null : { uri, uuid, socket }
}

const parseAddress = (address: string): Required<LibvirtGuestAddress> => {
  const parsed = parseLibvirtGuest(address)
  if (parsed === null) throw new Error(`not the address of a libvirt guest: ${address}`)
  return parsed
}

const unavailable = (message: string, cause?: unknown): VarveError =>
  new VarveError('GUEST_AGENT_UNAVAILABLE', message, { details: { errno: null }, cause })

/** Refusals that say that no agent answers in the guest, or that it does not run. */
const SILENT = [
  LIBVIRT_CODES.agentUnresponsive,
  LIBVIRT_CODES.argumentUnsupported,
  LIBVIRT_CODES.operationInvalid,
  LIBVIRT_CODES.operationTimeout,
  LIBVIRT_CODES.noDomain,
]

const asGuestError = (thrown: unknown, command: string): VarveError => {
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const refused = thrown instanceof VarveError && thrown.code === 'LIBVIRT_ERROR'
  if (!refused || SILENT.some((code) => isLibvirtError(thrown, code)))
    return unavailable(`libvirt could not have the guest run ${command}: ${message}`, thrown)
  return new VarveError('GUEST_AGENT_ERROR', `the guest agent refused ${command}: ${message}`, {
    details: { command, class: '', desc: message },
    cause: thrown,
  })
}

/** What this side knows of the guest: libvirt has no call for it. */
type Known = 'unknown' | 'frozen' | 'thawed'

export interface LibvirtGuestOptions {
  readonly address: string
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

export class LibvirtGuest {
  readonly #connection: LibvirtConnection
  readonly #domain: LibvirtDomain
  #known: Known = 'unknown'
  #pending: Promise<unknown> = Promise.resolve()
  #forget: () => void = () => undefined

  private constructor(connection: LibvirtConnection, domain: LibvirtDomain) {
    this.#connection = connection
    this.#domain = domain
  }

  /** Connects to libvirt and finds the domain; GUEST_AGENT_UNAVAILABLE when that fails or the domain does not run. */
  static async open({ address, timeoutMs = GUEST_SYNC_LIMIT_MS, signal }: LibvirtGuestOptions): Promise<LibvirtGuest> {
    const { uri, uuid } = parseAddress(address)
    let connection: LibvirtConnection | null = null
    try {
      connection = await LibvirtConnection.open({ uri, timeoutMs })
      const guest = new LibvirtGuest(connection, await connection.domainByUuid(uuid))
      if (guest.#domain.id === null) throw unavailable(`domain ${guest.#domain.name} does not run`)
      const onAbort = (): void => guest.close()
      signal?.addEventListener('abort', onAbort, { once: true })
      guest.#forget = () => signal?.removeEventListener('abort', onAbort)
      return guest
    } catch (error) {
      connection?.close()
      throw asGuestError(error, 'guest-sync')
    }
  }

  /** Runs one command; GUEST_AGENT_ERROR carries the agent's description. */
  async execute(command: string, options: GuestCommandOptions = {}): Promise<unknown> {
    const { timeoutMs = GUEST_COMMAND_LIMIT_MS, keepOpen = false } = options
    if (command === 'guest-fsfreeze-status') return this.#known
    const late = options.late ?? unavailable(`libvirt did not answer ${command} within ${timeoutMs} ms`)
    const asked = this.#ask(command, options.mountpoints ?? [])
    this.#pending = asked.catch(() => undefined)
    const limit = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      if (!keepOpen) this.close()
      limit.reject(late)
    }, timeoutMs)
    try {
      return await Promise.race([asked, limit.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  async resync(timeoutMs: number): Promise<boolean> {
    return (
      (await within(
        this.#pending.then(() => true),
        timeoutMs,
      )) ?? false
    )
  }

  close(): void {
    this.#forget()
    this.#connection.close()
  }

  async #ask(command: string, mountpoints: readonly string[]): Promise<number> {
    const freezes = command !== 'guest-fsfreeze-thaw'
    this.#known = 'unknown'
    try {
      const options = { timeoutMs: CALL_LIMIT_MS }
      const connection = this.#connection
      const count = await (freezes
        ? connection.fsFreeze(this.#domain, { ...options, mountpoints })
        : connection.fsThaw(this.#domain, options))
      this.#known = freezes ? 'frozen' : 'thawed'
      return count
    } catch (error) {
      throw asGuestError(error, command)
    }
  }
}

const isDaemonAway = (error: unknown): boolean => error instanceof VarveError && error.code === 'LIBVIRT_UNAVAILABLE'

/**
 * The socket by which a guest is reached after libvirt failed with this error as its daemon does not run; null otherwise. QEMU
 * serves one client at a time there, which is libvirt while it runs.
 */
export const socketBesideLibvirt = (address: string, error: unknown): string | null =>
  error instanceof VarveError && isDaemonAway(error.cause) ? parseAddress(address).socket : null

/** How long libvirt may take to say whether a domain runs, in milliseconds. */
const LOOK_LIMIT_MS = 2_000

/** Whether the guest's machine does not run for certain; while no libvirt runs, `isSocketAway` tells. */
export const isLibvirtGuestAway = async (
  address: string,
  isSocketAway: (path: string) => Promise<boolean>,
): Promise<boolean> => {
  const { uri, uuid, socket } = parseAddress(address)
  try {
    const connection = await LibvirtConnection.open({ uri, timeoutMs: LOOK_LIMIT_MS })
    try {
      return (await connection.domainByUuid(uuid)).id === null
    } finally {
      connection.close()
    }
  } catch (error) {
    if (isDaemonAway(error) && socket !== null) return await isSocketAway(socket)
    return isLibvirtError(error, LIBVIRT_CODES.noDomain)
  }
}
