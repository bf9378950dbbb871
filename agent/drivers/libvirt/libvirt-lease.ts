// A lease that the libvirt driver began or adopted: watches its own backup until it ends.

import type { Consistency, LeftOutDisk, ReadReason } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { pause } from '../../../protocol/host/within.ts'
import type { JsonValue } from '../../json-value.ts'
import type { LibvirtCaller, LibvirtEvent } from '../../libvirt/types.ts'
import { refuseFullRead } from '../decide.ts'
import type { Lease, LeasedDisk, LeaseOutcome } from '../driver.ts'
import type { ScratchGuard } from '../scratch-guard.ts'
import { watchScratch } from '../scratch-watch.ts'
import { findCheckpoint } from './checkpoints.ts'
import { writeEntry, type JournalDisk, type LibvirtEntry } from './entry.ts'
import { finishLease, isGone } from './finish.ts'
import type { LibvirtHost } from './host.ts'
import { readBackup } from './job.ts'
import { keysOf } from './keys.ts'
import { EXPORT_BITMAP } from './names.ts'
import { giveUpBackup, rescuedOf } from './rescue.ts'
import { domainOf, findMove } from './run-state.ts'

/** How long a lease waits for a broken connection to libvirt to come back, in milliseconds. */
export const LEASE_RECONNECT_LIMIT_MS = 30_000

/** Pause between two attempts to reconnect, in milliseconds. */
const RECONNECT_PAUSE_MS = 200

export interface LibvirtLeaseParts {
  readonly host: LibvirtHost
  readonly entry: LibvirtEntry
  readonly caller: LibvirtCaller
  readonly guard: ScratchGuard
  /** Called once when the lease's machine is free again or only the journal knows of it. */
  readonly onEnd: () => void
}

const leased = (entry: LibvirtEntry): readonly LeasedDisk[] =>
  entry.disks.map(({ name, size, kind, reason, base, evidence, comparedChunks, exportName, reread }) => ({
    name,
    size,
    kind,
    reason,
    base: base?.name ?? null,
    evidence,
    comparedChunks,
    socketPath: entry.socketPath,
    exportName,
    dirtyContext: kind === 'incremental' ? `qemu:dirty-bitmap:${EXPORT_BITMAP}` : null,
    reread,
  }))

/** The entry of a disk whose bitmap turned out to be wrong. */
const CHANGES_MISSED: Pick<JournalDisk, 'kind' | 'reason' | 'base' | 'reread'> & { readonly reason: ReadReason } = {
  kind: 'full',
  reason: 'changes-missed',
  base: null,
  reread: [],
}

const lostError = (entry: LibvirtEntry, why: string, cause?: unknown): VarveError =>
  new VarveError('LEASE_LOST', `the lease on machine ${entry.machine.name} is lost: ${why}`, { cause })

/** Why the lease does not hold, as a sentence; null when all of it is there. */
export const findBreak = async (caller: LibvirtCaller, entry: LibvirtEntry): Promise<string | null> => {
  const domain = await domainOf(caller, entry.uuid)
  if (domain === null || domain.id === null) return 'the domain has ended'
  if (domain.id !== entry.instance) return 'the domain was started again'
  const move = await findMove(caller, domain)
  if (move !== null) return `the machine is no longer only on this host: ${move}`
  const backup = await readBackup(caller, domain)
  if (backup?.socketPath !== entry.socketPath) return 'its backup has ended in libvirt'
  const missing = entry.disks.find(({ exportName }) => !backup.exports.includes(exportName))
  if (missing !== undefined) return `the export of disk ${missing.name} is gone`
  if (entry.checkpoint !== null && (await findCheckpoint(caller, domain, entry.checkpoint)) === null)
    return 'its checkpoint was removed'
  return null
}

const ENDED: ReadonlySet<string> = new Set(['stopped', 'crashed'])

/** Why an event breaks the lease, or may have: null when it does not. */
const breakingEvent = (entry: LibvirtEntry, event: LibvirtEvent): 'ended' | 'look' | null => {
  if (event.domain.uuid !== entry.uuid) return null
  if (event.kind === 'lifecycle') return ENDED.has(event.event) ? 'ended' : null
  if (event.kind === 'job-completed') return 'look'
  return event.kind === 'block-job' && event.job === 'backup' ? 'look' : null
}

/** One machine's lease. */
export class LibvirtLease implements Lease {
  readonly id: string
  readonly lost: Promise<VarveError>
  #entry: LibvirtEntry
  readonly #parts: LibvirtLeaseParts
  readonly #losing = Promise.withResolvers<VarveError>()
  readonly #stopping = new AbortController()
  #caller: LibvirtCaller
  #unsubscribe: () => void = () => undefined
  #loss: VarveError | null = null
  #ending: Promise<void> | null = null

  constructor(parts: LibvirtLeaseParts) {
    this.#parts = parts
    this.#entry = parts.entry
    this.#caller = parts.caller
    this.id = parts.entry.id
    this.lost = this.#losing.promise
    this.#follow(parts.caller)
    void this.#watch()
    void parts.guard.lost.then((error) => this.#giveUp(error))
  }

  get disks(): readonly LeasedDisk[] {
    return leased(this.#entry)
  }

  get checkpoint(): boolean {
    return this.#entry.checkpoint !== null
  }

  get compareAll(): boolean {
    return this.#entry.compareAll
  }

  get leftOut(): readonly LeftOutDisk[] {
    return this.#entry.leftOut
  }

  get consistency(): Consistency {
    return this.#entry.consistency
  }

  get consistencyNote(): string | null {
    return this.#entry.consistencyNote
  }

  get timeMs(): number {
    return this.#entry.timeMs ?? 0
  }

  get configuration(): JsonValue {
    return this.#entry.configuration
  }

  /** Records what became known at the instant. */
  complete(entry: LibvirtEntry): void {
    this.#entry = entry
  }

  async check(): Promise<void> {
    this.#refuseLost()
    if (this.#ending !== null) throw lostError(this.#entry, 'it has ended')
    const why = await this.#problem()
    if (why !== null) this.#lose(lostError(this.#entry, why))
    this.#refuseLost()
  }

  async compared(outcomes: ReadonlyMap<string, { readonly chunks: number; readonly missed: boolean }>): Promise<void> {
    const disks = this.#entry.disks.map((disk) => {
      const outcome = outcomes.get(disk.name)
      if (outcome === undefined) return disk
      return { ...disk, ...(outcome.missed ? CHANGES_MISSED : {}), comparedChunks: outcome.chunks }
    })
    const entry: LibvirtEntry = { ...this.#entry, disks }
    // no increment depends on the count, but that a disk must be read in full must outlive the agent
    if ([...outcomes.values()].some(({ missed }) => missed)) await writeEntry(this.#parts.host.journal, entry)
    this.#entry = entry
    for (const { name, kind, reason } of disks)
      if (reason === CHANGES_MISSED.reason) refuseFullRead(name, kind, reason, entry.refuseFull)
  }

  end(outcome: LeaseOutcome): Promise<void> {
    this.#ending ??= this.#end(outcome)
    return this.#ending
  }

  /** Stops watching a lease that could not begin; what it made is removed by the caller. */
  abandon(): void {
    this.#ending ??= Promise.resolve()
    this.#stopping.abort()
    this.#unsubscribe()
    this.#parts.guard.done()
  }

  async #end(outcome: LeaseOutcome): Promise<void> {
    this.#stopping.abort()
    this.#unsubscribe()
    const { host, guard, onEnd } = this.#parts
    try {
      await finishLease(host, this.#entry, outcome)
      guard.done()
    } catch (error) {
      guard.done()
      // a guard is useless once the domain is gone, but not while libvirt merely does not answer
      if (!isGone(error)) host.watchLeft(this.#entry)
      throw error
    } finally {
      onEnd()
    }
  }

  /** What is missing of the lease; reconnects if the connection broke. */
  async #problem(): Promise<string | null> {
    try {
      return await findBreak(this.#caller, this.#entry)
    } catch (error) {
      if (!(error instanceof VarveError) || error.code !== 'LIBVIRT_UNAVAILABLE') throw error
      return await findBreak(await this.#connect(), this.#entry)
    }
  }

  #connect(): Promise<LibvirtCaller> {
    return this.#parts.host.connect(keysOf(this.#entry.machine).uri)
  }

  #refuseLost(): void {
    if (this.#loss !== null) throw this.#loss
  }

  #lose(error: VarveError): void {
    if (this.#loss !== null || this.#ending !== null) return
    this.#loss = error
    this.#stopping.abort()
    this.#losing.resolve(error)
  }

  #follow(caller: LibvirtCaller): void {
    this.#unsubscribe()
    this.#caller = caller
    this.#unsubscribe = caller.subscribe((event) => {
      const what = breakingEvent(this.#entry, event)
      if (what === 'look') void this.#lookAgain(caller)
      if (what !== 'ended' || event.kind !== 'lifecycle') return
      this.#lose(lostError(this.#entry, `the domain has ended (${event.detail})`))
    })
    void caller.closed.then((error) => this.#recover(error))
  }

  /** A job has ended: whether it was the lease's is asked. */
  async #lookAgain(caller: LibvirtCaller): Promise<void> {
    // before the instant there is nothing to look at
    if (this.#entry.phase !== 'active') return
    try {
      const why = await findBreak(caller, this.#entry)
      if (why !== null) this.#lose(lostError(this.#entry, why))
    } catch {
      // a connection that broke is recovered, and every check asks again
    }
  }

  /** Reconnects to libvirt; the lease continues when all of it is still there. */
  async #recover(cause: VarveError): Promise<void> {
    const deadlineMs = performance.now() + LEASE_RECONNECT_LIMIT_MS
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        const caller = await this.#connect()
        const why = this.#entry.phase === 'active' ? await findBreak(caller, this.#entry) : null
        if (signal.aborted) return
        if (why === null) this.#follow(caller)
        else this.#lose(lostError(this.#entry, why, cause))
        return
      } catch (error) {
        if (performance.now() > deadlineMs) {
          this.#lose(lostError(this.#entry, 'libvirt no longer answers', error))
          return
        }
        await pause(RECONNECT_PAUSE_MS, signal)
      }
    }
  }

  async #watch(): Promise<void> {
    const { host, entry, guard } = this.#parts
    const { reserveBytes, freeBytes } = host
    const { signal } = this.#stopping
    const low = await watchScratch({ folder: entry.scratchFolder, reserveBytes, freeBytes, signal })
    if (low === null) return
    guard.acting()
    await this.#giveUp(low)
  }

  /** Ends the backup at once, as guest writes are at risk; first marks the lease as lost, so later reads are not trusted. */
  async #giveUp(why: VarveError): Promise<void> {
    if (this.#ending !== null) return
    this.#lose(why)
    const { host, entry } = this.#parts
    const about = { lease: entry.id, machine: entry.machine.name }
    try {
      if (await giveUpBackup(this.#caller, rescuedOf(entry)))
        host.log.warn(about, 'the guest had stopped because the scratch space was full; it was resumed')
    } catch (error) {
      host.log.warn({ ...about, err: error }, 'the backup could not be ended in libvirt at once')
    }
  }
}
