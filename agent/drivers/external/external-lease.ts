// The lease that somebody else holds: it is good for as long as its holder stands by it.

import type { VarveError } from '../../../protocol/errors.ts'
import { INSTANT_LEAD_MS_MAX } from '../../../protocol/limits.ts'
import type { ScratchUse } from '../../../protocol/schemas.ts'
import type { LeasedDisk, LeaseOutcome } from '../driver.ts'
import { LeaseFrame } from '../lease-frame.ts'
import type { ExternalDisk, ExternalEntry } from './entry.ts'
import { contextOf } from './look.ts'
import type { Given } from './offers.ts'
import { changedSocket, type SocketMarks } from './socket-marks.ts'

/**
 * For a QEMU before 9.2, or whatever else it is: the least and the most that QEMU copies at once before a guest's write, in
 * bytes.
 * It ends, and its guest with it, where it is told to discard a part of that.
 */
const NARROW = { boundaryBytes: 64 * 1024, discardBytes: 2 * 1024 * 1024 } as const

export interface ExternalLeaseParts {
  readonly entry: ExternalEntry
  readonly given: Given
  /** Of its sockets when it began. */
  readonly sockets: SocketMarks
  readonly write: (entry: ExternalEntry) => Promise<void>
  readonly finish: (entry: ExternalEntry, outcome: LeaseOutcome) => Promise<void>
}

/** One machine's lease. */
export class ExternalLease extends LeaseFrame<ExternalEntry> {
  readonly checkpoint: boolean
  readonly bandwidth: number | null
  /** From the instant on until now, when the job has begun already. */
  readonly leadMs: number
  readonly #parts: ExternalLeaseParts

  constructor(parts: ExternalLeaseParts) {
    super(parts.entry)
    this.#parts = parts
    this.checkpoint = parts.entry.disks.some(({ bitmap }) => bitmap !== null)
    this.leadMs = Math.min(Math.max(0, Date.now() - this.timeMs), INSTANT_LEAD_MS_MAX)
    this.bandwidth = parts.given.offer.bandwidth
    void parts.given.ended.then((error) => this.lose(this.lostBy(error.message, error)))
  }

  override get disks(): readonly LeasedDisk[] {
    return super.disks.map((disk, index) => {
      const { clips, isNarrow } = this.entry.disks[index]!
      return { ...disk, clips, discards: true, ...(isNarrow ? NARROW : {}) }
    })
  }

  /** Its scratch space is its holder's. */
  override scratch(): Promise<ScratchUse | null> {
    return Promise.resolve(null)
  }

  /** Leaves the lease as it is; its holder learns that the agent has ended. */
  leave(): void {
    this.leaveAsItIs()
  }

  protected override exportOf({
    socketPath,
    base,
    bitmap,
  }: ExternalDisk): Pick<LeasedDisk, 'socketPath' | 'dirtyContext'> {
    return { socketPath, dirtyContext: base === null || bitmap === null ? null : contextOf(bitmap) }
  }

  protected override write(entry: ExternalEntry): Promise<void> {
    return this.#parts.write(entry)
  }

  protected override async problem(): Promise<VarveError | null> {
    const { given, sockets } = this.#parts
    // the same path may be another lease's by now
    const other = await changedSocket(sockets)
    if (given.error !== null) return this.lostBy(given.error.message, given.error)
    return other === null ? null : this.lostBy(`the socket ${other} is not the one that it began with`)
  }

  protected override async finish(outcome: LeaseOutcome): Promise<void> {
    await this.#parts.finish(this.entry, outcome)
  }
}
