// The gateway of a data folder: over the local socket of the running one, or of one that this process opens for its work.
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Session } from '../../protocol/client.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLog } from '../../protocol/host/log.ts'
import { checkDataFolder, usageError } from '../datastore/data-folder.ts'
import { Gateway } from '../gateway.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import { SOCKET_NAME } from '../server/local.ts'
import { dialLocal } from './dial-local.ts'

/** How long a command waits for a gateway that starts or stops, and how often it looks, in milliseconds. */
const START_TIMEOUT_MS = 10_000
const LOOK_INTERVAL_MS = 100

/**
 * How long a gateway that a command has opened stays for other commands that use it, and how often that is checked, in
 * milliseconds.
 */
const LEAVE_TIMEOUT_MS = 10_000
const LEAVE_INTERVAL_MS = 10

/** What a command may do about an incomplete data folder. */
export interface Mending {
  /** Makes the datastore where there is none. */
  readonly make?: boolean
  /** Opens it even when the signing keys are lost. */
  readonly acceptLostKeys?: boolean
}

/**
 * A session with the gateway that runs, as the owner of a tenant, or of the platform's role without one; null where
 * none runs.
 */
const connect = async (data: string, tenant: string | null): Promise<Session | null> => {
  try {
    await using socket = await SocketPath.of(data, SOCKET_NAME)
    return await dialLocal({ socketPath: socket.path, tenant })
  } catch (thrown) {
    throw usageError(data, thrown)
  }
}

/** Of a gateway that stops, or has just done so. */
const isGoing = ({ code }: VarveError): boolean => code === 'GOING_AWAY' || code === 'CONNECTION_LOST'

/** Whether a gateway takes sessions; the error of one that is stopping or breaks them off. */
const isListening = async (data: string): Promise<boolean | VarveError> => {
  try {
    const session = await connect(data, null)
    session?.peer.close(new VarveError('CANCELLED', 'nothing was asked for'))
    return session !== null
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (isGoing(error)) return error
    throw error
  }
}

/**
 * The running gateway's socket (null), or our own gateway, which does not log: the command reports failures itself;
 * STORE_LOCKED when one holds the folder and cannot be reached.
 */
const gatewayOf = async (
  data: string,
  signal: AbortSignal,
  { acceptLostKeys = false }: Mending,
): Promise<Gateway | null> => {
  const lastMs = systemClock.elapsed() + START_TIMEOUT_MS
  while (true) {
    signal.throwIfAborted()
    const listens = await isListening(data)
    if (listens === true) return null
    try {
      const log = openLog({ level: 'silent' })
      return await Gateway.open({ folder: data, listen: null, log, clock: systemClock, acceptLostKeys })
    } catch (thrown) {
      if (asVarveError(thrown).code !== 'STORE_LOCKED') throw thrown
      // a gateway that answers with an error can be tried again; one that does not answer is named
      if (systemClock.elapsed() >= lastMs) throw listens === false ? thrown : listens
    }
    await sleep(LOOK_INTERVAL_MS)
  }
}

/** Opens sessions with the gateway of a data folder, while it is not disposed of. */
export class Beside implements AsyncDisposable {
  readonly #data: string
  readonly #signal: AbortSignal
  readonly #mending: Mending
  /** Null where one runs already. */
  #own: Gateway | null = null

  private constructor(data: string, signal: AbortSignal, mending: Mending) {
    this.#data = data
    this.#signal = signal
    this.#mending = mending
  }

  /** CONFIG_INVALID, CATALOG_MISSING, KEYS_MISSING, STORE_LOCKED, STORE_VERSION, what the signal was aborted with. */
  static async open(data: string, signal: AbortSignal, mending: Mending): Promise<Beside> {
    await checkDataFolder(data, mending)
    const beside = new Beside(data, signal, mending)
    beside.#own = await gatewayOf(data, signal, mending)
    return beside
  }

  /** Whether none runs but that of this command. */
  get isOwn(): boolean {
    return this.#own !== null
  }

  /** A session of the local administrator; NOT_FOUND for a tenant that is not there. */
  async session(tenant: string | null): Promise<Session> {
    while (true) {
      const session = await connect(this.#data, tenant).catch((thrown: unknown) => {
        if (this.#own !== null || !isGoing(asVarveError(thrown))) throw thrown
        return null
      })
      if (session !== null) return session
      if (this.#own !== null) throw new VarveError('INTERNAL', 'the gateway of this command takes no session')
      // the running gateway has just stopped
      this.#own = await gatewayOf(this.#data, this.#signal, this.#mending)
    }
  }

  /** Waits, not for long, for other commands that use this one's gateway. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#own === null) return
    const lastMs = systemClock.elapsed() + LEAVE_TIMEOUT_MS
    while (this.#own.sessionCount > 0 && !this.#signal.aborted && systemClock.elapsed() < lastMs)
      await sleep(LEAVE_INTERVAL_MS)
    await this.#own[Symbol.asyncDispose]()
  }
}
