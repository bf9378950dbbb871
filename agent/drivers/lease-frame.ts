// What the leases of all drivers have in common: what their entry says, how they are lost, and that they end once.

import type { Consistency, LeftOutDisk, ReadKind, ReadReason } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { ScratchUse } from '../../protocol/schemas.ts'
import type { JsonValue } from '../json-value.ts'
import { refuseFullRead } from './decide.ts'
import type { Lease, LeasedDisk, LeaseOutcome } from './driver.ts'
import type { JournalEntry } from './journal.ts'

/** A disk as the entry of every driver has it; `size` is bytes. */
export interface FramedDisk {
  readonly name: string
  readonly size: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly base: { readonly name: string } | null
  readonly evidence: string
  readonly comparedChunks: number
  readonly reread: readonly (readonly [number, number])[]
  /** Unchanged chunks were compared; true only where they may have been discarded since. */
  readonly compared?: boolean
  readonly exportName: string
}

export interface FramedEntry extends Omit<JournalEntry, 'payload'> {
  readonly disks: readonly FramedDisk[]
}

/** The entry of a disk whose bitmap turned out to be wrong. */
const CHANGES_MISSED = { kind: 'full', reason: 'changes-missed', base: null, reread: [] } as const

export abstract class LeaseFrame<Entry extends FramedEntry> implements Lease {
  readonly id: string
  readonly lost: Promise<VarveError>
  protected entry: Entry
  readonly #losing = Promise.withResolvers<VarveError>()
  #loss: VarveError | null = null
  #ending: Promise<void> | null = null

  constructor(entry: Entry) {
    this.entry = entry
    this.id = entry.id
    this.lost = this.#losing.promise
  }

  abstract get checkpoint(): boolean

  /** Where a disk can be read, and the meta context of its changed blocks if it is read incrementally. */
  protected abstract exportOf(
    disk: Entry['disks'][number],
  ): Pick<LeasedDisk, 'socketPath' | 'dirtyContext' | 'discards'>

  /** Makes the entry durable. */
  protected abstract write(entry: Entry): Promise<void>

  /** Why the lease does not hold; null when all of it is there. */
  protected abstract problem(): Promise<VarveError | null>

  /** Ends the lease for good; called once. */
  protected abstract finish(outcome: LeaseOutcome): Promise<void>

  /** Called once, when the lease is lost. */
  protected onLost(): void {}

  get disks(): readonly LeasedDisk[] {
    return this.entry.disks.map((disk) => {
      const { name, size, kind, reason, base, evidence, comparedChunks, exportName, reread, compared } = disk
      const read = { name, size, kind, reason, base: base?.name ?? null, evidence, comparedChunks, exportName, reread }
      return { ...read, ...(compared === undefined ? {} : { compared }), ...this.exportOf(disk) }
    })
  }

  get compareAll(): boolean {
    return this.entry.compareAll
  }

  get leftOut(): readonly LeftOutDisk[] {
    return this.entry.leftOut
  }

  get consistency(): Consistency {
    return this.entry.consistency
  }

  get consistencyNote(): string | null {
    return this.entry.consistencyNote
  }

  get timeMs(): number {
    return this.entry.timeMs ?? 0
  }

  get configuration(): JsonValue {
    return this.entry.configuration
  }

  async check(): Promise<void> {
    this.#refuseLost()
    if (this.#ending !== null) throw this.lostBy('it has ended')
    const why = await this.problem()
    if (why !== null) this.lose(why)
    this.#refuseLost()
  }

  /** None is needed where nothing is copied. */
  async scratch(): Promise<ScratchUse | null> {
    return { usedBytes: 0, limitBytes: null }
  }

  async compared(outcomes: ReadonlyMap<string, { readonly chunks: number; readonly missed: boolean }>): Promise<void> {
    const disks = this.entry.disks.map((disk) => {
      const outcome = outcomes.get(disk.name)
      if (outcome === undefined) return disk
      const known = {
        comparedChunks: outcome.chunks,
        ...(this.exportOf(disk).discards === true ? { compared: true } : {}),
      }
      return { ...disk, ...(outcome.missed ? CHANGES_MISSED : {}), ...known }
    })
    const entry: Entry = { ...this.entry, disks }
    // no increment depends on the count, but that a disk must be read in full, or has been compared, must outlive the agent
    const missed = [...outcomes.values()].some((outcome) => outcome.missed)
    if (missed || disks.some(({ compared }) => compared === true)) await this.write(entry)
    this.entry = entry
    for (const { name, kind, reason } of disks)
      if (reason === CHANGES_MISSED.reason) refuseFullRead(name, kind, reason, entry.refuseFull)
  }

  end(outcome: LeaseOutcome): Promise<void> {
    this.#ending ??= this.finish(outcome)
    return this.#ending
  }

  /** It has ended, or ends. */
  protected get isEnding(): boolean {
    return this.#ending !== null
  }

  /** Takes it as ended, without removing anything. */
  protected leaveAsItIs(): void {
    this.#ending ??= Promise.resolve()
  }

  protected lose(error: VarveError): void {
    if (this.#loss !== null || this.#ending !== null) return
    this.#loss = error
    this.onLost()
    this.#losing.resolve(error)
  }

  protected lostBy(why: string, cause?: unknown): VarveError {
    return new VarveError('LEASE_LOST', `the lease on machine ${this.entry.machine.name} is lost: ${why}`, { cause })
  }

  #refuseLost(): void {
    if (this.#loss !== null) throw this.#loss
  }
}
