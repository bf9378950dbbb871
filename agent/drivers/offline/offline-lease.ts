// The lease on a machine that is off: it holds while the storage daemon has the locks and nothing was written.

import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpClient } from '../../qmp/client.ts'
import { checkAnswer } from '../../qmp/disks.ts'
import type { LeasedDisk, LeaseOutcome } from '../driver.ts'
import { LeaseFrame } from '../lease-frame.ts'
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

const ENDED = 'its storage daemon has ended, and with it the locks of the disks'

/** One machine's lease. */
export class OfflineLease extends LeaseFrame<OfflineEntry> {
  /** The images are never written, so the next increment continues the bitmaps that this one did. */
  readonly checkpoint = false
  readonly #parts: OfflineLeaseParts

  constructor(parts: OfflineLeaseParts) {
    super(parts.entry)
    this.#parts = parts
    void parts.daemon.lost.then(() => this.lose(this.lostBy(ENDED)))
    void parts.client.closed.then((error) => this.lose(this.lostBy(ENDED, error)))
  }

  /** Leaves the lease as it is, for another agent. */
  leave(): void {
    this.leaveAsItIs()
    this.#parts.daemon.leave()
    this.#parts.client.close()
  }

  protected override exportOf({ base }: OfflineDisk): Pick<LeasedDisk, 'socketPath' | 'dirtyContext'> {
    const dirtyContext = base === null ? null : `qemu:dirty-bitmap:${base.bitmap}`
    return { socketPath: nbdSocket(this.entry.folder), dirtyContext }
  }

  protected override write(entry: OfflineEntry): Promise<void> {
    return writeEntry(this.#parts.host.journal, entry)
  }

  protected override async problem(): Promise<VarveError | null> {
    try {
      const why = await findBreak(this.#parts.client, this.entry)
      return why === null ? null : this.lostBy(why)
    } catch (error) {
      if (!(error instanceof VarveError) || error.code !== 'QMP_UNAVAILABLE') throw error
      return this.lostBy(ENDED)
    }
  }

  protected override async finish(outcome: LeaseOutcome): Promise<void> {
    const { host, daemon, client, onEnd } = this.#parts
    try {
      daemon.leave()
      client.close()
      await finishLease(host, this.entry, outcome)
    } finally {
      onEnd()
    }
  }
}
