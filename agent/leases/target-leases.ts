// Leases that other programs hold on machines of this host: begun, renewed, ended, and failed when nobody renews them.
import { randomUUID } from 'node:crypto'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { utcText } from '../../protocol/host/instant.ts'
import { LEASE_TTL_MAX_MS, TARGETS_MAX, type HeldLease, type LeaseTargets } from '../../protocol/leases.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Lease, LeaseOutcome, MachineConfig } from '../drivers/driver.ts'
import type { JournalEntry } from '../drivers/journal.ts'
import { clearHeld, noteSuccess } from './end-notes.ts'
import { newHeld, noLease, type Held } from './held.ts'
import { removeBitmaps } from './remove-bitmaps.ts'
import { takeUpLeft } from './take-up.ts'
import { baseOf, refuseBounded, targetRequest, toldLease } from './target-base.ts'
import { TargetNotes, type TargetNote } from './target-notes.ts'
import type { TargetLeasesOptions } from './target-options.ts'
import { UnderWay } from './under-way.ts'

/** Pause between two looks for leases in the journal that nobody holds, in milliseconds. */
const SWEEP_MS = 30_000

/** How long a stop waits for leases that are beginning, in milliseconds; the next start ends what remains. */
const STOP_LIMIT_MS = 10_000

/** Whether a lease that could not be looked at may hold nevertheless; full scratch space breaks it. */
const isPassing = ({ retry, code }: VarveError): boolean => retry && code !== 'SCRATCH_LOW'

export class TargetLeases {
  readonly #options: TargetLeasesOptions
  readonly #notes: TargetNotes
  /** By machine: one has one lease at a time. */
  readonly #held = new Map<string, Held>()
  /** How the last lease of each machine ended: its program may not have heard it. */
  readonly #ended = new Map<string, { readonly lease: string; readonly success: boolean }>()
  #stopping = false
  /** They stay as they are, for the next start. */
  #left = false
  #stopSweep: () => void = () => {}
  readonly #work = new UnderWay()
  /** What an earlier run left is being taken up. */
  #resuming: Promise<void> = Promise.resolve()

  constructor(options: TargetLeasesOptions) {
    this.#options = options
    this.#notes = new TargetNotes(options.stateFolder)
  }

  /** The lease that a target holds on a machine, or is about to begin; null for none. */
  of(machine: string): { readonly lease: string; readonly target: string; readonly expiresMs: number } | null {
    const held = this.#held.get(machine)
    return held === undefined ? null : { lease: held.id, target: held.target, expiresMs: held.expiresMs }
  }

  /** Whether a journal entry is of a lease that is held here now. */
  has(id: string): boolean {
    return [...this.#held.values()].some((held) => held.id === id)
  }

  /** LEASE_HELD, naming who has the machine. */
  refuseHeld(machine: string): void {
    const held = this.#held.get(machine)
    if (held === undefined) return
    const { id: lease, target, expiresMs } = held
    const sentence = `lease ${lease} of target ${target} holds machine ${machine}, until ${utcText(expiresMs)} UTC unless it is renewed`
    throw new VarveError('LEASE_HELD', sentence, { details: { machine, lease, target } })
  }

  /**
   * Takes up what an earlier run left: leases whose time has not come go on, the others are ended as their notes say. What cannot
   * be taken up now, and what ends without an outcome in the journal, is looked at again every SWEEP_MS.
   */
  resume(): Promise<void> {
    this.#resuming = this.#takeUp(true)
    return this.#resuming
  }

  async #takeUp(all: boolean): Promise<void> {
    const { journal, driverOf, clock, log } = this.#options
    const held = (): ReadonlySet<string> => new Set([...this.#held.values()].map(({ id }) => id))
    const adopt = this.#adopt.bind(this)
    await takeUpLeft({ journal, notes: this.#notes, driverOf, log, held, all, adopt }).catch((error: unknown) =>
      log.warn({ err: error }, 'leases that were left to targets cannot be taken up yet'),
    )
    if (!this.#stopping) this.#stopSweep = clock.after(SWEEP_MS, () => void this.#work.track(this.#takeUp(false)))
  }

  /**
   * NOT_FOUND, LEASE_HELD, LIMIT_REACHED, and what beginning a backup's lease ends with; it fails where nobody waits for it any
   * more.
   */
  begin(order: Params<'agent.lease'>, signal?: AbortSignal): Promise<HeldLease> {
    return this.#work.track(this.#begin(order, signal))
  }

  async #begin(order: Params<'agent.lease'>, signal?: AbortSignal): Promise<HeldLease> {
    const { target, ttlMs, full, consistency } = order
    const { clock, log, freezeTimeoutMs } = this.#options
    await this.#resuming
    const machine = this.#machine(order.machine)
    const { name } = machine
    this.#refuseStopping()
    this.#refuseBusy(name)
    const expiresMs = clock.now() + ttlMs
    const held = newHeld({ id: randomUUID(), machine: name, target, expiresMs })
    this.#held.set(name, held)
    try {
      const note = await this.#noteOf(name, target)
      const hold = (): Promise<void> =>
        this.#notes.change(name, target, () => ({ ...note, held: { lease: held.id, expiresMs: held.expiresMs } }))
      await hold()
      const wanted = { machine, target, leaseId: held.id, full, consistency, freezeTimeoutMs }
      const lease = await this.#options.begin({ ...targetRequest(wanted), base: baseOf(target, note) })
      // the instant may have taken its time
      held.expiresMs = clock.now() + ttlMs
      this.#watch(held, lease)
      refuseBounded(lease)
      await hold()
      this.#refuseStopping()
      signal?.throwIfAborted()
      log.info({ machine: name, target, lease: held.id, ttlMs }, 'a target holds a lease')
      return toldLease({ ...held, lease }, note)
    } catch (error) {
      if (held.lease !== null) await this.#end(held, 'failed').catch(() => undefined)
      this.#held.delete(name)
      await clearHeld(this.#notes, held).catch(() => undefined)
      throw error
    }
  }

  /** NOT_FOUND, LEASE_LOST. */
  async renew({ machine, lease, ttlMs }: Params<'agent.renewLease'>): Promise<Result<'agent.renewLease'>> {
    await this.#resuming
    const held = this.#find(machine, lease)
    await held.lease!.check()
    if (held.ending !== null) throw noLease(machine, lease)
    held.expiresMs = this.#options.clock.now() + ttlMs
    this.#setTimer(held)
    const { target, expiresMs } = held
    await this.#notes.change(machine, target, (note) =>
      note?.held?.lease === lease ? { ...note, held: { lease, expiresMs } } : note,
    )
    return { expiresMs }
  }

  /**
   * Repeatable. NOT_FOUND; LEASE_LOST and the like where a success is none, as what was read is not what was promised. An error
   * that may pass ends nothing.
   */
  async end({ machine, lease, success }: Params<'agent.endLease'>): Promise<void> {
    await this.#resuming
    const before = this.#ended.get(machine)
    if (before?.lease === lease && before.success === success) return
    const noted = (await this.#notes.of(machine)).find(({ base }) => base?.lease === lease)
    if (noted !== undefined && success && !this.has(lease)) return
    const held = this.#find(machine, lease)
    if (held.ending !== null) return await this.#asEnded(held, success)
    if (!success) return await this.#end(held, 'failed')
    try {
      await held.lease!.check()
    } catch (thrown) {
      if (held.ending !== null) return await this.#asEnded(held, success)
      if (!isPassing(asVarveError(thrown))) await this.#end(held, 'failed')
      throw thrown
    }
    if (held.ending !== null) return await this.#asEnded(held, success)
    await this.#end(held, 'committed')
  }

  /** Answers by what an end under way really comes to. */
  async #asEnded({ machine, id, ending }: Held, success: boolean): Promise<void> {
    const fault = await ending!.then(() => null).catch(asVarveError)
    const now = this.#ended.get(machine)
    if (now?.lease !== id || now.success !== success) throw fault ?? noLease(machine, id)
  }

  async targets(machine: string): Promise<LeaseTargets> {
    this.#machine(machine)
    const targets = (await this.#notes.of(machine)).map(({ target, base, held }) => ({
      target,
      last: base && { lease: base.lease, timeMs: base.timeMs },
      held: held !== null && this.has(held.lease) ? held : null,
    }))
    return { targets: targets.toSorted((a, b) => (a.target < b.target ? -1 : 1)) }
  }

  /** Forgets a target with its bitmaps; a lease that it holds fails. NOT_FOUND, LEASE_HELD, MACHINE_OFF. */
  async remove({ machine: name, target }: Params<'agent.removeTarget'>): Promise<void> {
    await this.#resuming
    const machine = this.#machine(name)
    const note = (await this.#notes.of(name)).find((one) => one.target === target)
    if (note === undefined) throw new VarveError('NOT_FOUND', `machine ${name} has no target "${target}"`)
    const held = this.#held.get(name)
    if (held?.target === target && held.lease !== null) await this.#end(held, 'failed')
    if (note.base !== null) await this.#removeBitmaps(machine, target)
    await this.#notes.change(name, target, () => null)
    this.#options.log.info({ machine: name, target }, 'a target was removed')
  }

  /** Ends all as failed. */
  async giveUp(): Promise<void> {
    this.#stopping = true
    this.#stopSweep()
    await this.#work.ended(STOP_LIMIT_MS)
    for (const held of this.#held.values())
      if (held.lease !== null) await this.#end(held, 'failed').catch(() => undefined)
  }

  /** Leaves them as they are, for the next start; those that are beginning fail. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#left = true
    this.#stopSweep()
    for (const { stopTimer } of this.#held.values()) stopTimer()
    await this.#work.ended(STOP_LIMIT_MS)
  }

  async #removeBitmaps(machine: MachineConfig, target: string): Promise<void> {
    const { name } = machine
    this.#refuseBusy(name)
    const id = randomUUID()
    this.#held.set(name, newHeld({ id, machine: name, target, expiresMs: 0 }))
    try {
      await removeBitmaps(this.#options.begin, { machine, target, id })
    } finally {
      this.#held.delete(name)
    }
  }

  #refuseStopping(): void {
    if (this.#stopping) throw new VarveError('GOING_AWAY', 'the agent is stopping')
  }

  /** LEASE_HELD. */
  #refuseBusy(machine: string): void {
    const job = this.#options.jobOf(machine)
    if (job !== null)
      throw new VarveError('LEASE_HELD', `job ${job} holds the lease of ${machine}`, { details: { machine } })
    this.refuseHeld(machine)
  }

  #machine(name: string): MachineConfig {
    const machine = this.#options.machines.find((one) => one.name === name)
    if (machine === undefined) throw new VarveError('NOT_FOUND', `this agent has no machine "${name}"`)
    return machine
  }

  #find(machine: string, lease: string): Held {
    const held = this.#held.get(machine)
    if (held === undefined || held.id !== lease || held.lease === null) throw noLease(machine, lease)
    return held
  }

  /** LIMIT_REACHED for a new target where there are TARGETS_MAX. */
  async #noteOf(machine: string, target: string): Promise<TargetNote> {
    const notes = await this.#notes.of(machine)
    const known = notes.find((one) => one.target === target)
    if (known !== undefined) return known
    if (notes.length < TARGETS_MAX) return { target, base: null, held: null }
    const names = notes.map((one) => one.target).join(', ')
    const sentence = `machine ${machine} has ${TARGETS_MAX} targets already (${names}): remove one`
    throw new VarveError('LIMIT_REACHED', sentence)
  }

  #watch(held: Held, lease: Lease): void {
    held.lease = lease
    this.#setTimer(held)
    void this.#follow(held, lease)
  }

  /** Ends it as failed where it is lost. */
  async #follow(held: Held, lease: Lease): Promise<void> {
    const { code, message } = await lease.lost
    // the end of this process's connections is no loss
    if (this.#left) return
    const { machine, target, id } = held
    this.#options.log.warn({ machine, target, lease: id, code, reason: message }, 'a lease of a target was lost')
    await this.#end(held, 'failed').catch(() => undefined)
  }

  #setTimer(held: Held): void {
    held.stopTimer()
    if (this.#left) return
    const { clock, log } = this.#options
    held.stopTimer = clock.after(Math.max(0, held.expiresMs - clock.now()), () => {
      const { machine, target, id } = held
      log.warn({ machine, target, lease: id }, 'nobody renewed the lease of a target: it has failed')
      void this.#end(held, 'failed').catch(() => undefined)
    })
  }

  /** Once; a later outcome is the one before. */
  #end(held: Held, outcome: LeaseOutcome): Promise<void> {
    held.ending ??= this.#endNow(held, outcome)
    return held.ending
  }

  async #endNow(held: Held, outcome: LeaseOutcome): Promise<void> {
    const { machine, target, id } = held
    const lease = held.lease!
    held.stopTimer()
    try {
      if (outcome === 'committed')
        await noteSuccess(this.#notes, held, lease).catch((error: unknown) => {
          this.#ended.set(machine, { lease: id, success: false })
          throw error
        })
      try {
        await lease.end(outcome)
      } catch (thrown) {
        const { code, message } = asVarveError(thrown)
        const about = { machine, target, lease: id, outcome, code, reason: message }
        this.#options.log.warn(about, 'the lease of a target could not be ended; trying again later')
      }
      if (outcome === 'failed') await clearHeld(this.#notes, held)
    } finally {
      this.#held.delete(machine)
    }
    this.#ended.set(machine, { lease: id, success: outcome === 'committed' })
    this.#options.log.info({ machine, target, lease: id, outcome }, 'the lease of a target has ended')
  }

  /** Goes on with a lease that an earlier run held; false where it is over. */
  async #adopt(name: string, { target, base, held: noted }: TargetNote, entry: JournalEntry): Promise<boolean> {
    const { driverOf, clock, log } = this.#options
    if (noted === null || entry.outcome !== null || base?.lease === entry.id) return false
    if (noted.expiresMs <= clock.now() || this.#held.has(name)) return false
    // its program was told that it has ended
    if (this.#ended.get(name)?.lease === entry.id) return false
    const { lease: id } = noted
    // the clock may have been set back
    const expiresMs = Math.min(noted.expiresMs, clock.now() + LEASE_TTL_MAX_MS)
    const held = newHeld({ id, machine: name, target, expiresMs })
    this.#held.set(name, held)
    const lease = await driverOf(entry.machine)
      .adopt(entry)
      .catch((error: unknown) => {
        log.warn({ machine: name, target, lease: entry.id, err: error }, 'the lease of a target cannot go on')
        return null
      })
    if (lease === null) {
      this.#held.delete(name)
      return false
    }
    this.#watch(held, lease)
    log.info({ machine: name, target, lease: id }, 'the lease of a target goes on after a restart')
    return true
  }
}
