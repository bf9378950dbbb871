// The gateway of a data folder: over the local socket of the one that runs, or of one that this process opens for as long as it takes.
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Session } from '../../protocol/client.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLog } from '../../protocol/host/log.ts'
import { checkDataFolder, usageError } from '../datastore/data-folder.ts'
import { Gateway } from '../gateway.ts'
import { SocketPath } from '../server/local.ts'
import { dialLocal } from './dial-local.ts'

/** How long a gateway that starts or stops may keep a command waiting, and how often it looks, in milliseconds. */
const START_TIMEOUT_MS = 10_000
const LOOK_INTERVAL_MS = 100

/** What a command may have done to a data folder that is not as it should be. */
export interface Mending {
  /** Makes the datastore where there is none. */
  readonly make?: boolean
  /** Opens it although the signing keys are lost. */
  readonly acceptLostKeys?: boolean
}

/** A session with the gateway that runs, as the owner of a tenant, or of the platform's role without one; null where none runs. */
const connect = async (data: string, tenant: string | null): Promise<Session | null> => {
  try {
    await using socket = await SocketPath.of(data)
    return await dialLocal({ socketPath: socket.path, tenant })
  } catch (thrown) {
    throw usageError(data, thrown)
  }
}

/** Whether a gateway takes sessions; the error of one that goes or breaks them off: it may be nobody's socket soon. */
const isListening = async (data: string): Promise<boolean | VarveError> => {
  try {
    const session = await connect(data, null)
    session?.peer.close(new VarveError('CANCELLED', 'nothing was asked for'))
    return session !== null
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code === 'GOING_AWAY' || error.code === 'CONNECTION_LOST') return error
    throw error
  }
}

/** The running gateway's socket (null), or a gateway of our own, which is silent: the command says itself what failed; STORE_LOCKED when one holds the folder and cannot be reached. */
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
      // one that answers, though not well, can be tried again; one that does not is named
      if (systemClock.elapsed() >= lastMs) throw listens === false ? thrown : listens
    }
    await sleep(LOOK_INTERVAL_MS)
  }
}

/** Opens sessions with the gateway of a data folder, while it is not disposed of. */
export class Beside implements AsyncDisposable {
  readonly #data: string
  /** Null where one runs already. */
  readonly #own: Gateway | null

  private constructor(data: string, own: Gateway | null) {
    this.#data = data
    this.#own = own
  }

  /** CONFIG_INVALID, CATALOG_MISSING, KEYS_MISSING, STORE_LOCKED, STORE_VERSION, what the signal was aborted with. */
  static async open(data: string, signal: AbortSignal, mending: Mending): Promise<Beside> {
    await checkDataFolder(data, mending)
    return new Beside(data, await gatewayOf(data, signal, mending))
  }

  /** A session of the local administrator; GOING_AWAY where the gateway has just stopped, NOT_FOUND for a tenant that is not there. */
  async session(tenant: string | null): Promise<Session> {
    const session = await connect(this.#data, tenant)
    if (session === null) throw new VarveError('GOING_AWAY', 'the gateway has just stopped: try again')
    return session
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#own?.[Symbol.asyncDispose]()
  }
}
