// A command's way to a gateway: from anywhere with a person's token, or beside a data folder as its administrator.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Session } from '../../protocol/client.ts'
import { interruption } from '../../protocol/host/interruption.ts'
import { PersonDial } from '../../protocol/host/person-dial.ts'
import { awayOf, PERSON_VARIABLES, type Away } from '../../protocol/host/person.ts'
import { orAbort } from '../../protocol/host/within.ts'
import type { Peer } from '../../protocol/peer.ts'
import { pathProblem } from '../folder/new-folder.ts'
import { Beside, type Mending } from './beside.ts'
import { PROGRAM } from './dial-local.ts'

export const DATA_DEFAULT = '/var/lib/varve-gateway'

/** Variables of the environment that stand in for options. */
export const VARIABLES = { data: 'VARVE_DATA', ...PERSON_VARIABLES } as const

/** The gateway that a command's options select. */
export interface Way {
  readonly data?: string
  readonly gateway?: string
  readonly tokenFile?: string
  readonly ca?: string
}

/** What a command's work receives. */
export interface Remote {
  /** Calls with the session's identity. */
  readonly peer: Peer
  /** Aborts on SIGINT, SIGTERM and SIGHUP; to be given to every call. */
  readonly signal: AbortSignal
  /** Name of the tenant that the session is of; null for the platform's. */
  readonly tenant: string | null
}

/** A gateway that takes the sessions of this command. */
export interface Reached {
  readonly signal: AbortSignal
  /** The tenants with possible sessions: a token's own, none for the platform's, and all of a data folder. */
  readonly tenants: readonly string[] | 'all'
  /**
   * Runs work in a session of a tenant, or of the platform without one; NOT_FOUND, and whatever the calls of the work
   * end with.
   */
  session<R>(tenant: string | null, work: (remote: Remote) => Promise<R>): Promise<R>
}

const wrong = (message: string): VarveError => new VarveError('PARAMS_INVALID', message)

/** The data folder, or the address with what it needs; PARAMS_INVALID where the options name two gateways or lack something. */
export const placeOf = (way: Way, env: NodeJS.ProcessEnv = process.env): { readonly data: string } | Away => {
  const { data, tokenFile, ca } = way
  const set = (name: keyof Way): string | undefined => env[VARIABLES[name]] || undefined
  if (data !== undefined && way.gateway !== undefined) throw wrong('--data and --gateway exclude each other: give one')
  const gateway = way.gateway ?? (data === undefined ? set('gateway') : undefined)
  if (gateway === undefined) {
    if ((tokenFile ?? ca) !== undefined) throw wrong('--token-file and --ca go with --gateway URL')
    const folder = data ?? env[VARIABLES.data] ?? DATA_DEFAULT
    const problem = pathProblem(folder)
    if (problem !== null) throw wrong(`${VARIABLES.data}: ${problem}`)
    return { data: folder }
  }
  if (way.gateway === undefined && set('data') !== undefined)
    throw wrong(`${VARIABLES.data} and ${VARIABLES.gateway} are both set: give --data or --gateway`)
  return awayOf(gateway, way, env)
}

/**
 * The error of a gateway that stopped during a command's work: what was done is kept, the rest needs another run. Or of
 * one that only this command has opened, which no agent can reach.
 */
const withWayOut = (error: VarveError, stopped: string | null): VarveError => {
  if (error.code === 'CONNECTION_LOST' || error.code === 'GOING_AWAY')
    return new VarveError(error.code, `${error.message}: run the command again; what is done is kept`, { cause: error })
  if (error.code !== 'AGENT_OFFLINE' || stopped === null) return error
  const message = `no gateway runs in ${stopped}, so that no agent is connected: start it with "varve-gateway serve"`
  return new VarveError(error.code, message, { cause: error })
}

/** The platform's role has no access to a tenant's data. */
const tenantOf = ({ role, tenant }: Session['welcome']): string | null => (role === 'platform' ? null : tenant)

/** The refusal of what only a session of the tenant can have. */
export const outsideTenants = (): VarveError =>
  new VarveError('ROLE_FORBIDDEN', "the platform reaches nothing inside a tenant: take a token of the tenant's")

const DONE = new VarveError('CANCELLED', 'the command is over')

/** `stopped` is the data folder of a gateway that runs for this command only; null for others. */
const worked = async <R>(
  { peer, welcome }: Session,
  signal: AbortSignal,
  work: (remote: Remote) => Promise<R>,
  stopped: string | null = null,
): Promise<R> => {
  try {
    return await work({ peer, signal, tenant: tenantOf(welcome) })
  } catch (thrown) {
    throw withWayOut(asVarveError(thrown), stopped)
  }
}

/** The way with a token: one session, of the token's tenant. */
const reachAway = async (place: Away, signal: AbortSignal, resources: AsyncDisposableStack): Promise<Reached> => {
  const session = await orAbort(new PersonDial(place, PROGRAM).dial(), signal)
  resources.defer(() => session.peer.close(DONE))
  const tenant = tenantOf(session.welcome)
  return {
    signal,
    tenants: tenant === null ? [] : [tenant],
    session: (named, work) => {
      if (tenant !== null && named !== null && named !== tenant)
        throw wrong(
          `the token belongs to the tenant "${tenant}", not to "${named}": leave --tenant out, or give a token of that tenant`,
        )
      return worked(session, signal, work)
    },
  }
}

/** The way beside a data folder: a session for each part of the work and its tenant. */
const reachBeside = async (
  data: string,
  signal: AbortSignal,
  resources: AsyncDisposableStack,
  mending: Mending,
): Promise<Reached> => {
  const beside = resources.use(await Beside.open(data, signal, mending))
  return {
    signal,
    tenants: 'all',
    session: async (named, work) => {
      signal.throwIfAborted()
      const session = await beside.session(named)
      try {
        return await worked(session, signal, work, beside.isOwn ? data : null)
      } finally {
        session.peer.close(DONE)
      }
    },
  }
}

/**
 * Runs work with the gateway that the options name; where none runs in a data folder, with one that has no port and ends
 * with the work.
 * CANCELLED on SIGINT, SIGTERM and SIGHUP, after what was begun has ended; what opening the folder, dialling and the
 * token end with.
 */
export const withGateway = async <R>(
  way: Way,
  work: (reached: Reached) => Promise<R>,
  mending: Mending = {},
): Promise<R> => {
  const place = placeOf(way)
  using interrupted = interruption()
  const { signal } = interrupted
  await using resources = new AsyncDisposableStack()
  return await work(
    'data' in place
      ? await reachBeside(place.data, signal, resources, mending)
      : await reachAway(place, signal, resources),
  )
}

interface OfTenant extends Way {
  readonly tenant?: string
}

/** The same in one session: of the tenant that is named or that the token is of, else of the platform. */
export const withSession = <R>(
  options: OfTenant,
  work: (remote: Remote) => Promise<R>,
  mending: Mending = {},
): Promise<R> => withGateway(options, (reached) => reached.session(options.tenant ?? null, work), mending)

/** The tenant whose tokens are meant: the session's own; the platform names one, or itself. */
export const ofTenant = (remote: Remote, { tenant }: OfTenant): { readonly tenant?: string | null } =>
  remote.tenant === null ? { tenant: tenant ?? null } : {}

/** PARAMS_INVALID where neither an option nor a token names a tenant. */
export const checkTenant = (options: OfTenant, what = 'name the tenant'): void => {
  if (options.tenant === undefined && 'data' in placeOf(options)) throw wrong(`${what}: --tenant NAME`)
}

/** The same where a tenant is needed. */
export const withTenant = async <R>(options: OfTenant, work: (remote: Remote) => Promise<R>): Promise<R> => {
  checkTenant(options)
  return await withSession(options, work)
}
