// The backup command: starts a job at the gateway, follows it to its end, and prints the restore point.
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { doneBytes, jobFailure, jobText, pointReport } from '../../protocol/host/job-report.ts'
import { Meter } from '../../protocol/host/meter.ts'
import type { Job, Result } from '../../protocol/methods.ts'
import { name } from '../../protocol/schemas.ts'
import { within } from '../../protocol/host/within.ts'
import type { GivenLease } from '../external/give-lease.ts'
import type { GatewayLink } from '../session/link.ts'
import { withGateway, type AgentContext } from './context.ts'
import { noMachine } from './no-machine.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { whyAway } from './unknown-machine.ts'

/** Pause before asking again whether a busy or absent machine can be backed up, in milliseconds. */
const WAIT_POLL_MS = 2000

/** The part of it for the session that the agent lends, in milliseconds: the agent may hang. */
const LENT_CANCEL_LIMIT_MS = 3000

/** How long a job whose lease has ended may take to be known as committed, in milliseconds. */
const LOST_LIMIT_MS = 5000

/** How long an interrupted command tries to cancel its job, in milliseconds. */
const CANCEL_LIMIT_MS = 10_000

export interface BackupCommand {
  readonly config: string
  readonly full: boolean
  readonly compare: boolean
  readonly wait: boolean
  /** How long to wait for the gateway and the agent, in milliseconds. */
  readonly timeout?: number
  /** Ends it, and cancels its job, as an interruption does. */
  readonly until?: AbortSignal
  readonly json: boolean
}

type Shown = Result<'points.get'>

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const agentOf = (machine: string): string => `the agent of ${machine}`
const freeOf = (machine: string): string => `${machine} to be free`
const freeAgain = (machine: string): string => `${machine} is free again`

/** Aborts when a start that was interrupted has had its time to be answered. */
const patience = (signal: AbortSignal): AbortSignal => {
  const controller = new AbortController()
  const onAbort = (): void => void setTimeout(() => controller.abort(signal.reason), CANCEL_LIMIT_MS).unref()
  signal.addEventListener('abort', onAbort, { once: true })
  return controller.signal
}

/** Starts the job; `wait` first waits for the machine's running backup and its agent, a timeout only for the agent. */
const startJob = async (context: AgentContext, machine: string, options: BackupCommand): Promise<string> => {
  const { link, signal, waiting } = context
  const isWaitedFor = ({ code }: VarveError): boolean =>
    (code === 'AGENT_OFFLINE' && (options.wait || options.timeout !== undefined)) ||
    (code === 'JOB_RUNNING' && options.wait)
  while (true) {
    try {
      // not repeated over a break: a second start could make a second point
      const peer = await link.peer(signal)
      // an interruption waits for the answer: a job that has begun must be known to be cancelled
      const asked = { machine, full: options.full, compare: options.compare }
      const { job } = await peer.call('backup.start', asked, { signal: patience(signal) })
      waiting.end(agentOf(machine))
      waiting.end(freeOf(machine), freeAgain(machine))
      return job
    } catch (thrown) {
      const error = await whyAway(machine, asVarveError(thrown), context)
      if (signal.aborted || !isWaitedFor(error)) throw error
      const isBusy = error.code === 'JOB_RUNNING'
      if (isBusy) waiting.end(agentOf(machine))
      else waiting.end(freeOf(machine), freeAgain(machine))
      waiting.begin(isBusy ? freeOf(machine) : agentOf(machine), error.code, error.message)
      await pause(WAIT_POLL_MS)
      signal.throwIfAborted()
    }
  }
}

/** The job once it has ended and its lease is released. */
const follow = (
  link: GatewayLink,
  job: string,
  signal: AbortSignal,
  onState: (state: Job) => void = () => {},
): Promise<Job> =>
  link.repeat(async (peer) => {
    const call = peer.open('jobs.watch', { job }, { signal })
    for await (const state of call.messages) onState(state)
    return call.result
  }, signal)

/** The same with progress, and with a message while the machine's agent is away; told of each state. */
const followShown = async (
  context: AgentContext,
  machine: string,
  job: string,
  onState: (state: Job) => void,
): Promise<Job> => {
  const { link, signal, progress, waiting } = context
  const meter = new Meter()
  return await follow(link, job, signal, (state) => {
    if (state.online) waiting.end(agentOf(machine))
    else waiting.begin(agentOf(machine), 'AGENT_OFFLINE', 'it is not connected; the backup continues when it is back')
    onState(state)
    meter.add(performance.now(), doneBytes(state))
    progress.show(() => jobText(state, meter))
  })
}

/**
 * Cancels the job at the gateway and waits a while until the machine is free: CANCELLED says what became of it.
 * CONNECTION_LOST when the gateway stays away, so that an interrupted command always ends.
 */
const cancel = async (
  { link, insist }: Pick<AgentContext, 'link' | 'insist'>,
  job: string,
  why: string,
): Promise<VarveError> => {
  const short = job.slice(0, 8)
  const continues = ({ code, message }: VarveError): VarveError =>
    new VarveError(code, `${why}, but backup ${short} could not be cancelled and continues: ${message}`)
  const ask = async (limitMs: number): Promise<void> => {
    const peer = await link.peer(undefined, limitMs)
    await peer.call('jobs.cancel', { job }, { deadlineMs: limitMs })
  }
  try {
    await insist(ask, { lentMs: LENT_CANCEL_LIMIT_MS, limitMs: CANCEL_LIMIT_MS })
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'JOB_ENDED') return continues(error)
  }
  const ended = await follow(link, job, AbortSignal.timeout(CANCEL_LIMIT_MS)).catch(() => null)
  if (ended?.state === 'committed')
    return new VarveError('CANCELLED', `${why}, but the backup had just ended: restore point ${short} is durable`)
  const free = ended?.released === true ? 'and the machine released' : 'and its agent is releasing the machine'
  return new VarveError('CANCELLED', `${why}: backup ${short} was cancelled ${free}`)
}

/** Cancels a job whose lease this command has seen end; what it ended with. */
const cancelLost = async (context: AgentContext, job: string, error: VarveError): Promise<VarveError> => {
  const { message } = await cancel(context, job, error.message)
  return new VarveError(error.code, message)
}

/** The error of a command that ends before its job: an interruption cancels the job, anything else leaves it running. */
const leave = async (context: AgentContext, job: string): Promise<VarveError> => {
  const reason = asVarveError(context.signal.reason)
  if (reason.code === 'CANCELLED') return cancel(context, job, reason.message)
  return new VarveError(
    reason.code,
    `${reason.message}; backup ${job.slice(0, 8)} continues on its own once they are back`,
  )
}

/** What the work comes to, unless what it depends on ends long before it does. */
const unlessLost = async <R>(work: Promise<R>, given: GivenLease | null): Promise<R> => {
  if (given === null) return await work
  const lost = await Promise.race([work.then(() => null), given.ended])
  if (lost === null) return await work
  // what was committed just then is known soon
  const late = await within(work, LOST_LIMIT_MS)
  if (late === null) throw lost
  return late
}

/**
 * Resolves only once the restore point is durable and the machine is released. `give` gives the agent the lease under which it
 * is made, where the agent takes none itself.
 */
export const backup = (
  machine: string,
  options: BackupCommand,
  give: (context: AgentContext) => Promise<GivenLease | null> = async () => null,
): Promise<void> =>
  withGateway(
    options.config,
    async (context) => {
      const { config, signal, progress, ask } = context
      if (!v.is(name, machine)) throw noMachine(machine, config.machines)
      using given = await give(context)
      const job = await startJob(context, machine, options)
      // asked for as soon as it is durable, while the machine is being released
      const asked: Promise<Shown | null>[] = []
      const onState = ({ state }: Job): void => {
        if (state === 'committed' && asked.length === 0) asked.push(ask('points.get', { point: job }).catch(() => null))
      }
      let ended: Job
      try {
        ended = await unlessLost(followShown(context, machine, job, onState), given)
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code === 'LEASE_LOST' && !signal.aborted) throw await cancelLost(context, job, error)
        throw signal.aborted ? await leave(context, job) : thrown
      }
      if (ended.state !== 'committed') throw jobFailure(ended)
      const { point, missing } = (await asked[0]) ?? (await ask('points.get', { point: job }))
      progress.clear()
      if (!ended.released)
        process.stderr.write(`varve-agent: the restore point is durable, but ${machine} is not released yet\n`)
      if (options.json) return printJson({ point, missing, released: ended.released })
      pointReport(point, missing).forEach(print)
    },
    { ...options, works: true, machines: true, lent: true, progress: !options.json },
  )
