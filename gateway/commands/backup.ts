// Commands about backups: start one and follow it to its end, and the jobs that are running or have ended.
import type { Command } from 'commander'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { doneBytes, jobFailure, jobText, pointReport } from '../../protocol/host/job-report.ts'
import { Meter } from '../../protocol/host/meter.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { ProgressLine } from '../../protocol/host/progress.ts'
import type { Job } from '../../protocol/methods.ts'
import { printList } from './listing.ts'
import { machineOption, name, rowsOption, tenantOption, toGateway, wholeId, type Common } from './options.ts'
import { withTenant, type Remote } from './remote.ts'
import { jobCells } from './report-jobs.ts'

/** How long an interrupted command tries to cancel its backup, in milliseconds. */
const CANCEL_LIMIT_MS = 10_000

/** The job once it has ended and its machine is released, with progress on a terminal. */
const follow = async ({ peer }: Remote, job: string, signal: AbortSignal): Promise<Job> => {
  using line = new ProgressLine(process.stderr)
  const meter = new Meter()
  const call = peer.open('jobs.watch', { job }, { signal })
  try {
    for await (const state of call.messages) {
      meter.add(performance.now(), doneBytes(state))
      line.show(jobText(state, meter))
    }
  } catch {
    // the result has it too
  }
  return await call.result
}

const short = (job: string): string => job.slice(0, 8)

/** Cancels the backup and waits a while until its machine is free; CANCELLED tells the outcome. */
const cancel = async (remote: Remote, job: string, why: string): Promise<VarveError> => {
  try {
    await remote.peer.call('jobs.cancel', { job }, { deadlineMs: CANCEL_LIMIT_MS })
  } catch (thrown) {
    const { code, message } = asVarveError(thrown)
    if (code !== 'JOB_ENDED')
      return new VarveError(code, `${why}, but backup ${short(job)} could not be cancelled and continues: ${message}`)
  }
  const ended = await follow(remote, job, AbortSignal.timeout(CANCEL_LIMIT_MS)).catch(() => null)
  if (ended?.state === 'committed')
    return new VarveError('CANCELLED', `${why}, but the backup had just ended: restore point ${short(job)} is durable`)
  const free = ended?.released === true ? 'and the machine released' : 'and its agent is releasing the machine'
  return new VarveError('CANCELLED', `${why}: backup ${short(job)} was cancelled ${free}`)
}

/** The error of a connection that broke while the backup continues. */
const goesOn = (error: VarveError, job: string): VarveError =>
  error.endsConnection
    ? new VarveError(
        error.code,
        `${error.message}; the backup continues; to watch it: varve-gateway job watch ${job}`,
        {
          cause: error,
        },
      )
    : error

/** The restore point of a job that has ended, printed; the error of one that made none. */
const report = async ({ peer, signal }: Remote, job: Job, json: boolean): Promise<void> => {
  if (job.state !== 'committed') throw jobFailure(job)
  const { point, missing } = await peer.call('points.get', { point: job.id }, { signal })
  if (!job.released) remark(`the restore point is durable, but ${job.machine} is not released yet`)
  printJson({ job: job.id, point, missing, released: job.released })
  if (!json) pointReport(point, missing).forEach(print)
}

interface BackupOptions extends Common {
  readonly full: boolean
  readonly compare: boolean
  readonly detach: boolean
}

/** Starts a backup and follows it; an interruption cancels it, also where its start is not answered yet. */
const backUp = async (remote: Remote, machine: string, options: BackupOptions): Promise<void> => {
  const { peer, signal } = remote
  const { full, compare, detach, json } = options
  // the id of a backup that has begun is needed to cancel it
  const { job } = await peer.call('backup.start', { machine, full, compare })
  if (detach) {
    printJson({ job, point: null, released: false })
    if (!json) print(`Backup ${job} of ${machine} has started; to watch it: varve-gateway job watch ${job}`)
    return
  }
  let ended: Job
  try {
    ended = await follow(remote, job, signal)
  } catch (thrown) {
    throw signal.aborted
      ? await cancel(remote, job, asVarveError(signal.reason).message)
      : goesOn(asVarveError(thrown), job)
  }
  await report(remote, ended, json)
}

const addBackup = (program: Command): void => {
  const command = program
    .command('backup')
    .description('back a machine up; ends with 0 only once the restore point is durable. Ctrl-C cancels the backup')
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
    .option('--full', 'read every disk whole, even where a bitmap tells what changed', false)
    .option('--compare', 'also read and compare all blocks that the bitmap calls unchanged', false)
    .option('--detach', 'only start it and print its id', false)
    .addHelpText(
      'after',
      '\nExample: varve-gateway backup db1 --gateway wss://backup.example:8470 --token-file ~/.varve-token',
    )
  toGateway(command).action((machine: string, options: BackupOptions) =>
    withTenant(options, (remote) => backUp(remote, machine, options)),
  )
}

const jobId = wholeId('job list')

const addList = (jobs: Command): void => {
  const command = jobs
    .command('list')
    .description('list backups that run or have ended, newest first')
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { machine?: string; limit?: number }) =>
    withTenant(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('jobs.list', { machine: options.machine ?? null, after }, { signal }), {
        field: 'jobs',
        rowsOf: ({ jobs }) => jobs,
        heading: ['JOB', 'MACHINE', 'BEGAN (UTC)', 'ENDED (UTC)', 'STATE', 'SENT', 'WHY'],
        cells: jobCells,
        none: 'There is no backup yet.',
      }),
    ),
  )
}

const addWatch = (jobs: Command): void => {
  const command = jobs
    .command('watch')
    .description('follow a backup to its end and print its restore point; Ctrl-C stops watching, not the backup')
    .argument('<id>', 'the id that "job list" shows', jobId)
    .addOption(tenantOption())
  toGateway(command).action((job: string, options: Common) =>
    withTenant(options, async (remote) => report(remote, await follow(remote, job, remote.signal), options.json)),
  )
}

const addCancel = (jobs: Command): void => {
  const command = jobs
    .command('cancel')
    .description('cancel a running backup; its agent releases the machine')
    .argument('<id>', 'the id that "job list" shows', jobId)
    .addOption(tenantOption())
  toGateway(command).action(async (job: string, options: Common) => {
    await withTenant(options, ({ peer, signal }) => peer.call('jobs.cancel', { job }, { signal }))
    printJson({ job })
    if (!options.json) print(`Backup ${job} is cancelled.`)
  })
}

/** Adds `backup` and `job`. */
export const addBackupCommands = (program: Command): void => {
  addBackup(program)
  const jobs = program.command('job').description('list, watch and cancel backups')
  addList(jobs)
  addWatch(jobs)
  addCancel(jobs)
}
