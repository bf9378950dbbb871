// A command's way to a gateway: over the local socket of the one that runs, or of one that this process opens for as long as it takes.
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Session } from '../../protocol/client.ts'
import type { Peer } from '../../protocol/peer.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { Gateway } from '../gateway.ts'
import { openLog } from '../../protocol/host/log.ts'
import { SocketPath } from '../server/local.ts'
import { dialLocal } from '../session/socket.ts'
import { checkData, holdCatalog, usageError } from './local.ts'
import { interruption } from '../../protocol/host/interruption.ts'

const PROGRAM = 'varve-gateway/0.1.0 command'

/** How long a gateway that starts or stops may keep a command waiting, and how often it looks, in milliseconds. */
const START_TIMEOUT_MS = 10_000
const LOOK_INTERVAL_MS = 100

/** What a command's work is given. */
export interface Remote {
  /** Calls of the tenant named, as its owner. */
  readonly peer: Peer
  /** Aborts on SIGINT, SIGTERM and SIGHUP; to be given to every call. */
  readonly signal: AbortSignal
}

/** A gateway that takes the sessions of this command. */
export interface LocalGateway {
  readonly signal: AbortSignal
  /** Runs work as the owner of a tenant; NOT_FOUND, and whatever the calls of the work end with. */
  withTenant<R>(tenant: string, work: (remote: Remote) => Promise<R>): Promise<R>
}

/** A session with the gateway that runs; null where none does. */
const connect = async (data: string, tenant: string): Promise<Session | null> => {
  try {
    await using socket = await SocketPath.of(data)
    return await dialLocal({ socketPath: socket.path, tenant, program: PROGRAM, clock: systemClock })
  } catch (thrown) {
    throw usageError(data, thrown)
  }
}

/** What the gateway that runs says of a tenant; null where none runs, or it is going. */
const askRunning = async <R>(data: string, tenant: string, ask: (peer: Peer) => Promise<R>): Promise<R | null> => {
  try {
    const session = await connect(data, tenant)
    if (session === null) return null
    try {
      return await ask(session.peer)
    } finally {
      session.peer.close(new VarveError('CANCELLED', 'the command is over'))
    }
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.endsConnection) return null
    throw error
  }
}

/** Ids of the agents of a tenant that are connected to the gateway that runs. */
export const connectedAgents = async ({ data, tenant }: { data: string; tenant: string }): Promise<Set<string>> => {
  const answer = await askRunning(data, tenant, (peer) => peer.call('agents.list', {}))
  return new Set(answer?.agents.filter(({ online }) => online).map(({ id }) => id))
}

/** Whether a gateway takes sessions; the error of one that goes or breaks them off: it may be nobody's socket soon. */
const isListening = async (data: string): Promise<boolean | VarveError> => {
  try {
    const session = await connect(data, '')
    session?.peer.close(new VarveError('CANCELLED', 'nothing was asked for'))
    return session !== null
  } catch (thrown) {
    const error = asVarveError(thrown)
    // a refusal comes from somebody
    if (error.code === 'NOT_FOUND') return true
    if (error.code === 'GOING_AWAY' || error.code === 'CONNECTION_LOST') return error
    throw error
  }
}

/** The running gateway's socket (null), or a gateway of our own, which is silent: the command says itself what failed; STORE_LOCKED when one holds the folder and cannot be reached. */
const gatewayOf = async (data: string, signal: AbortSignal): Promise<Gateway | null> => {
  const lastMs = systemClock.elapsed() + START_TIMEOUT_MS
  while (true) {
    signal.throwIfAborted()
    const listens = await isListening(data)
    if (listens === true) return null
    try {
      return await Gateway.open({ folder: data, listen: null, log: openLog({ level: 'silent' }), clock: systemClock })
    } catch (thrown) {
      if (asVarveError(thrown).code !== 'STORE_LOCKED') throw thrown
      // one that answers, though not well, can be tried again; one that does not is named
      if (systemClock.elapsed() >= lastMs) throw listens === false ? thrown : listens
    }
    await sleep(LOOK_INTERVAL_MS)
  }
}

/** A gateway that went while it worked for a command: what was done by then is kept, the rest is for another run. */
const withWayOut = (error: VarveError): VarveError =>
  error.code === 'CONNECTION_LOST' || error.code === 'GOING_AWAY'
    ? new VarveError(error.code, `${error.message}: run the command again; what is done is kept`, { cause: error })
    : error

/**
 * Runs work beside the gateway of a data folder, or, where none runs, with one that has no port and ends with the work.
 * CANCELLED on SIGINT, SIGTERM and SIGHUP, after what was begun has ended; CONFIG_INVALID, CATALOG_MISSING, STORE_LOCKED, STORE_VERSION.
 */
export const withGateway = async <R>(data: string, work: (gateway: LocalGateway) => Promise<R>): Promise<R> => {
  await checkData(data)
  // a rebuild is told here in its own words; one that begins later finds the gateway, or is in its way
  holdCatalog(data)[Symbol.dispose]()
  using interrupted = interruption()
  const { signal } = interrupted
  await using resources = new AsyncDisposableStack()
  const own = await gatewayOf(data, signal)
  if (own !== null) resources.use(own)
  return await work({
    signal,
    withTenant: async (tenant, part) => {
      signal.throwIfAborted()
      const session = await connect(data, tenant)
      if (session === null) throw new VarveError('GOING_AWAY', 'the gateway has just stopped: try again')
      const { peer } = session
      try {
        return await part({ peer, signal })
      } catch (thrown) {
        throw withWayOut(asVarveError(thrown))
      } finally {
        peer.close(new VarveError('CANCELLED', 'the command is over'))
      }
    },
  })
}

/** The same for one tenant. */
export const withTenantPeer = <R>(data: string, tenant: string, work: (remote: Remote) => Promise<R>): Promise<R> =>
  withGateway(data, (gateway) => gateway.withTenant(tenant, work))
