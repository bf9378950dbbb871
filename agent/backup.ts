// Runs backups on the agent's side: lease, images, commit, and the end of the lease; goes on after breaks and restarts.
import type { JobState } from '../protocol/backup.ts'
import { asVarveError, VarveError } from '../protocol/errors.ts'
import type { Chunking, Params } from '../protocol/methods.ts'
import type { Clock } from '../protocol/peer.ts'
import type { MachineConfig } from './config.ts'
import { Throttle } from '../protocol/host/throttle.ts'
import { announcementOf, compareLease } from './announce.ts'
import { uploadImage } from './image/upload.ts'
import type { JournalEntry, LeaseJournal } from './drivers/journal.ts'
import type { Lease, LeaseDriver, LeaseOutcome } from './drivers/driver.ts'
import { lossOf } from './drivers/loss.ts'
import type { Log } from '../protocol/host/log.ts'
import { isBreak, type GatewayLink } from './session/link.ts'

/** How long a lease waits for a gateway that is away before it is given up, in milliseconds. */
const OFFLINE_LIMIT_MS = 12 * 60 * 60 * 1000

/** How often leases that QEMU kept us from ending are tried again, in milliseconds. */
const SETTLE_INTERVAL_MS = 30_000

/** Tries of a lease's check while QMP does not answer, and the pause between them in milliseconds. */
const CHECKS_MAX = 10
const CHECK_PAUSE_MS = 1000

/** Tries of a commit that the gateway did not answer in time or could not write just now, and the pause between them in milliseconds. */
const COMMITS_MAX = 10
const COMMIT_PAUSE_MS = 1000

/** How long an interrupted agent tries to tell the gateway that its backups failed, in milliseconds. */
const GIVE_UP_LIMIT_MS = 5000

/** How long it is tried to tell the gateway that a lease is given back, in milliseconds. */
const RELEASED_LIMIT_MS = 10_000

const STOPPING = new VarveError('GOING_AWAY', 'the agent is stopping')

/** Begins or adopts a lease; the signal aborts when the backup is given up meanwhile. */
type Begin = (signal: AbortSignal) => Promise<Lease>

interface Running {
  readonly job: string
  readonly machine: string
  readonly abort: AbortController
  /** Its outcome is known; only its lease is still being given back. */
  ending: boolean
  done: Promise<void>
}

export interface BackupsOptions {
  readonly agentId: string
  /** Agents that this host was before. */
  readonly formerAgents: readonly string[]
  readonly machines: readonly MachineConfig[]
  readonly driver: LeaseDriver
  readonly journal: LeaseJournal
  /** The connection; asked for late, as it needs this object's inventory to open. */
  readonly link: () => GatewayLink
  readonly freezeTimeoutMs: number
  readonly bandwidth: number | null
  readonly clock: Clock
  readonly log: Log
}

export class Backups implements AsyncDisposable {
  readonly #options: BackupsOptions
  readonly #throttle: Throttle
  readonly #running = new Map<string, Running>()
  /** Entries of the journal that this process is settling, by id. */
  readonly #settling = new Map<string, { readonly machine: string; readonly done: Promise<void> }>()
  #stopTimer: () => void = () => {}
  /** Aborted when the process is about to end: nothing waits for the gateway any more. */
  readonly #halt = new AbortController()
  /** Leases stay as they are from now on, for the next start. */
  #stopping = false

  constructor(options: BackupsOptions) {
    this.#options = options
    this.#throttle = new Throttle(options.bandwidth, options.clock)
    this.#settleAgain()
  }

  /** The job that holds a machine's lease, if any. */
  jobOf(machine: string): string | null {
    return [...this.#running.values()].find((running) => running.machine === machine)?.job ?? null
  }

  /**
   * Accepts a backup, which begins once an earlier one, whose outcome is known, has given its lease back.
   * NOT_FOUND for a machine of another configuration, LEASE_HELD.
   */
  start(order: Params<'agent.backup'>): void {
    const machine = this.#options.machines.find(({ name }) => name === order.machine)
    if (machine === undefined) throw new VarveError('NOT_FOUND', `this agent has no machine "${order.machine}"`)
    const earlier = [...this.#running.values()].filter((running) => running.machine === machine.name)
    const held = earlier.find(({ ending, abort }) => !ending && !abort.signal.aborted)
    if (held !== undefined) throw new VarveError('LEASE_HELD', `job ${held.job} holds the lease of ${machine.name}`)
    const { agentId, formerAgents, driver, freezeTimeoutMs } = this.#options
    const { full, base, policy } = order
    const { consistency, refuseFull, refuseLeftOut } = policy
    const wishes = { full, compare: order.compare, consistency, freezeTimeoutMs, refuseFull, refuseLeftOut }
    const request = { machine, leaseId: order.job, agentId, formerAgents, base, ...wishes }
    this.#run(order.job, machine.name, order, async (signal) => {
      const settling = [...this.#settling.values()].filter((one) => one.machine === machine.name)
      for (const { done } of [...earlier, ...settling]) {
        await done
        signal.throwIfAborted()
      }
      return await driver.begin(request)
    })
  }

  /** Gives a running backup up; nothing when it is not running here. */
  cancel(job: string): void {
    this.#running.get(job)?.abort.abort(new VarveError('CANCELLED', 'the backup was cancelled'))
  }

  /** Jobs that hold, or may have left, something in a machine. */
  async jobs(): Promise<string[]> {
    const entries = await this.#options.journal.list()
    return [...new Set([...this.#running.keys(), ...entries.map(({ id }) => id)])]
  }

  /** What the gateway says became of the jobs of the last inventory: goes on with those that run, settles the others. */
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
      else void this.#settle(entry, state === 'committed' ? 'committed' : 'failed')
    }
  }

  /** Gives every running backup up and waits until the machines are as they were. */
  async giveUp(): Promise<void> {
    const running = [...this.#running.values()]
    for (const { abort } of running) abort.abort(new VarveError('CANCELLED', 'the agent was interrupted'))
    const stopTimer = this.#options.clock.after(GIVE_UP_LIMIT_MS, () => this.#halt.abort(STOPPING))
    await Promise.all(running.map(({ done }) => done))
    stopTimer()
  }

  /** Gives up what runs and what earlier runs left: for an agent that may never ask the gateway again. */
  async abandon(): Promise<void> {
    await this.giveUp()
    for (const entry of await this.#options.journal.list()) await this.#settle(entry, 'failed')
  }

  /** Stops what runs without ending it: leases stay for the next start, as after a crash. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#halt.abort(STOPPING)
    this.#stopTimer()
    const running = [...this.#running.values()]
    for (const { abort } of running) abort.abort(STOPPING)
    await Promise.all(running.map(({ done }) => done))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #resume(entry: JournalEntry, keys: Chunking): void {
    if (this.#settling.has(entry.id)) return
    const { driver, log } = this.#options
    this.#run(entry.id, entry.machine.name, keys, async () => {
      const lease = await driver.adopt(entry)
      if (lease !== null) {
        log.info({ job: entry.id, machine: entry.machine.name }, 'the backup goes on after a restart')
        return lease
      }
      throw new VarveError('LEASE_LOST', 'the lease did not survive the restart of the agent or the machine')
    })
  }

  #run(job: string, machine: string, keys: Chunking, begin: Begin): void {
    const abort = new AbortController()
    const running: Running = { job, machine, abort, ending: false, done: Promise.resolve() }
    this.#running.set(job, running)
    running.done = this.#work(running, keys, begin).finally(() => this.#running.delete(job))
  }

  async #work(running: Running, keys: Chunking, begin: Begin): Promise<void> {
    const { log } = this.#options
    const { job, machine, abort } = running
    let lease: Lease | null = null
    let asked = false
    try {
      lease = await begin(abort.signal)
      void lease.lost.then((error) => abort.abort(error))
      const bytesRead = await this.#transfer(job, lease, keys, abort.signal)
      asked = true
      await this.#commit(job, bytesRead)
    } catch (thrown) {
      const error = await lossOf(thrown, lease, abort.signal)
      // a commit that was asked and not answered may have happened: the next start will be told
      if (this.#stopping || (asked && this.#halt.signal.aborted)) return
      running.ending = true
      log.warn({ job, machine, code: error.code, reason: error.message }, 'backup failed')
      await this.#giveUp(job, lease, error)
      return
    }
    running.ending = true
    log.info({ job, machine, point: job }, 'restore point committed')
    await this.#end(job, lease, 'committed')
  }

  /** Brings all disks of a lease to the gateway; resolves with the bytes read once nothing but the commit is missing. */
  async #transfer(job: string, lease: Lease, keys: Chunking, signal: AbortSignal): Promise<number> {
    const link = this.#options.link()
    await compareLease({ job, lease, keys, signal, link, log: this.#options.log, awayMs: OFFLINE_LIMIT_MS })
    const begun = announcementOf(job, lease)
    await link.call('backup.begin', begun, signal, OFFLINE_LIMIT_MS)
    let bytesRead = 0
    const onRead = (bytes: number): void => void (bytesRead += bytes)
    for (const disk of lease.disks) {
      await link.repeat(
        (peer) => uploadImage({ ...keys, peer, job, disk, throttle: this.#throttle, signal, onRead }),
        signal,
        OFFLINE_LIMIT_MS,
      )
    }
    await this.#check(lease)
    return bytesRead
  }

  /** Not to be cancelled: once it is asked, only the gateway knows whether the point is committed, so it is asked until it says. */
  async #commit(job: string, bytesRead: number): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#options.link().call('backup.commit', { job, bytesRead }, this.#halt.signal, OFFLINE_LIMIT_MS)
        return
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (tries === COMMITS_MAX || !error.retry || error.endsConnection) throw error
        await new Promise<void>((resolve) => this.#options.clock.after(COMMIT_PAUSE_MS, resolve))
      }
    }
  }

  /** The lease's own check; a QMP connection that is just coming back gets a few tries. */
  async #check(lease: Lease): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await lease.check()
      } catch (thrown) {
        const { code } = asVarveError(thrown)
        if (tries === CHECKS_MAX || !code.startsWith('QMP_')) throw thrown
        await new Promise<void>((resolve) => this.#options.clock.after(CHECK_PAUSE_MS, resolve))
      }
    }
  }

  /** Frees the machine first, so that the guest does not wait for the network, then tells the gateway. */
  async #giveUp(job: string, lease: Lease | null, error: VarveError): Promise<void> {
    if (lease !== null) await this.#end(job, lease, 'failed')
    // a lease that could not be begun or adopted may have left something too
    else await this.#settleLeft(job)
    const { code, message } = error
    try {
      const failed = { job, code, message: message.slice(0, 1024) }
      await this.#options.link().call('backup.fail', failed, this.#halt.signal)
    } catch (thrown) {
      const told = asVarveError(thrown)
      if (told.code !== 'JOB_ENDED' && !isBreak(told))
        this.#options.log.warn({ job, code: told.code }, 'the gateway could not be told that the backup failed')
    }
  }

  /** Ends a lease; what QEMU keeps us from removing stays in the journal and is tried again. */
  async #end(job: string, lease: Lease, outcome: LeaseOutcome): Promise<void> {
    try {
      await lease.end(outcome)
      this.#tellReleased(job)
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      this.#options.log.warn(
        { job, outcome, code, reason: message },
        'the lease could not be ended; trying again later',
      )
    }
  }

  /** Tells the gateway that the machine is as it was, for those who wait for it; the next inventory says so too. */
  #tellReleased(job: string): void {
    const { log, link } = this.#options
    link()
      .call('backup.released', { job }, this.#halt.signal, RELEASED_LIMIT_MS)
      .catch((thrown: unknown) => {
        log.info({ job, code: asVarveError(thrown).code }, 'the gateway could not be told that the lease is given back')
      })
  }

  async #settleLeft(job: string): Promise<void> {
    const { journal, log } = this.#options
    try {
      const entry = (await journal.list()).find(({ id }) => id === job)
      if (entry === undefined) this.#tellReleased(job)
      else await this.#settle(entry, 'failed')
    } catch (error) {
      log.warn({ job, err: error }, 'the lease journal cannot be read')
    }
  }

  #settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    const known = this.#settling.get(entry.id)
    if (known !== undefined) return known.done
    const done = this.#settleNow(entry, outcome).finally(() => this.#settling.delete(entry.id))
    this.#settling.set(entry.id, { machine: entry.machine.name, done })
    return done
  }

  async #settleNow(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    const { driver, log } = this.#options
    try {
      await driver.settle(entry, entry.outcome ?? outcome)
      log.info({ job: entry.id, machine: entry.machine.name, outcome }, 'settled what an earlier run left')
      this.#tellReleased(entry.id)
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      log.warn({ job: entry.id, code, reason: message }, 'an earlier lease cannot be settled yet')
    }
  }

  /** Tries entries whose outcome is known again and again, until QEMU lets go of them. */
  #settleAgain(): void {
    this.#stopTimer = this.#options.clock.after(SETTLE_INTERVAL_MS, () => void this.#settleKnown())
  }

  async #settleKnown(): Promise<void> {
    const { journal, log } = this.#options
    try {
      for (const entry of await journal.list())
        if (entry.outcome !== null && !this.#running.has(entry.id)) await this.#settle(entry, entry.outcome)
    } catch (error) {
      log.warn({ err: error }, 'the lease journal cannot be read')
    }
    if (!this.#halt.signal.aborted) this.#settleAgain()
  }
}
