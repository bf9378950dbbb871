// What the agent's commands share: configuration, identity, a connection that survives breaks, time limits and interruption.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { durationText } from '../../protocol/host/duration.ts'
import type { Asked, MethodsServedBy, Result } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import type { Role } from '../../protocol/claims.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { readConfig, type AgentConfig } from '../config.ts'
import { readHostConfig } from '../discover/host-config.ts'
import { Identity, type IdentityRecord } from '../identity.ts'
import { backoffMs } from '../retry.ts'
import { GatewayLink } from '../session/link.ts'
import { interruption } from '../../protocol/host/interruption.ts'
import { orAbort } from '../../protocol/host/within.ts'
import { Progress } from '../../protocol/host/progress.ts'
import { AgentCaller, type Caller } from './caller.ts'
import { Waiting } from './waiting.ts'
import { wayOf, type WayOptions } from './way.ts'

/** How long a command that only reads waits for an answer by default, in milliseconds. */
export const LOOK_TIMEOUT_MS = 10_000

/** How long a command that works waits for the gateway to begin by default, in milliseconds. */
export const BEGIN_TIMEOUT_MS = 30_000

/** Longest pause between two tries of a command, in milliseconds. */
const PAUSE_MAX_MS = 3000

const LOAN_ENDED = new VarveError('CONNECTION_LOST', 'the command goes on by itself')

type Asks = MethodsServedBy<'gateway'>

/** Methods that the gateway answers with what a machine's agent answers. */
const OF_THE_AGENT: ReadonlySet<Asks> = new Set([
  'machines.status',
  'machines.checkpoints',
  'machines.forget',
  'machines.targets',
  'machines.removeTarget',
])

export interface CommandContext {
  readonly config: Caller['config']
  /** This host's identity at the gateway; null for a person's command, which needs none. */
  readonly record: IdentityRecord | null
  readonly role: Role
  readonly link: GatewayLink
  /** Aborts on an interruption (CANCELLED), and when a wait exceeds its limit. */
  readonly signal: AbortSignal
  readonly progress: Progress
  readonly waiting: Waiting
  /** What will soon break the connection, each a sentence. */
  readonly concerns: readonly string[]
  /**
   * Does what may be done twice within a limit, in milliseconds: within a shorter one over a session that is lent, as its agent
   * may hang, and after that by a connection of the command's own.
   */
  readonly insist: <R>(work: (limitMs: number) => Promise<R>, limits: { lentMs: number; limitMs: number }) => Promise<R>
  /** Calls a method that may be called again; CONNECTION_LOST when no answer comes in time. */
  readonly ask: <N extends Asks>(name: N, params: Asked<N>) => Promise<Result<N>>
}

/** What the commands of this host's agent work with. */
export interface AgentContext extends CommandContext {
  readonly config: AgentConfig
  readonly identity: Identity
  readonly record: IdentityRecord
}

/** How patient a command is, and what it shows. */
export interface Patience {
  /** From --timeout; absent for the defaults. */
  readonly timeout?: number
  /** A command that works survives breaks for as long as it takes; one that only reads ends. */
  readonly works?: boolean
  readonly progress?: boolean
  /** Ends the command as its own interruption does. */
  readonly until?: AbortSignal
  /** It needs the machines that [discover] takes up, too. */
  readonly machines?: boolean
  /** It calls only what the agent of this host lends its session for, where one runs. */
  readonly lent?: boolean
}

/** Whether to try again may help; a wrong address, certificate or token stays wrong. */
const isPassing = ({ retry, endsConnection, details }: VarveError): boolean =>
  retry && endsConnection && details['lasting'] !== true

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
  })

const gatewayName = ({ gateway }: Caller['config']): string => `the gateway at ${gateway}`

/** What is waited for; the reasons name the place. */
const GATEWAY = 'the gateway'

interface Parts {
  readonly caller: Caller
  readonly waiting: Waiting
  readonly signal: AbortSignal
  /** How long the first connection may take, in milliseconds. */
  readonly beginMs: number
  readonly works: boolean
}

/** The first connection: a command that works retries while that may help, one that only reads does not. */
const begin = async ({ caller, waiting, signal, beginMs, works }: Parts): Promise<Peer> => {
  const what = gatewayName(caller.config)
  const late = new VarveError('CONNECTION_LOST', `${what} did not answer within ${durationText(beginMs)}`)
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(late), beginMs)
  const until = AbortSignal.any([signal, over.signal])
  // the reason for the wait says more than the wait itself
  let reason: VarveError | null = null
  const gaveUp = ({ code, message }: VarveError): VarveError =>
    new VarveError(code, `gave up waiting for ${GATEWAY} after ${durationText(beginMs)}: ${message}`)
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        const peer = await orAbort(caller.dial(), until)
        waiting.end(GATEWAY)
        return peer
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (reason !== null && over.signal.aborted && !signal.aborted) throw gaveUp(reason)
        if (!works || until.aborted || !isPassing(error)) throw error
        reason = error
        waiting.begin(GATEWAY, error.code, error.message)
        await pause(Math.min(PAUSE_MAX_MS, backoffMs(attempt, Math.random())), until)
        if (over.signal.aborted && !signal.aborted) throw gaveUp(reason)
      }
    }
  } finally {
    clearTimeout(timer)
  }
}

type Impatience = Pick<Patience, 'timeout' | 'works' | 'progress' | 'until'>

/** Runs a command's work with a connection to the gateway; breaks are repaired and reported. */
const withCaller = async <R>(
  caller: Caller,
  work: (context: Omit<CommandContext, 'record'>) => Promise<R>,
  { timeout, works = false, progress: wanted = false, until }: Impatience,
): Promise<R> => {
  const { config } = caller
  const controller = new AbortController()
  interruption(controller)
  const onOver = (): void => controller.abort(until?.reason)
  until?.addEventListener('abort', onOver, { once: true })
  if (until?.aborted === true) onOver()
  const { signal } = controller
  using progress = new Progress('varve-agent', wanted)
  const lookMs = timeout ?? LOOK_TIMEOUT_MS
  const awayMs = works ? (timeout ?? null) : lookMs
  using waiting = new Waiting({ progress, limitMs: awayMs, giveUp: (error) => controller.abort(error) })
  const beginMs = timeout ?? (works ? BEGIN_TIMEOUT_MS : LOOK_TIMEOUT_MS)
  let first: Peer | null = await begin({ caller, waiting, signal, beginMs, works })
  const what = gatewayName(config)
  await using link = new GatewayLink({
    connect: async () => {
      const peer = first ?? (await caller.dial())
      first = null
      return peer
    },
    assertion: caller.assertion,
    isFatal: (error) => caller.isFatal(error),
    onOpen: async () => {},
    onState: (state) => {
      if (state.up) waiting.end(GATEWAY)
      // the end of a loan is no wait for the gateway
      else if (state.error !== LOAN_ENDED) waiting.begin(GATEWAY, state.error.code, state.error.message)
    },
    clock: systemClock,
    random: Math.random,
  })
  const insist: CommandContext['insist'] = async (work, { lentMs, limitMs }) => {
    if (!caller.borrows) return await work(limitMs)
    try {
      return await work(lentMs)
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code !== 'DEADLINE_EXCEEDED' && !error.endsConnection) throw error
      caller.borrows = false
      link.reconnect(LOAN_ENDED)
      return await work(limitMs)
    }
  }
  const ask = async <N extends Asks>(name: N, params: Asked<N>): Promise<Result<N>> => {
    try {
      return await link.repeat((peer) => peer.call(name, params, { signal, deadlineMs: lookMs }), signal, lookMs)
    } catch (thrown) {
      if (asVarveError(thrown).code !== 'DEADLINE_EXCEEDED') throw thrown
      const hangs = OF_THE_AGENT.has(name) ? ': the agent of the machine, its QEMU or the gateway hangs' : ''
      const sentence = `${what} did not answer ${name} within ${durationText(lookMs)}${hangs}`
      throw new VarveError('CONNECTION_LOST', sentence)
    }
  }
  try {
    const { role, concerns } = caller
    return await work({ config, role, link, signal, progress, waiting, concerns, insist, ask })
  } catch (thrown) {
    // the reason for the cancellation, not the error that it caused
    throw signal.aborted && asVarveError(thrown).cause === signal.reason ? asVarveError(signal.reason) : thrown
  }
}

/** Runs the work of a command of this host's agent. */
export const withGateway = async <R>(
  configFile: string,
  work: (context: AgentContext) => Promise<R>,
  { machines = false, lent = false, ...patience }: Patience = {},
): Promise<R> => {
  const config = await (machines ? readHostConfig : readConfig)(configFile)
  const identity = await Identity.load(config.state)
  const { record } = identity
  const whole = (context: Omit<CommandContext, 'record'>): Promise<R> => work({ ...context, config, identity, record })
  return await withCaller(new AgentCaller(config, identity, lent), whole, patience)
}

/** Runs the work of a command that a person with a token may give as well, on any host. */
export const withAnyGateway = async <R>(
  options: WayOptions,
  work: (context: CommandContext) => Promise<R>,
  patience: Patience = {},
): Promise<R> => {
  const way = wayOf(options)
  if ('config' in way) return await withGateway(way.config, work, patience)
  const { PersonCaller } = await import('./person-caller.ts')
  return await withCaller(new PersonCaller(way), (context) => work({ ...context, record: null }), patience)
}
