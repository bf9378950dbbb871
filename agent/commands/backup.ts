// The backup command: starts a job at the gateway, follows it to its end, and prints the restore point.
import { asVarveError, isErrorCode, VarveError } from '../../protocol/errors.ts'
import type { Job } from '../../protocol/methods.ts'
import type { Point } from '../../protocol/schemas.ts'
import type { AgentConfig } from '../config.ts'
import type { GatewayLink } from '../session/link.ts'
import { withGateway, type CommandContext } from './context.ts'
import { print, printJson, Progress, size } from './output.ts'

/** Pause before asking again whether a busy or absent machine can be backed up, in milliseconds. */
const WAIT_POLL_MS = 2000

/** How long an interrupted command tries to cancel its job, in milliseconds. */
const CANCEL_LIMIT_MS = 10_000

export interface BackupCommand {
  readonly config: string
  readonly full: boolean
  readonly compare: boolean
  readonly wait: boolean
  readonly json: boolean
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Says what to do about a machine that the gateway does not know: its agent has not run yet, or the name is wrong. */
const unknownHere = (error: VarveError, machine: string, { machines }: AgentConfig): VarveError => {
  if (error.code !== 'NOT_FOUND') return error
  if (machines.some(({ name }) => name === machine))
    return new VarveError('AGENT_OFFLINE', `the gateway has not heard of ${machine} yet; is "varve-agent run" running?`)
  const names = machines.map(({ name }) => name).join(', ')
  return new VarveError('NOT_FOUND', `there is no machine "${machine}"; this host has: ${names || 'none'}`)
}

/** Aborts when a start that was interrupted has had its time to be answered. */
const patience = (signal: AbortSignal): AbortSignal => {
  const controller = new AbortController()
  const onAbort = (): void => void setTimeout(() => controller.abort(signal.reason), CANCEL_LIMIT_MS).unref()
  signal.addEventListener('abort', onAbort, { once: true })
  return controller.signal
}

/** Starts the job; with `wait`, once the machine's running backup has ended and its agent is there. */
const startJob = async (
  { config, link, signal }: CommandContext,
  machine: string,
  options: BackupCommand,
): Promise<string> => {
  while (true) {
    try {
      // not repeated over a break: a second start could make a second point
      const peer = await link.peer(signal)
      // an interruption waits for the answer: a job that has begun must be known to be cancelled
      const asked = { machine, full: options.full, compare: options.compare }
      return (await peer.call('backup.start', asked, { signal: patience(signal) })).job
    } catch (thrown) {
      const error = unknownHere(asVarveError(thrown), machine, config)
      const { code } = error
      if (!options.wait || signal.aborted || (code !== 'JOB_RUNNING' && code !== 'AGENT_OFFLINE')) throw error
      await pause(WAIT_POLL_MS)
    }
  }
}

const describe = (job: Job): string => {
  if (job.state !== 'running') return 'giving the machine back…'
  const done = job.disks.reduce((sum, disk) => sum + disk.doneBytes, 0)
  const total = job.disks.reduce((sum, disk) => sum + disk.size, 0)
  if (total === 0 && job.comparedBytes > 0) return `comparing what did not change…  ${size(job.comparedBytes)}`
  if (total === 0) return 'preparing the machine…'
  const current = job.disks.find((disk) => disk.doneBytes < disk.size)
  const what = current === undefined ? 'committing' : `${current.name} (${current.kind}: ${current.reason})`
  return `${Math.floor((done / total) * 100)} %  ${size(done)} of ${size(total)}, ${size(job.bytesSent)} sent  ${what}`
}

/** The job once it has ended and its lease is given back. */
const follow = (link: GatewayLink, job: string, progress: Progress | null, signal: AbortSignal): Promise<Job> =>
  link.repeat(async (peer) => {
    const call = peer.open('jobs.watch', { job }, { signal })
    for await (const state of call.messages) progress?.show(describe(state))
    return call.result
  }, signal)

/**
 * Tells the gateway to give the job up, and waits for a while until the machine is free; CONNECTION_LOST when the gateway stays
 * away, so that an interrupted command always ends.
 */
const cancel = async (link: GatewayLink, job: string): Promise<void> => {
  const peer = await link.peer(undefined, CANCEL_LIMIT_MS)
  try {
    await peer.call('jobs.cancel', { job }, { deadlineMs: CANCEL_LIMIT_MS })
  } catch (thrown) {
    if (asVarveError(thrown).code !== 'JOB_ENDED') throw thrown
  }
  await follow(link, job, null, AbortSignal.timeout(CANCEL_LIMIT_MS)).catch(() => undefined)
}

const failureOf = (job: Job): VarveError => {
  const { code, message } = job.error ?? { code: 'INTERNAL', message: 'the backup failed' }
  return new VarveError(isErrorCode(code) ? code : 'INTERNAL', message)
}

const diskLine = ({ name, size: bytes, dirtyBytes, kind, reason, comparedChunks }: Point['disks'][number]): string => {
  const compared = comparedChunks === 0 ? '' : `; ${comparedChunks} unchanged chunks compared`
  return `  ${name}: ${size(bytes)}, ${size(dirtyBytes)} changed, ${kind} (${reason})${compared}`
}

/** Resolves only once the restore point is durable and the machine is given back. */
export const backup = (machine: string, options: BackupCommand): Promise<void> =>
  withGateway(options.config, async (context) => {
    const { link, signal } = context
    using progress = new Progress(!options.json)
    const job = await startJob(context, machine, options)
    let ended: Job
    try {
      ended = await follow(link, job, progress, signal)
    } catch (thrown) {
      if (signal.aborted) await cancel(link, job)
      throw thrown
    }
    if (ended.state !== 'committed') throw failureOf(ended)
    const { point } = await link.call('points.get', { point: job })
    progress[Symbol.dispose]()
    if (!ended.released)
      process.stderr.write(`varve-agent: the restore point is durable, but ${machine} is not given back yet\n`)
    if (options.json) return printJson({ point, released: ended.released })
    print(
      `Restore point ${point.id.slice(0, 8)} of ${machine}: ${point.kind} (${point.reason}), ${point.consistency === 'frozen' ? 'guest frozen at its instant' : 'crash consistent'}`,
    )
    if (point.note !== null) print(`  note: ${point.note}`)
    for (const disk of point.disks) print(diskLine(disk))
    for (const { name, reason } of point.leftOut) print(`  ${name}: left out (${reason})`)
    print(
      `  read ${size(point.bytesRead)}, sent ${size(point.bytesSent)}, stored ${size(point.bytesStored)} in ${(point.durationMs / 1000).toFixed(1)} s`,
    )
  })
