// Runs backups: opens a job, hands it to the agent, follows it, commits the restore point.
import type { Tenant } from '../catalog/tenants.ts'
import type { JobCommit, ShownBackup, ShownJob } from '../catalog/jobs.ts'
import type { BasePoint } from '../catalog/reads.ts'
import { randomUUID } from 'node:crypto'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Job, Params, Result } from '../../protocol/methods.ts'
import type { Clock, Peer, ServedCall } from '../../protocol/peer.ts'
import { EMPTY_STATE, encodeState } from '../chains/image-builder.ts'
import { unaudited, type Change } from '../catalog/change.ts'
import type { UploadCall } from '../chains/upload-memory.ts'
import type { Datastore } from '../datastore/datastore.ts'
import { manifestOf } from '../catalog/manifest.ts'
import type { Teller } from '../events/events.ts'
import type { Log } from '../../protocol/host/log.ts'
import { answerOf } from './agent-error.ts'
import { baseFor } from './base.ts'
import { lockOfNewPoint } from './lock.ts'
import { Comparisons } from './compare.ts'
import { Courses } from './courses.ts'
import { Moves, type Whereabouts } from './moves.ts'
import { Skews } from './skews.ts'
import type { StartRequest } from './start-request.ts'
import { ToldCodes } from './told-codes.ts'
import { Uploads } from './uploads.ts'
import { jobView } from './views.ts'
import { watchJob } from './watch.ts'
import { Watchers } from './watchers.ts'

/** How long an agent may take to accept a backup, in milliseconds; the lease itself begins after that. */
export const ACCEPT_TIMEOUT_MS = 30_000

/** Longest reason of a failure that is kept, in characters. */
const REASON_CHARS_MAX = 1024

/** Connections of the agents, and what they say on them. */
export interface AgentLinks extends Whereabouts {
  /** AGENT_OFFLINE. */
  agent(agent: string): Peer
}

/** What older agents do not say. */
type MayLack = 'attachments' | 'missing' | 'leadMs'
type Begin = Omit<Params<'backup.begin'>, MayLack> & Partial<Pick<Params<'backup.begin'>, MayLack>>
type Commit = Pick<JobCommit, 'job' | 'bytesRead' | 'took'>
type Failure = Omit<Params<'backup.fail'>, 'steps'> & { readonly agent: string }

export class Backups {
  readonly #datastore: Datastore
  readonly #agents: AgentLinks
  readonly #clock: Clock
  readonly #log: Log
  readonly #watchers: Watchers
  /** Jobs that this process handed to agents, with the connection on which it did. */
  readonly #handed = new Map<string, Peer>()
  readonly #courses: Courses
  /** Announcements under way, by agent and job. */
  readonly #announcing = new Map<string, Promise<unknown>>()
  readonly uploads: Uploads
  readonly comparisons: Comparisons
  readonly toldCodes = new ToldCodes()
  readonly skews: Skews
  readonly moves: Moves

  constructor(options: { datastore: Datastore; agents: AgentLinks; clock: Clock; log: Log; events?: Teller }) {
    this.#datastore = options.datastore
    this.#agents = options.agents
    this.#clock = options.clock
    this.#log = options.log
    this.#watchers = new Watchers(options.clock, options.events)
    this.#courses = new Courses(options.clock)
    this.skews = new Skews(options.log)
    this.moves = new Moves({ ...options, catalog: options.datastore.catalog })
    const onProgress = (job: string): void => this.#watchers.notify(job, 'progress')
    this.uploads = new Uploads({ ...options, courses: this.#courses, onProgress })
    this.comparisons = new Comparisons({ ...options, onProgress })
  }

  /**
   * Opens a job and hands it to the machine's agent, or the one of its site where it runs; AGENT_OFFLINE, JOB_RUNNING,
   * QUOTA_EXCEEDED, STORE_FULL or the agent's own refusal.
   */
  async start(asked: StartRequest): Promise<{ job: string }> {
    const request = { ...asked, machine: await this.moves.located(asked.tenant, asked.machine) }
    const { tenant, machine, full } = request
    const peer = this.#agents.agent(machine.agent)
    await this.#datastore.space.admit(tenant)
    const job = randomUUID()
    // before the row exists: an inventory of the agent without this job may be under way
    this.#handed.set(job, peer)
    this.#courses.asked(job)
    const { base, compare } = await this.#open(job, request)
    this.#watchers.notify(job, 'start')
    this.#log.info({ job, machine: machine.name, tenant: tenant.name, base: base?.point ?? null }, 'backup starts')
    try {
      const { idKey, chunkBytes } = tenant
      const reread = base === null ? null : await baseFor(this.#datastore, this.#clock, tenant, base)
      const what = { machine: machine.name, policy: machine.policy, base: reread }
      const params = { job, full, compare, idKey, chunkBytes, ...what }
      await answerOf(peer, peer.call('agent.backup', params, { deadlineMs: ACCEPT_TIMEOUT_MS }))
      this.#courses.accepted(job)
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      await this.fail({ job, agent: machine.agent, code, message })
      throw thrown
    }
    return { job }
  }

  /** Opens the job: the point that it continues, or null, and whether all that is unchanged is to be compared with it. */
  async #open(
    job: string,
    { tenant, machine, subject, full, compare: asked, run }: StartRequest,
  ): Promise<{ base: BasePoint | null; compare: boolean }> {
    try {
      return await this.#datastore.catalog.jobs.start({
        id: job,
        tenant: tenant.id,
        machine: machine.name,
        agent: machine.agent,
        subject,
        full,
        compare: asked,
        ...(run === undefined ? {} : { run }),
        nowMs: this.#clock.now(),
      })
    } catch (thrown) {
      this.#handed.delete(job)
      this.#courses.forget(job)
      throw thrown
    }
  }

  /**
   * Records what the lease announces. UPLOAD_INVALID for what is impossible; FULL_REFUSED and FREEZE_REQUIRED, by the machine's
   * policy, end the job.
   */
  async begin(agent: string, params: Begin): Promise<void> {
    const key = `${agent}/${params.job}`
    const announcing = this.#begin(agent, params)
    this.#announcing.set(key, announcing)
    try {
      await announcing
    } finally {
      if (this.#announcing.get(key) === announcing) this.#announcing.delete(key)
    }
  }

  /** Receives an image of a job; one whose announcement is still under way waits for that. */
  async receive(
    tenant: Tenant,
    agent: string,
    params: Params<'image.upload'>,
    from: UploadCall,
  ): Promise<Result<'image.upload'>> {
    // how it ends shows in what is announced
    await this.#announcing.get(`${agent}/${params.job}`)?.catch(() => {})
    return await this.uploads.receive(tenant, agent, params, from)
  }

  async #begin(agent: string, params: Begin): Promise<void> {
    const { job, disks, attachments = [], missing = [], leadMs = 0, ...rest } = params
    const begun = { ...rest, missing }
    const nowMs = this.#clock.now()
    // one that lies before the job says nothing of the agent's clock
    if (leadMs === 0) this.skews.note(agent, begun.timeMs - nowMs)
    const state = encodeState(EMPTY_STATE)
    const refusal = await this.#datastore.catalog.jobs.begin({
      job,
      agent,
      begun,
      leadMs,
      disks,
      attachments,
      state,
      nowMs,
    })
    if (refusal !== null) {
      const { code, message, details } = refusal
      this.#log.warn({ job, code, reason: message }, 'backup failed')
      this.#failed(job)
      throw new VarveError(code, message, { details })
    }
    this.#watchers.notify(job, 'progress')
  }

  /** Makes the restore point durable and ends the job; the same call again gives the same answer. */
  async commit(
    tenant: Tenant,
    agent: string,
    { job, bytesRead, took = null }: Commit,
    change = unaudited,
  ): Promise<{ point: string }> {
    const { catalog } = this.#datastore
    const complete = await catalog.jobs.complete({ job, agent })
    if (complete.job.state === 'running') {
      const nowMs = this.#clock.now()
      const lockedUntilMs = await lockOfNewPoint(catalog, tenant, complete.job.machine, nowMs)
      const store = this.#datastore.tenantStore(tenant)
      using kept = await store.writeManifest(manifestOf(complete, { bytesRead, took, nowMs, lockedUntilMs }))
      const args = { job, agent, bytesRead, took, nowMs, manifest: kept.id, lockedUntilMs }
      await change((entry) => catalog.jobs.commit(args, entry))
    } else if (complete.job.state === 'failed') throw new VarveError('JOB_ENDED', `job ${job} has failed already`)
    // chunks kept from the base may be damaged
    const { base, startedMs } = complete.job
    // a start in the future comes from a clock that was ahead: any damage may be newer
    const sinceMs = startedMs <= this.#clock.now() ? startedMs : 0
    if (await catalog.damage.mayTouch({ tenant: tenant.id, base, sinceMs }))
      void this.#datastore.tenantStore(tenant).quarantine.attribute()
    this.#log.info({ job, machine: complete.job.machine, tenant: tenant.name }, 'restore point committed')
    this.#ended(job)
    return { point: job }
  }

  /** Ends a running job at its agent's request; see fail and ToldCodes. */
  async told({ code, message, ...job }: Failure, change?: Change): Promise<void> {
    const error = this.toldCodes.ended(job.job, code, message)
    await this.fail({ ...job, code: error.code, message: error.message }, change)
  }

  /** Ends a running job and its uploads; JOB_ENDED when it is committed, nothing when it has failed before. */
  async fail({ job, agent, code, message }: Failure, change = unaudited): Promise<void> {
    const failure = { code: code.slice(0, REASON_CHARS_MAX), message: message.slice(0, REASON_CHARS_MAX) }
    const args = { job, agent, ...failure, nowMs: this.#clock.now() }
    await change((entry) => this.#datastore.catalog.jobs.fail(args, entry))
    this.#log.warn({ job, code: failure.code, reason: failure.message }, 'backup failed')
    this.#failed(job)
  }

  #failed(job: string): void {
    this.uploads.end(job, new VarveError('JOB_ENDED', `job ${job} has failed already`))
    this.#ended(job)
  }

  #ended(job: string): void {
    this.#handed.delete(job)
    this.comparisons.forget(job)
    this.#courses.forget(job)
    this.#watchers.notify(job, 'end')
  }

  /** Ends a running job and notifies its agent, which releases the lease; JOB_ENDED when it is committed. */
  async cancel(job: ShownJob, subject: string, change?: Change): Promise<void> {
    await this.fail({ job: job.id, agent: job.agent, code: 'CANCELLED', message: `cancelled by ${subject}` }, change)
    try {
      await this.#agents.agent(job.agent).call('agent.cancel', { job: job.id })
    } catch (thrown) {
      // a disconnected agent learns of it from its next inventory
      const { code } = asVarveError(thrown)
      this.#log.info({ job: job.id, code }, 'the agent could not be notified of the cancellation')
    }
  }

  /**
   * Jobs the agent still holds a lease for, with their states. Its other open jobs have failed, except those that were handed
   * over on its present connection: the agent may have made its list before it received them.
   */
  async reconcile(tenant: Tenant, agent: string, jobs: readonly string[]): Promise<Result<'agent.inventory'>['jobs']> {
    const peer = this.#agents.find(agent)
    const handed = [...this.#handed].filter(([, to]) => to === peer).map(([job]) => job)
    const args = { agent, jobs, handed, nowMs: this.#clock.now() }
    const { states, failed } = await this.#datastore.catalog.jobs.reconcile(args)
    for (const job of failed) this.#failed(job)
    const { idKey, chunkBytes } = tenant
    return states.map(({ job, state }) => ({ job, state, keys: state === 'running' ? { idKey, chunkBytes } : null }))
  }

  /** The job as the tenant sees it; NOT_FOUND. */
  async get(tenant: Tenant, job: string): Promise<{ row: ShownJob; view: Job }> {
    const found = await this.#datastore.catalog.jobs.get({ tenant: tenant.id, job })
    if (found === null) throw new VarveError('NOT_FOUND', `there is no job ${job}`)
    return { row: found.job, view: this.view(tenant, found) }
  }

  /** The job as the tenant sees it just now. */
  view(tenant: Tenant, { job, uploads }: ShownBackup): Job {
    const [online, course] = [this.#agents.find(job.agent) !== null, this.#courses.look(job.id)]
    return jobView(job, uploads, tenant.chunkBytes, { comparedBytes: this.comparisons.bytes(job.id), online, course })
  }

  /** Notes what an agent says of its running job; NOT_FOUND, JOB_ENDED. */
  async progress(tenant: Tenant, agent: string, { job, ...told }: Params<'backup.progress'>): Promise<void> {
    const { forgotten } = this.#courses
    const found = await this.#datastore.catalog.jobs.get({ tenant: tenant.id, job })
    if (found?.job.agent !== agent) throw new VarveError('NOT_FOUND', `this agent has no job ${job}`)
    if (found.job.state !== 'running') throw new VarveError('JOB_ENDED', `job ${job} has ended already`)
    // of a job that may have ended meanwhile nothing is kept; one of an earlier process tells again soon
    if (!this.#courses.has(job) && this.#courses.forgotten !== forgotten) return
    this.#courses.told(job, told)
    this.#watchers.notify(job, 'progress')
  }

  /** Notes that the agent has released the lease of a job. */
  async released(agent: string, job: string): Promise<void> {
    await this.#datastore.catalog.jobs.release({ job, agent })
    this.#watchers.notify(job, 'end')
  }

  /**
   * Sends the job's state now and after each change until it is over; gives the last one. Each look is made by `inTurn`; see
   * watchJob.
   */
  watch(
    tenant: Tenant,
    job: string,
    call: ServedCall<'jobs.watch'>,
    inTurn: <R>(look: () => Promise<R>) => Promise<R> = (look) => look(),
  ): Promise<Job> {
    const look = (): ReturnType<Backups['get']> => inTurn(() => this.get(tenant, job))
    return watchJob({ watchers: this.#watchers, agents: this.#agents, clock: this.#clock }, job, call, look)
  }
}
