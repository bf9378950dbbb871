// A lease that the libvirt driver began or adopted: watches its own backup until it ends.

import type { VarveError } from '../../../protocol/errors.ts'
import type { LibvirtCaller, LibvirtEvent } from '../../libvirt/types.ts'
import { CopyingLease, type CopyingLeaseParts } from '../copying-lease.ts'
import type { LeasedDisk, LeaseOutcome } from '../driver.ts'
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

const LIBVIRT = {
  reconnectMs: LEASE_RECONNECT_LIMIT_MS,
  unavailable: 'LIBVIRT_UNAVAILABLE',
  ended: 'the domain has ended',
  silent: 'libvirt no longer answers',
} as const

export interface LibvirtLeaseParts extends CopyingLeaseParts<LibvirtEntry, LibvirtHost> {
  readonly caller: LibvirtCaller
}

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
export class LibvirtLease extends CopyingLease<LibvirtEntry, LibvirtCaller, LibvirtHost> {
  constructor({ caller, ...parts }: LibvirtLeaseParts) {
    super(parts, LIBVIRT)
    this.start(caller)
  }

  get checkpoint(): boolean {
    return this.entry.checkpoint !== null
  }

  protected override exportOf({ kind }: JournalDisk): Pick<LeasedDisk, 'socketPath' | 'dirtyContext'> {
    const dirtyContext = kind === 'incremental' ? `qemu:dirty-bitmap:${EXPORT_BITMAP}` : null
    return { socketPath: this.entry.socketPath, dirtyContext }
  }

  protected override write(entry: LibvirtEntry): Promise<void> {
    return writeEntry(this.host.journal, entry)
  }

  protected override connect(): Promise<LibvirtCaller> {
    return this.host.connect(keysOf(this.entry.machine).uri)
  }

  protected override async look(caller: LibvirtCaller, cause?: unknown): Promise<VarveError | null> {
    // before the instant there is nothing to look at
    if (this.entry.phase !== 'active') return null
    const why = await findBreak(caller, this.entry)
    return why === null ? null : this.lostBy(why, cause)
  }

  protected override subscribe(caller: LibvirtCaller): () => void {
    return caller.subscribe((event) => {
      const what = breakingEvent(this.entry, event)
      if (what === 'look') void this.#lookAgain(caller)
      if (what !== 'ended' || event.kind !== 'lifecycle') return
      this.lose(this.lostBy(`the domain has ended (${event.detail})`))
    })
  }

  protected override stopCopying(caller: LibvirtCaller): Promise<boolean> {
    return giveUpBackup(caller, rescuedOf(this.entry))
  }

  protected override remove(outcome: LeaseOutcome): Promise<void> {
    return finishLease(this.host, this.entry, outcome)
  }

  protected override isGone(error: unknown): boolean {
    return isGone(error)
  }

  /** A job has ended: whether it was the lease's is asked. */
  async #lookAgain(caller: LibvirtCaller): Promise<void> {
    try {
      const why = await this.look(caller)
      if (why !== null) this.lose(why)
    } catch {
      // a connection that broke is recovered, and every check asks again
    }
  }
}
