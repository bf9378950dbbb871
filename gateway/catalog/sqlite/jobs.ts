// Jobs: a backup from its start to its commit or failure, with one upload per disk.
import type { Begun, JobFailure, JobLimits, JobRow, UploadRow } from '../jobs.ts'
import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { pointKind, type JobState } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { policyOf } from '../../../protocol/plans.ts'
import { comparisonDue } from './comparison.ts'
import { tellCommitted, tellFailed, tellStarted } from './job-events.ts'
import { jobOf, runningJobOf, uploadsOf } from './job-rows.ts'
import { machineRow } from './machine-row.ts'
import { read, write, type Operations } from './operation.ts'
import { refuseMissed } from './missed.ts'
import { planOfMachine } from './plans.ts'
import { basePoint, findBase } from './base-point.ts'
import { ATTACHMENT_READ, checkAttachments } from '../attachments.ts'
import { tookText } from '../manifest.ts'
import { addByHand, endRunOfJob, startRun } from './runs.ts'
import { checkAny, checkReads, refusedBy, type BeginDisk, type JobFacts } from '../reads.ts'
import type { Sql } from './sql.ts'

/** What a running job has begun. IMAGE_INCOMPLETE where a disk is not uploaded whole, UPLOAD_INVALID where there is none. */
const checkWhole = ({ id, begun }: JobRow, uploads: readonly UploadRow[]): Begun => {
  const missing = uploads.find((upload) => !upload.finished)
  if (missing !== undefined || begun === null)
    throw new VarveError(
      'IMAGE_INCOMPLETE',
      `${missing?.attachment === true ? 'attachment' : 'disk'} ${missing?.disk ?? '(none begun)'} of job ${id} is not uploaded whole`,
    )
  checkAny(uploads.filter(({ attachment }) => !attachment))
  return begun
}

/** Ends a job in the state given. */
export const endJob = (sql: Sql, job: string, state: JobState, error: JobFailure | null, nowMs: number): void => {
  const text = error === null ? null : JSON.stringify(error)
  sql.run('UPDATE job SET state = ?, error = ?, ended_ms = ? WHERE id = ?', state, text, nowMs, job)
  // the builder's state is useless now; the figures stay for the listing
  sql.run("UPDATE upload SET state = x'' WHERE job = ?", job)
  endRunOfJob(sql, job, text, nowMs)
  if (error !== null) tellFailed(sql, job, error, nowMs)
}

const factsOf = (sql: Sql, { full, base }: JobRow): JobFacts => ({
  full,
  base: base === null ? null : basePoint(sql, base),
})

/** An announced disk or attachment. */
interface Announced extends Omit<BeginDisk, 'evidence'> {
  readonly evidence: string | null
  readonly attachment: boolean
}

const announcedOf = (
  disks: readonly BeginDisk[],
  attachments: readonly { readonly name: string; readonly size: number }[],
): Announced[] => [
  ...disks.map((disk) => ({ ...disk, attachment: false })),
  ...attachments.map((one) => ({
    ...one,
    ...ATTACHMENT_READ,
    base: null,
    evidence: null,
    comparedChunks: 0,
    attachment: true,
  })),
]

/**
 * Opens the upload of one announced image; a full read shares unchanged subtrees with the base's image of the same name and size.
 * An attachment without any byte is whole already.
 */
const openUpload = (sql: Sql, job: JobRow, disk: Announced, ordinal: number, state: Uint8Array): void => {
  const attachment = disk.attachment ? 1 : 0
  const base = sql.get<{ root: Uint8Array | null }>(
    'SELECT root FROM image WHERE point = ? AND disk = ? AND size = ? AND attachment = ?',
    job.base ?? '',
    disk.base ?? disk.name,
    disk.size,
    attachment,
  )
  sql.run(
    `INSERT INTO upload (job, disk, ordinal, size, kind, reason, base_root, has_base, position, state, finished,
     received, stored, changed, evidence, compared, attachment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 0, 0, 0, ?, ?, ?)`,
    job.id,
    disk.name,
    ordinal,
    disk.size,
    disk.kind,
    disk.reason,
    base?.root ?? null,
    base === undefined ? 0 : 1,
    state,
    disk.size === 0 ? 1 : 0,
    disk.evidence,
    disk.comparedChunks,
    attachment,
  )
}

/** TOO_MANY_REQUESTS where as many jobs are running as a planned one may find; whoever starts them, and on whichever gateway. */
const checkLimits = (
  sql: Sql,
  { agent, tenant }: { readonly agent: string; readonly tenant: number },
  limits: JobLimits,
): void => {
  const open = sql.all<{ agent: string; tenant: number }>('SELECT agent, tenant FROM job WHERE ended_ms IS NULL')
  if (
    open.length >= limits.perGateway ||
    open.filter((job) => job.tenant === tenant).length >= limits.perTenant ||
    open.filter((job) => job.agent === agent).length >= limits.perHost
  )
    throw new VarveError('TOO_MANY_REQUESTS', 'as many backups are running as may at once: this one waits for a place')
}

export const jobOperations = {
  'jobs.start': write((sql, args) => {
    const machine = machineRow(sql, args.tenant, args.machine)
    // of whatever agent: a machine that moved may still be read on the host that it left
    const open = sql.get<{ id: string }>('SELECT id FROM job WHERE machine = ? AND ended_ms IS NULL', machine)
    if (open !== undefined)
      throw new VarveError('JOB_RUNNING', `a backup of this machine is running: job ${open.id}`, {
        details: { job: open.id },
      })
    const serves = sql.get('SELECT 1 FROM machine WHERE id = ? AND agent = ?', machine, args.agent)
    // assigned, or handed over within its site, since the agent was looked up: its points are another one's to continue
    if (serves === undefined)
      throw new VarveError(
        'MACHINE_MOVING',
        `${args.machine} has just gone over to another agent: start the backup again`,
      )
    if (args.run !== undefined) checkLimits(sql, args, args.run.limits)
    const base = findBase(sql, machine, args.agent)
    const compare = args.compare || comparisonDue(sql, machine, args.nowMs)
    const { seq } = sql.get<{ seq: number }>(
      'UPDATE tenant SET job_seq = job_seq + 1 WHERE id = ? RETURNING job_seq AS seq',
      args.tenant,
    )!
    sql.run(
      `INSERT INTO job (id, tenant, machine, agent, subject, state, "full", compare, base, seq, started_ms)
         VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?)`,
      args.id,
      args.tenant,
      machine,
      args.agent,
      args.subject,
      args.full ? 1 : 0,
      compare ? 1 : 0,
      base?.point ?? null,
      seq,
      args.nowMs,
    )
    const { id: job, nowMs, subject, tenant, run } = args
    if (run === undefined) addByHand(sql, { id: randomUUID(), tenant, kind: 'backup', machine, subject, nowMs, job })
    else if (!startRun(sql, { ...run, job, nowMs }))
      throw new VarveError('EXISTS', `run ${run.id} is not due any more: it was started or ended meanwhile`)
    tellStarted(sql, args.id, args.nowMs)
    return { base, compare }
  }),

  'jobs.begin': write((sql, args) => {
    const job = runningJobOf(sql, args.job, args.agent)
    const { startedMs } = job
    const timeMs = Math.min(
      Math.max(args.begun.timeMs, Math.min(startedMs, args.nowMs) - (args.leadMs ?? 0)),
      Math.max(startedMs, args.nowMs),
    )
    refuseMissed(sql, job, args.disks)
    const announced = announcedOf(args.disks, args.attachments ?? [])
    if (job.begun !== null) {
      const before = uploadsOf(sql, args.job).map(({ disk, size, kind, reason }) => [disk, size, kind, reason])
      const now = announced.map(({ name, size, kind, reason }) => [name, size, kind, reason])
      const { begun } = job
      const same = { ...args.begun, timeMs: begun.timeMs }
      if (isDeepStrictEqual(begun, same) && isDeepStrictEqual(before, now)) return null
      throw new VarveError('UPLOAD_INVALID', `job ${args.job} was begun before with other disks`)
    }
    checkReads(args.disks, factsOf(sql, job))
    checkAttachments(args.disks, args.attachments ?? [], args.begun.missing)
    const refusal = refusedBy(policyOf(planOfMachine(sql, job.machineRow)), args.disks, args.begun)
    if (refusal !== null) {
      const { code, message } = refusal
      endJob(sql, job.id, 'failed', { code, message }, args.nowMs)
      return refusal
    }
    sql.run('UPDATE job SET begun = ? WHERE id = ?', JSON.stringify({ ...args.begun, timeMs }), args.job)
    for (const [ordinal, image] of announced.entries()) openUpload(sql, job, image, ordinal, args.state)
    return null
  }),

  'jobs.upload': read((sql, args) => {
    const job = runningJobOf(sql, args.job, args.agent)
    const upload = uploadsOf(sql, args.job).find(({ disk }) => disk === args.disk)
    if (upload === undefined) throw new VarveError('NOT_FOUND', `job ${args.job} has no disk "${args.disk}"`)
    return { ...upload, machine: job.machine }
  }),

  'jobs.complete': read((sql, args) => {
    const job = jobOf(sql, args.job, args.agent)
    const uploads = uploadsOf(sql, args.job)
    if (job.state === 'running') checkWhole(job, uploads)
    return { job, uploads }
  }),

  'jobs.commit': write((sql, args) => {
    const job = jobOf(sql, args.job, args.agent)
    if (job.state === 'committed') return
    const uploads = uploadsOf(sql, args.job)
    const begun = checkWhole(runningJobOf(sql, args.job, args.agent), uploads)
    const { kind, reason } = pointKind(uploads.filter(({ attachment }) => !attachment))
    const sum = (pick: (upload: UploadRow) => number): number =>
      uploads.reduce((total, upload) => total + pick(upload), 0)
    sql.run(
      `INSERT INTO point (id, tenant, machine, agent, time_ms, kind, reason, consistency, note, configuration, base,
       bytes_read, bytes_sent, bytes_stored, duration_ms, committed_ms, manifest, locked_ms, left_out, missing, seq, checkpoint, took)
       SELECT job.id, job.tenant, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM job WHERE job.id = ?`,
      job.machineRow,
      job.agent,
      begun.timeMs,
      kind,
      reason,
      begun.consistency,
      begun.note,
      begun.configuration,
      job.base,
      args.bytesRead,
      sum((upload) => upload.bytesSent),
      sum((upload) => upload.bytesStored),
      Math.max(0, args.nowMs - job.startedMs),
      args.nowMs,
      args.manifest,
      args.lockedUntilMs,
      JSON.stringify(begun.leftOut),
      JSON.stringify(begun.missing),
      job.seq,
      begun.checkpoint ? 1 : 0,
      tookText(args.took ?? null),
      job.id,
    )
    sql.run(
      `INSERT INTO image (point, disk, ordinal, size, root, kind, reason, changed, evidence, compared, attachment)
       SELECT job, disk, ordinal, size, root, kind, reason, changed, evidence, compared, attachment FROM upload WHERE job = ?`,
      job.id,
    )
    endJob(sql, job.id, 'committed', null, args.nowMs)
    tellCommitted(sql, job.id, { uploads, bytesRead: args.bytesRead, nowMs: args.nowMs })
  }),

  'jobs.fail': write((sql, args) => {
    const job = jobOf(sql, args.job, args.agent)
    if (job.state === 'failed') return
    runningJobOf(sql, args.job, args.agent)
    endJob(sql, args.job, 'failed', { code: args.code, message: args.message }, args.nowMs)
  }),

  'jobs.release': write((sql, args) => {
    jobOf(sql, args.job, args.agent)
    sql.run('UPDATE job SET released = 1 WHERE id = ?', args.job)
  }),

  'jobs.reconcile': write((sql, args) => {
    const open = sql.all<{ id: string }>('SELECT id FROM job WHERE agent = ? AND ended_ms IS NULL', args.agent)
    const known = new Set([...args.jobs, ...args.handed])
    const failed = open.map(({ id }) => id).filter((id) => !known.has(id))
    const error = {
      code: 'LEASE_LOST',
      message: 'the agent came back without this backup: it was restarted or the machine was',
    }
    for (const id of failed) endJob(sql, id, 'failed', error, args.nowMs)
    for (const { id } of sql.all<{ id: string }>(
      'SELECT id FROM job WHERE agent = ? AND released = 0 AND ended_ms IS NOT NULL',
      args.agent,
    ))
      if (!args.jobs.includes(id)) sql.run('UPDATE job SET released = 1 WHERE id = ?', id)
    const states = args.jobs.map((job) => ({
      job,
      state:
        sql.get<{ state: JobState }>('SELECT state FROM job WHERE id = ? AND agent = ?', job, args.agent)?.state ??
        null,
    }))
    return { states, failed }
  }),
} satisfies Partial<Operations>
