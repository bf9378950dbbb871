// Runs backups on the agent's side: lease, images, commit, and the end of the lease; resumes after breaks and restarts.
import type { JobState } from '../protocol/backup.ts'
import { asVarveError, VarveError } from '../protocol/errors.ts'
import type { Chunking, Params } from '../protocol/methods.ts'
import type { Clock } from '../protocol/peer.ts'
import { Throttle } from '../protocol/host/throttle.ts'
import { announcementOf, compareLease } from './announce.ts'
import { Announcement } from './announcement.ts'
import { contentAhead, contentOf, type BaseContent, type ContentUses } from './base-content.ts'
import { Attachments } from './attachments/attachments.ts'
import type { Attached } from './attachments/spool.ts'
import type { JournalEntry, LeaseJournal } from './drivers/journal.ts'
import type { Lease, LeaseDriver, LeaseOutcome, LeaseRequest, Machine, MachineConfig } from './drivers/driver.ts'
import { lossOf } from './drivers/loss.ts'
import { EndReports } from './end-reports.ts'
import type { Log } from '../protocol/host/log.ts'
import { Pace } from './pace.ts'
import { retry } from './retry.ts'
import { sendImages } from './send-images.ts'
import { targetOf } from './leases/holder.ts'
import type { TargetLeases } from './leases/target-leases.ts'
import type { GatewayLink } from './session/link.ts'
import type { RunningBackup } from './status/agent-status.ts'
import type { Traffic } from './status/traffic.ts'
import { Settlements } from './settlements.ts'
import { Steps } from './steps.ts'
import { tellProgress } from './tell-progress.ts'

/** How long a lease waits for a gateway that is away before it is given up, in milliseconds. */
const OFFLINE_LIMIT_MS = 12 * 60 * 60 * 1000

/** Tries of a lease's check that fails with a transient error, and the pause between them in milliseconds. */
const CHECKS = { triesMax: 10, pauseMs: 1000 } as const

/** How long an interrupted agent tries to report to the gateway that its backups failed, in milliseconds. */
const GIVE_UP_LIMIT_MS = 5000

const STOPPING = new VarveError('GOING_AWAY', 'the agent is stopping')

/** Begins or adopts a lease; the signal aborts when the backup is given up meanwhile. */
type Begin = (signal: AbortSignal, steps: Steps) => Promise<Lease>

/** What the gateway said of a backup: the keys of its chunks, and the way to ask about its base. */
interface Ordered {
  readonly keys: Chunking
  readonly content: (uses: ContentUses) => BaseContent
}

interface Running {
  readonly job: string
  readonly machine: string
  readonly driver: string
  readonly abort: AbortController
  readonly steps: Steps
  readonly pace: Pace
  readonly content: BaseContent
  /** Its outcome is known; only its lease is still being released. */
  ending: boolean
  done: Promise<void>
}

export interface BackupsOptions {
  readonly agentId: string
  /** Agents that this host was before. */
  readonly formerAgents: readonly string[]
  readonly machines: readonly MachineConfig[]
  readonly driverOf: (machine: Pick<Machine, 'driver'>) => LeaseDriver
  /** Leases that other programs hold. */
  readonly leases: Pick<TargetLeases, 'has' | 'refuseHeld'>
  /** Begins a lease, with whatever driver reads the machine as it is now. */
  readonly begin: (request: LeaseRequest) => Promise<Lease>
  readonly journal: LeaseJournal
  readonly stateFolder: string
  /** The connection; a function, as it needs this object's inventory to open. */
  readonly link: () => GatewayLink
  readonly freezeTimeoutMs: number
  readonly bandwidth: number | null
  readonly traffic: Traffic
  readonly clock: Clock
  readonly log: Log
}

export class Backups implements AsyncDisposable {
  readonly #options: BackupsOptions
  readonly #throttle: Throttle
  readonly #running = new Map<string, Running>()
  readonly #settlements: Settlements
  readonly #attachments: Attachments
  readonly #reports: EndReports
  /** Aborted when the process is about to end: nothing waits for the gateway any more. */
  readonly #halt = new AbortController()
  /** Leases stay as they are from now on, for the next start. */
  #stopping = false

  constructor(options: BackupsOptions) {
    this.#options = options
    this.#throttle = new Throttle(options.bandwidth, options.clock)
    const { driverOf, journal, clock, log } = options
    this.#attachments = new Attachments(options)
    this.#reports = new EndReports({ link: options.link, clock, log, signal: this.#halt.signal })
    this.#settlements = new Settlements({
      driverOf,
      journal,
      clock,
      log,
      isRunning: (job) => this.#running.has(job) || options.leases.has(job),
      onReleased: (job) => this.#reports.released(job),
    })
  }

  /** How many ended since the start. */
  readonly ended = { committed: 0, failed: 0 }

  /** Those under way. */
  running(): RunningBackup[] {
    return [...this.#running.values()].map(({ job, machine, driver, steps }) => {
      const { sinceMs, current, bytesRead, bytesSent } = steps
      return { job, machine, driver, sinceMs, step: current, bytesRead, bytesSent }
    })
  }

  /** The job that holds a machine's lease, if any. */
  jobOf(machine: string): string | null {
    return [...this.#running.values()].find((running) => running.machine === machine)?.job ?? null
  }

  /**
   * Accepts a backup, which begins once an earlier one, whose outcome is known, has released its lease.
   * NOT_FOUND for a machine of another configuration, LEASE_HELD.
   */
  start(order: Params<'agent.backup'>): void {
    const machine = this.#machine(order.machine)
    const earlier = [...this.#running.values()].filter((running) => running.machine === machine.name)
    const held = earlier.find(({ ending, abort }) => !ending && !abort.signal.aborted)
    if (held !== undefined) throw new VarveError('LEASE_HELD', `job ${held.job} holds the lease of ${machine.name}`)
    const { agentId, formerAgents, begin, leases, freezeTimeoutMs } = this.#options
    leases.refuseHeld(machine.name)
    const { full, base, policy, chunkBytes } = order
    const { consistency, refuseFull, refuseLeftOut } = policy
    const wishes = { full, compare: order.compare, chunkBytes, consistency, freezeTimeoutMs, refuseFull, refuseLeftOut }
    const request = { leaseId: order.job, agentId, formerAgents, base, ...wishes }
    const content = (uses: ContentUses): BaseContent => contentAhead(order, uses)
    this.#run(order.job, machine, { keys: order, content }, async (signal, steps) => {
      for (const done of [...earlier.map((one) => one.done), ...this.#settlements.of(machine.name)]) {
        await done
        signal.throwIfAborted()
      }
      // the configuration may have been reloaded meanwhile
      const onThawed = steps.watchFreeze()
      return await begin({ ...request, machine: this.#machine(machine.name), onThawed })
    })
  }

  /** Cancels a running backup; does nothing when it is not running here. */
  cancel(job: string): void {
    this.#running.get(job)?.abort.abort(new VarveError('CANCELLED', 'the backup was cancelled'))
  }

  /** Jobs that hold, or may have left, something in a machine. */
  async jobs(): Promise<string[]> {
    const { journal } = this.#options
    const [entries, unknown] = [await journal.list(), await journal.listUnknown()]
    // the gateway knows nothing of leases of other programs
    const backups = entries.filter(({ agentId }) => targetOf(agentId) === null)
    return [...new Set([...this.#running.keys(), ...[...backups, ...unknown].map(({ id }) => id)])]
  }

  /** Applies the gateway's answer to the last inventory: resumes the jobs that run, settles the others. */
  async reconcile(
    jobs: readonly { readonly job: string; readonly state: JobState | null; readonly keys: Chunking | null }[],
  ): Promise<void> {
    const entries = new Map((await this.#options.journal.list()).map((entry) => [entry.id, entry]))
    for (const { job, state, keys } of jobs) {
      const running = this.#running.get(job)
      if (running !== undefined) {
        if (state === 'failed' || state === null)
          running.abort.abort(new VarveError('JOB_ENDED', 'the gateway has ended this backup'))
        continue
      }
      const entry = entries.get(job)
      if (entry === undefined) continue
      if (state === 'running' && keys !== null) this.#resume(entry, keys)
      else void this.#settlements.settle(entry, state === 'committed' ? 'committed' : 'failed')
    }
    await this.#attachments.forgetBut(...this.#running.keys(), ...entries.keys())
  }

  /** Cancels every running backup and waits until the machines are released. */
  async giveUp(): Promise<void> {
    const running = [...this.#running.values()]
    for (const { abort } of running) abort.abort(new VarveError('CANCELLED', 'the agent was interrupted'))
    const stopTimer = this.#options.clock.after(GIVE_UP_LIMIT_MS, () => this.#halt.abort(STOPPING))
    await Promise.all(running.map(({ done }) => done))
    stopTimer()
  }

  /** Cancels what runs and settles what earlier runs left, for an agent that can never ask the gateway again. */
  async abandon(): Promise<void> {
    await this.giveUp()
    for (const entry of await this.#options.journal.list()) await this.#settlements.settle(entry, 'failed')
  }

  /** Stops what runs without ending it: leases stay for the next start, as after a crash. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#halt.abort(STOPPING)
    this.#settlements.stop()
    const running = [...this.#running.values()]
    for (const { abort } of running) abort.abort(STOPPING)
    await Promise.all(running.map(({ done }) => done))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** NOT_FOUND. */
  #machine(name: string): MachineConfig {
    const machine = this.#options.machines.find((one) => one.name === name)
    if (machine === undefined) throw new VarveError('NOT_FOUND', `this agent has no machine "${name}"`)
    return machine
  }

  #resume(entry: JournalEntry, keys: Chunking): void {
    if (this.#settlements.has(entry.id)) return
    const { driverOf, log } = this.#options
    const content = (uses: ContentUses): BaseContent => contentOf(entry.id, uses)
    this.#run(entry.id, entry.machine, { keys, content }, async () => {
      const lease = await driverOf(entry.machine).adopt(entry)
      if (lease !== null) {
        log.info({ job: entry.id, machine: entry.machine.name }, 'the backup continues after a restart')
        return lease
      }
      throw new VarveError('LEASE_LOST', 'the lease did not survive the restart of the agent or the machine')
    })
  }

  #run(job: string, { name, driver }: Machine, { keys, content: ask }: Ordered, begin: Begin): void {
    const abort = new AbortController()
    const { clock, link } = this.#options
    const content = ask({ link, signal: abort.signal, awayMs: OFFLINE_LIMIT_MS })
    const [steps, pace] = [new Steps(clock), new Pace(clock)]
    const running = { job, machine: name, driver, abort, steps, pace, content, ending: false, done: Promise.resolve() }
    this.#running.set(job, running)
    running.done = this.#finish(running, keys, begin)
  }

  async #finish(running: Running, keys: Chunking, begin: Begin): Promise<void> {
    const stopTelling = tellProgress({ ...running, link: this.#options.link, clock: this.#options.clock })
    try {
      await this.#work(running, keys, begin)
    } finally {
      stopTelling()
      this.#running.delete(running.job)
      // the next start goes on with them
      if (!this.#stopping) await this.#attachments.forget(running.job)
    }
  }

  async #work(running: Running, keys: Chunking, begin: Begin): Promise<void> {
    const { log } = this.#options
    const { job, machine, abort, steps } = running
    let lease: Lease | null = null
    let asked = false
    try {
      lease = await steps.time('lease', () => begin(abort.signal, steps))
      void lease.lost.then((error) => abort.abort(error))
      const attached = await this.#attachments.of(job, machine, lease)
      const bytesRead = await this.#transfer(running, lease, keys, attached)
      const scratch = await lease.scratch()
      asked = true
      await this.#reports.commit(job, steps, { bytesRead, scratch }, OFFLINE_LIMIT_MS)
    } catch (thrown) {
      const error = await lossOf(thrown, lease, abort.signal)
      // an unanswered commit may have happened: the next start learns of it from the gateway
      if (this.#stopping || (asked && this.#halt.signal.aborted)) return
      running.ending = true
      this.ended.failed++
      log.warn({ job, machine, code: error.code, reason: error.message }, 'backup failed')
      await this.#giveUp(running, lease, error)
      return
    }
    running.ending = true
    this.ended.committed++
    log.info({ job, machine, point: job }, 'restore point committed')
    await this.#end(job, lease, 'committed')
  }

  /** Uploads all disks and attachments of a lease; resolves with the bytes read once only the commit is left. */
  async #transfer(running: Running, lease: Lease, keys: Chunking, attached: Attached): Promise<number> {
    const { job, abort, steps, pace, content } = running
    const { signal } = abort
    const link = this.#options.link()
    const { driverOf, traffic, clock, log } = this.#options
    const driver = driverOf(running)
    const passes = (error: VarveError): boolean => driver.isPassing(error)
    const check = (): Promise<void> => retry(() => lease.check(), { ...CHECKS, clock, passes })
    const comparing = { job, lease, keys, content, check, signal, link, log, awayMs: OFFLINE_LIMIT_MS }
    await steps.time('compare', () => compareLease(comparing))
    const announcement = new Announcement(announcementOf(job, lease, attached), steps)
    const throttle = this.#throttle
    const readThrottle = new Throttle(lease.bandwidth ?? null, clock)
    const what = { job, lease, attached, announcement, keys, readThrottle }
    const sending = { ...what, link, throttle, signal, awayMs: OFFLINE_LIMIT_MS, steps, traffic, pace }
    const bytesRead = await sendImages(sending)
    await steps.time('check', check)
    return bytesRead
  }

  /** Releases the machine first, so that the guest does not wait for the network, then reports to the gateway. */
  async #giveUp({ job, steps }: Running, lease: Lease | null, error: VarveError): Promise<void> {
    if (lease !== null) await this.#end(job, lease, 'failed')
    // a lease that could not be begun or adopted may have left something too
    else await this.#settlements.settleJob(job)
    await this.#reports.failed(job, steps, error)
  }

  /** Ends a lease; what cannot be removed now stays in the journal and is tried again. */
  async #end(job: string, lease: Lease, outcome: LeaseOutcome): Promise<void> {
    try {
      await lease.end(outcome)
      this.#reports.released(job)
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      this.#options.log.warn(
        { job, outcome, code, reason: message },
        'the lease could not be ended; trying again later',
      )
    }
  }
}
