// The lease on a machine that is off: it holds while the storage daemon has the locks and nothing was written.

import type { Consistency, LeftOutDisk, ReadReason } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import * as v from 'valibot'
import type { JsonValue } from '../../json-value.ts'
import type { QmpClient } from '../../qmp/client.ts'
import { checkAnswer } from '../../qmp/disks.ts'
import type { Lease, LeaseOutcome, LeasedDisk } from '../driver.ts'
import { refuseFullRead } from '../decide.ts'
import { nbdSocket, type StorageDaemon } from './daemon.ts'
import { writeEntry, type OfflineDisk, type OfflineEntry } from './entry.ts'
import { finishLease } from './finish.ts'
import type { OfflineHost } from './host.ts'
import { findWrite } from './proof.ts'

export interface OfflineLeaseParts {
  readonly host: OfflineHost
  readonly entry: OfflineEntry
  readonly client: QmpClient
  readonly daemon: StorageDaemon
  /** Called once when the lease's machine is free again or only the journal knows of it. */
  readonly onEnd: () => void
}

const exportsSchema = v.array(v.object({ id: v.string() }))

/** Why the lease does not hold, as a clause; null when all of it is there. QMP_UNAVAILABLE when the daemon has ended. */
export const findBreak = async (client: QmpClient, { disks }: OfflineEntry): Promise<string | null> => {
  const exports = checkAnswer(exportsSchema, await client.execute('query-block-exports'), 'query-block-exports')
  const lost = disks.find(({ exportId }) => !exports.some(({ id }) => id === exportId))
  return lost === undefined ? await findWrite(disks) : `the export of disk ${lost.name} is gone`
}

/** The entry of a disk whose bitmap turned out to be wrong. */
const CHANGES_MISSED: Pick<OfflineDisk, 'kind' | 'reason' | 'base' | 'reread'> & { readonly reason: ReadReason } = {
  kind: 'full',
  reason: 'changes-missed',
  base: null,
  reread: [],
}

const lostError = ({ machine }: OfflineEntry, why: string, cause?: unknown): VarveError =>
  new VarveError('LEASE_LOST', `the lease on machine ${machine.name}, which is off, is lost: ${why}`, { cause })

/** One machine's lease. */
export class OfflineLease implements Lease {
  readonly id: string
  readonly lost: Promise<VarveError>
  /** The images are never written, so the next increment continues the bitmaps that this one did. */
  readonly checkpoint = false
  #entry: OfflineEntry
  readonly #parts: OfflineLeaseParts
  readonly #losing = Promise.withResolvers<VarveError>()
  #loss: VarveError | null = null
  #ending: Promise<void> | null = null

  constructor(parts: OfflineLeaseParts) {
    this.#parts = parts
    this.#entry = parts.entry
    this.id = parts.entry.id
    this.lost = this.#losing.promise
    const ended = 'its storage daemon has ended, and with it the locks'
    void parts.daemon.lost.then(() => this.#lose(lostError(this.#entry, ended)))
    void parts.client.closed.then((error) => this.#lose(lostError(this.#entry, ended, error)))
  }

  get disks(): readonly LeasedDisk[] {
    const socketPath = nbdSocket(this.#entry.folder)
    return this.#entry.disks.map(
      ({ name, size, kind, reason, base, evidence, comparedChunks, exportName, reread }) => ({
        name,
        size,
        kind,
        reason,
        base: base?.name ?? null,
        evidence,
        comparedChunks,
        socketPath,
        exportName,
        dirtyContext: base === null ? null : `qemu:dirty-bitmap:${base.bitmap}`,
        reread,
      }),
    )
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
    const entry: OfflineEntry = { ...this.#entry, disks }
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

  /** Leaves the lease as it is, for another agent. */
  leave(): void {
    this.#ending ??= Promise.resolve()
    this.#parts.daemon.leave()
    this.#parts.client.close()
  }

  async #end(outcome: LeaseOutcome): Promise<void> {
    const { host, daemon, client, onEnd } = this.#parts
    try {
      daemon.leave()
      client.close()
      await finishLease(host, this.#entry, outcome)
    } finally {
      onEnd()
    }
  }

  async #problem(): Promise<string | null> {
    try {
      return await findBreak(this.#parts.client, this.#entry)
    } catch (error) {
      if (!(error instanceof VarveError) || error.code !== 'QMP_UNAVAILABLE') throw error
      return 'its storage daemon has ended, and with it the locks'
    }
  }

  #refuseLost(): void {
    if (this.#loss !== null) throw this.#loss
  }

  #lose(error: VarveError): void {
    if (this.#loss !== null || this.#ending !== null) return
    this.#loss = error
    this.#losing.resolve(error)
  }
}
