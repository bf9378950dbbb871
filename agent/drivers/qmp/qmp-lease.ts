// A lease that the qmp driver began or adopted: watches its own objects until it ends.

import { VarveError } from '../../../protocol/errors.ts'
import type { Consistency, LeftOutDisk, ReadReason } from '../../../protocol/backup.ts'
import { pause } from '../../../protocol/host/within.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { QmpEvent } from '../../qmp/message.ts'
import type { JsonValue } from '../../json-value.ts'
import { finishLease, isGone } from './finish.ts'
import type { QmpHost } from './host.ts'
import { breakingEvent, findBreak, readInventory } from './inventory.ts'
import { refuseFullRead } from '../decide.ts'
import { writeEntry, type JournalDisk, type QmpEntry } from './entry.ts'
import { qmpPathOf } from './keys.ts'
import type { Lease, LeaseOutcome, LeasedDisk } from '../driver.ts'
import type { ScratchGuard } from '../scratch-guard.ts'
import { watchScratch } from '../scratch-watch.ts'
import { clearTheWay, gaveWay, watchMove } from './give-way.ts'
import { findMove, underWay } from './run-state.ts'
import { giveUpJobs, rescuedOf } from './rescue.ts'

/** How long a lease waits for a broken QMP connection to come back, in milliseconds. */
export const LEASE_RECONNECT_LIMIT_MS = 15_000

/** Pause between two attempts to reconnect, in milliseconds. */
const RECONNECT_PAUSE_MS = 200

export interface QmpLeaseParts {
  readonly host: QmpHost
  readonly entry: QmpEntry
  readonly client: QmpCaller
  readonly guard: ScratchGuard
  /** Called once when the lease's machine is free again or only the journal knows of it. */
  readonly onEnd: () => void
}

const leased = (entry: QmpEntry): readonly LeasedDisk[] =>
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
    dirtyContext: kind === 'incremental' ? `qemu:dirty-bitmap:${entry.transfer}` : null,
    reread,
  }))

/** The entry of a disk whose bitmap turned out to be wrong. */
const CHANGES_MISSED: Pick<JournalDisk, 'kind' | 'reason' | 'base' | 'reread'> & { readonly reason: ReadReason } = {
  kind: 'full',
  reason: 'changes-missed',
  base: null,
  reread: [],
}

const lostError = (entry: QmpEntry, why: string, cause?: unknown): VarveError =>
  new VarveError('LEASE_LOST', `the lease on machine ${entry.machine.name} is lost: ${why}`, { cause })

/** Why QEMU says that it shuts down, such as `guest-shutdown`. */
const reasonOf = ({ data: { reason } }: QmpEvent): string => (typeof reason === 'string' ? reason : 'no reason given')

/** One machine's lease. */
export class QmpLease implements Lease {
  readonly id: string
  readonly checkpoint = true
  readonly lost: Promise<VarveError>
  #entry: QmpEntry
  readonly #parts: QmpLeaseParts
  readonly #losing = Promise.withResolvers<VarveError>()
  readonly #stopping = new AbortController()
  #client: QmpCaller
  #unsubscribe: () => void = () => undefined
  #loss: VarveError | null = null
  #ending: Promise<void> | null = null
  /** Why QEMU is shutting down, once it has said so. */
  #shutdown: string | null = null

  constructor(parts: QmpLeaseParts) {
    this.#parts = parts
    this.#entry = parts.entry
    this.#client = parts.client
    this.id = parts.entry.id
    this.lost = this.#losing.promise
    this.#follow(parts.client)
    void this.#watch()
    void this.#watchMove()
    void parts.guard.lost.then((error) => this.#giveUp(error))
  }

  get disks(): readonly LeasedDisk[] {
    return leased(this.#entry)
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
  complete(entry: QmpEntry): void {
    this.#entry = entry
  }

  async check(): Promise<void> {
    this.#refuseLost()
    if (this.#ending !== null) throw lostError(this.#entry, 'it has ended')
    const why = await this.#problem()
    if (why !== null) this.#lose(why)
    this.#refuseLost()
  }

  async compared(outcomes: ReadonlyMap<string, { readonly chunks: number; readonly missed: boolean }>): Promise<void> {
    const disks = this.#entry.disks.map((disk) => {
      const outcome = outcomes.get(disk.name)
      if (outcome === undefined) return disk
      return { ...disk, ...(outcome.missed ? CHANGES_MISSED : {}), comparedChunks: outcome.chunks }
    })
    const entry: QmpEntry = { ...this.#entry, disks }
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

  /** Stops watching a lease that could not begin; its objects are removed by the caller. */
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
      // a guard is useless once QEMU is gone, but not while QEMU merely does not answer
      if (!isGone(error)) host.watchLeft(this.#entry)
      throw error
    } finally {
      onEnd()
    }
  }

  /** What is missing of the lease; reconnects if the connection broke. */
  async #problem(): Promise<VarveError | null> {
    try {
      return await this.#look(this.#client)
    } catch (error) {
      if (!(error instanceof VarveError) || error.code !== 'QMP_UNAVAILABLE') throw error
      return await this.#look(await this.#connect())
    }
  }

  /** Why the lease does not hold; null when it does. */
  async #look(client: QmpCaller, cause?: unknown): Promise<VarveError | null> {
    const move = await findMove(client)
    if (move !== null) return gaveWay(this.#entry.machine.name, move)
    const why = findBreak(this.#entry, await readInventory(client))
    return why === null ? null : lostError(this.#entry, why, cause)
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

  #follow(client: QmpCaller): void {
    this.#unsubscribe()
    this.#client = client
    this.#unsubscribe = client.subscribe((event) => {
      if (event.event === 'SHUTDOWN') this.#shutdown = reasonOf(event)
      if (event.event === 'RESET') this.#shutdown = null
      const move = event.event === 'MIGRATION' ? underWay(event.data['status']) : null
      if (move !== null) void this.#giveWay(move)
      const why = breakingEvent(this.#entry, event)
      if (why === null) return
      const ended = this.#shutdown === null ? why : `its QEMU has ended (${this.#shutdown})`
      this.#lose(lostError(this.#entry, ended))
    })
    void client.closed.then((error) => this.#recover(error))
  }

  /** Reconnects to QEMU; the lease continues when all of it is still there. */
  async #recover(cause: VarveError): Promise<void> {
    const deadlineMs = performance.now() + LEASE_RECONNECT_LIMIT_MS
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        const client = await this.#connect()
        const why = await this.#look(client, cause)
        if (why === null) this.#follow(client)
        else this.#lose(why)
        return
      } catch (error) {
        if (isGone(error) || performance.now() > deadlineMs) {
          const why = isGone(error) ? 'its QEMU has ended' : 'QEMU no longer answers'
          this.#lose(lostError(this.#entry, why, error))
          return
        }
        await pause(RECONNECT_PAUSE_MS, signal)
      }
    }
  }

  async #watch(): Promise<void> {
    const { host, entry } = this.#parts
    const { reserveBytes, freeBytes } = host
    const low = await watchScratch({
      folder: entry.scratchFolder,
      reserveBytes,
      freeBytes,
      signal: this.#stopping.signal,
    })
    if (low === null) return
    this.#parts.guard.acting()
    await this.#giveUp(low)
  }

  async #watchMove(): Promise<void> {
    const move = await watchMove({ connect: this.#connect, signal: this.#stopping.signal })
    if (move !== null) await this.#giveWay(move)
  }

  readonly #connect = (): Promise<QmpCaller> => this.#parts.host.connect(qmpPathOf(this.#entry.machine))

  /** Removes at once what keeps the machine from moving; bitmaps are left to the end, which knows the outcome. */
  async #giveWay(move: string): Promise<void> {
    if (this.#ending !== null) return
    const { host, entry } = this.#parts
    const { name } = entry.machine
    this.#lose(gaveWay(name, move))
    try {
      await clearTheWay(this.#connect, entry)
    } catch (error) {
      host.log.warn({ lease: entry.id, machine: name, err: error }, 'the way for a migration could not be cleared')
    }
  }

  /** Cancels the jobs at once, as guest writes are at risk; first marks the lease as lost, so later reads are not trusted. */
  async #giveUp(why: VarveError): Promise<void> {
    if (this.#ending !== null) return
    this.#lose(why)
    const { host, entry } = this.#parts
    try {
      if (await giveUpJobs(this.#client, rescuedOf(entry))) {
        host.log.warn(
          { lease: entry.id, machine: entry.machine.name },
          'the guest had stopped because the scratch space was full; it was resumed',
        )
      }
    } catch (error) {
      host.log.warn(
        { lease: entry.id, machine: entry.machine.name, err: error },
        'the copy jobs could not be cancelled at once',
      )
    }
  }
}
