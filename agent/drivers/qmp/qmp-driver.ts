// Lease driver `qmp`: pull by scratch image. QEMU copies old blocks away before the guest overwrites them, for all
// disks from one transaction on, and exports the machine as it was at that instant.

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import type { Forgotten } from '../../../protocol/methods.ts'
import { FreezeNotes } from '../../guest/freeze-notes.ts'
import { Thawer } from '../../guest/thawer.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { machineConfiguration } from '../../qmp/configuration.ts'
import { listNodes } from '../../qmp/disks.ts'
import { decideDisks } from './decide.ts'
import type { SeenDisks } from './decide.ts'
import { finishLease, isGone } from './finish.ts'
import { forgetMachine } from './forget.ts'
import { keptCheckpoints } from '../host.ts'
import type { LeaseHost, LeaseLog } from '../host.ts'
import { checkWish, takeInstant } from './instant.ts'
import { findBreak, readInventory } from './inventory.ts'
import type { JournalEntry, LeaseJournal } from '../journal.ts'
import { LeftLeases } from './left-leases.ts'
import type { Lease, LeaseDriver, LeaseMachine, LeaseOutcome, LeaseRequest } from '../driver.ts'
import { DisksChanged, look, refuseChange, signature } from './look.ts'
import { checkLeaseId } from './names.ts'
import { removeOrphans } from './orphans.ts'
import { obsoleteBitmaps, planLease } from './plan.ts'
import type { LeaseFolders } from './plan.ts'
import { QmpLease } from './qmp-lease.ts'
import { noteStopped } from './rescue.ts'
import { refuseMoving } from './run-state.ts'
import { startScratchGuard } from './scratch-guard.ts'
import { SCRATCH_RESERVE_BYTES } from './scratch-watch.ts'
import { freeBytes, makeScratch } from './scratch.ts'
import { prepareSizeMarks } from './size-mark.ts'
import { makeFolder } from '../../make-folder.ts'

/** The oldest QEMU whose commands suffice (block-export-add). */
const QEMU_MAJOR_MIN = 5
const QEMU_MINOR_MIN = 2

/** How often a lease is begun anew because the machine's disks changed while it began. */
const BEGIN_ATTEMPTS_MAX = 3

export interface QmpLeaseDriverOptions {
  readonly stateFolder: string
  /** Folder with a short path for the NBD sockets; /run for root, else the temporary folder. */
  readonly runtimeFolder?: string
  /** A client of the machine's one QMP connection; the driver never closes it. */
  readonly connect: (qmpPath: string) => Promise<QmpCaller>
  readonly journal: LeaseJournal
  readonly log: LeaseLog
  /** The process's thawer; without one the driver has its own, over the notes in the state folder. */
  readonly thawer?: Thawer
  readonly reserveBytes?: number
  /** Bytes left on the file system of a folder. */
  readonly freeBytes?: (folder: string) => Promise<number>
}

const checkVersion = ({ version: { major, minor } }: QmpCaller): void => {
  if (major > QEMU_MAJOR_MIN || (major === QEMU_MAJOR_MIN && minor >= QEMU_MINOR_MIN)) return
  throw new VarveError(
    'DISK_UNSUPPORTED',
    `QEMU ${major}.${minor} is too old; ${QEMU_MAJOR_MIN}.${QEMU_MINOR_MIN} is needed.`,
  )
}

const startServer = async (client: QmpCaller, socketPath: string): Promise<void> => {
  try {
    await client.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socketPath } } })
  } catch (cause) {
    const running = cause instanceof VarveError && /already running/.test(String(cause.details['desc']))
    if (!running) throw cause
    const sentence = 'The machine runs an NBD server that is not ours, and QEMU has room for one only. Stop it first.'
    throw new VarveError('NBD_SERVER_BUSY', sentence, { cause })
  }
}

const addScratchNodes = async (client: QmpCaller, entry: JournalEntry): Promise<void> => {
  for (const { node, scratchNode, scratchFile } of entry.disks) {
    const file = { driver: 'file', filename: scratchFile }
    await client.execute('blockdev-add', { driver: 'qcow2', 'node-name': scratchNode, file, backing: node })
  }
}

const addExports = async (client: QmpCaller, entry: JournalEntry): Promise<void> => {
  for (const { exportId, exportName, scratchNode, kind } of entry.disks) {
    const bitmaps = kind === 'incremental' ? { bitmaps: [entry.transfer] } : {}
    const target = { id: exportId, type: 'nbd', 'node-name': scratchNode, name: exportName, writable: false }
    await client.execute('block-export-add', { ...target, ...bitmaps })
  }
}

const isRefusal = (error: unknown): boolean =>
  error instanceof VarveError && (error.code === 'QMP_ERROR' || error.code === 'LEASE_HELD')

/** A lease that is about to begin, on the disks that were seen. */
interface Beginning {
  readonly entry: JournalEntry
  readonly seen: SeenDisks
  readonly request: LeaseRequest
  readonly release: () => void
}

/** Begins, adopts and settles leases through QMP; one instance for each agent process. */
export class QmpLeaseDriver implements LeaseDriver {
  readonly #host: LeaseHost
  readonly #left: LeftLeases
  readonly #folders: LeaseFolders
  /** QMP sockets of machines with a lease in this process. */
  readonly #held = new Set<string>()

  constructor(options: QmpLeaseDriverOptions) {
    this.#host = {
      connect: options.connect,
      journal: options.journal,
      log: options.log,
      thawer: options.thawer ?? new Thawer({ notes: FreezeNotes.in(options.stateFolder), log: options.log }),
      reserveBytes: options.reserveBytes ?? SCRATCH_RESERVE_BYTES,
      freeBytes: options.freeBytes ?? freeBytes,
      watchLeft: (entry) => this.#left.watch(entry),
    }
    this.#left = new LeftLeases(this.#host)
    this.#folders = {
      scratch: join(options.stateFolder, 'scratch'),
      runtime: options.runtimeFolder ?? (process.getuid?.() === 0 ? '/run' : tmpdir()),
    }
  }

  async begin(request: LeaseRequest): Promise<Lease> {
    checkLeaseId(request.leaseId)
    const { machine, consistency } = request
    checkWish(consistency, machine.guestAgent, machine.name)
    return await this.#holding(machine.qmp, machine.name, async (release) => {
      const client = await this.#host.connect(machine.qmp)
      checkVersion(client)
      await refuseMoving(client, machine.name)
      await this.#settleEarlier(request)
      await this.#checkSpace()
      for (const agent of [request.agentId, ...request.formerAgents])
        await removeOrphans(this.#host, client, agent, this.#folders)
      for (let attempt = 1; ; attempt += 1) {
        const lease = await this.#try(client, request, release)
        if (lease !== null) return lease
        if (attempt === BEGIN_ATTEMPTS_MAX) {
          const sentence = `The disks of machine ${machine.name} change while a backup begins (a snapshot, a resize, a device that comes or goes). Try again when that is done.`
          throw new VarveError('LEASE_HELD', sentence, { details: { machine: machine.name } })
        }
        this.#host.log.info(
          { machine: machine.name, attempt },
          'the disks changed while the lease began; beginning anew',
        )
      }
    })
  }

  /** Begins on the disks as they are now; null, with nothing left, when they were others at the instant. */
  async #try(client: QmpCaller, request: LeaseRequest, release: () => void): Promise<Lease | null> {
    const seen = await look(client)
    const decisions = decideDisks(seen, request)
    const entry = planLease(request, decisions, this.#folders, await machineConfiguration(client))
    await this.#host.journal.write(entry)
    try {
      return await this.#make(client, { entry, seen, request, release })
    } catch (error) {
      if (!(await this.#undo(entry, error))) throw error
      if (error instanceof DisksChanged) return null
      // QEMU refuses what does not fit disks that are others by now
      if (isRefusal(error) && signature(await look(client), request) !== signature(seen, request)) return null
      throw error
    }
  }

  async adopt(entry: JournalEntry): Promise<Lease | null> {
    const host = this.#host
    if (entry.phase !== 'active' || entry.outcome !== null) return null
    return await this.#holding(entry.machine.qmp, entry.machine.name, async (release) => {
      try {
        const client = await host.connect(entry.machine.qmp)
        const why = findBreak(entry, await readInventory(client))
        if (why !== null) {
          host.log.info({ lease: entry.id, machine: entry.machine.name, why }, 'the lease cannot go on')
          release()
          return null
        }
        const guard = await startScratchGuard(entry, host.reserveBytes)
        this.#left.release(entry.id)
        return new QmpLease({ host, entry, client, guard, onEnd: release })
      } catch (error) {
        if (!isGone(error)) throw error
        release()
        return null
      }
    })
  }

  async settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    await this.#holding(entry.machine.qmp, entry.machine.name, async (release) => {
      await finishLease(this.#host, entry, outcome)
      this.#left.release(entry.id)
      release()
    })
  }

  /**
   * Removes what the journal does not know, such as a lease whose entry was damaged: nobody can go on with it, and nobody
   * watches its scratch space. Everything is journalled before it is made, so this may run beside other work.
   */
  async clearOrphans({ qmp }: Pick<LeaseMachine, 'qmp'>, agentId: string): Promise<void> {
    await removeOrphans(this.#host, await this.#host.connect(qmp), agentId, this.#folders)
  }

  /** Watches the scratch space of every lease in the journal until it is adopted or settled. */
  async watchLeft(): Promise<void> {
    for (const entry of await this.#host.journal.list()) this.#left.watch(entry)
  }

  /**
   * Removes everything of Varve's from a machine, leases that an earlier run left included, or just the bitmaps of one
   * disk. LEASE_HELD while a backup runs, NOT_FOUND, QMP_UNAVAILABLE.
   */
  async forget({ name, qmp }: Pick<LeaseMachine, 'name' | 'qmp'>, disk: string | null): Promise<Forgotten> {
    return await this.#holding(qmp, name, async (release) => {
      const client = await this.#host.connect(qmp)
      await refuseMoving(client, name)
      for (const entry of await this.#host.journal.list()) {
        if (disk !== null || (entry.machine.qmp !== qmp && entry.machine.name !== name)) continue
        // the machine may be at another path than when the lease began
        await finishLease(this.#host, { ...entry, machine: { ...entry.machine, qmp } }, 'failed')
        this.#left.release(entry.id)
      }
      const forgotten = await forgetMachine(client, disk, this.#folders.runtime)
      const { removed, left } = forgotten
      this.#host.log.info({ machine: name, disk, removed: removed.length, left: left.length }, 'forgot checkpoints')
      release()
      return forgotten
    })
  }

  /** Runs `action` while the machine is held; it stays held until `release`, or is freed when the action fails. */
  async #holding<T>(qmpPath: string, machine: string, action: (release: () => void) => Promise<T>): Promise<T> {
    if (this.#held.has(qmpPath)) {
      throw new VarveError(
        'LEASE_HELD',
        `A backup of machine ${machine} is under way, or its checkpoints are being removed: try again when it has ended.`,
        { details: { machine } },
      )
    }
    this.#held.add(qmpPath)
    const release = (): void => void this.#held.delete(qmpPath)
    try {
      return await action(release)
    } catch (error) {
      release()
      throw error
    }
  }

  /** Finishes earlier leases of the machine whose outcome is known; LEASE_HELD when one is not. */
  async #settleEarlier({ machine, leaseId }: LeaseRequest): Promise<void> {
    for (const entry of await this.#host.journal.list()) {
      if (entry.machine.qmp !== machine.qmp && entry.id !== leaseId) continue
      if (entry.outcome === null || entry.id === leaseId) {
        const sentence = `An earlier lease on machine ${machine.name} is not settled.`
        throw new VarveError('LEASE_HELD', sentence, { details: { machine: machine.name, lease: entry.id } })
      }
      await finishLease(this.#host, entry, entry.outcome)
      this.#left.release(entry.id)
    }
  }

  async #checkSpace(): Promise<void> {
    const { scratch, runtime } = this.#folders
    const { reserveBytes } = this.#host
    // QEMU may run as another user, who must be able to pass through
    await makeFolder(scratch, 0o711)
    await makeFolder(runtime, 0o711)
    const free = await this.#host.freeBytes(scratch)
    if (free >= reserveBytes) return
    throw new VarveError('SCRATCH_LOW', `The scratch folder ${scratch} has too little space to begin.`, {
      details: { freeBytes: free, reserveBytes },
    })
  }

  async #removeObsolete(client: QmpCaller, entry: JournalEntry, request: LeaseRequest): Promise<void> {
    const kept = new Set(await keptCheckpoints(this.#host.journal, entry.id))
    if (request.base !== null) kept.add(request.base.checkpoint)
    for (const { node, name } of obsoleteBitmaps(await listNodes(client), request, kept)) {
      this.#host.log.info({ machine: entry.machine.name, node, bitmap: name }, 'removing an obsolete checkpoint')
      await client.execute('block-dirty-bitmap-remove', { node, name })
    }
  }

  async #make(client: QmpCaller, beginning: Beginning): Promise<Lease> {
    const { entry, request, release } = beginning
    const host = this.#host
    await makeScratch(entry)
    await noteStopped(client, entry.scratchFolder)
    const starting = startScratchGuard(entry, host.reserveBytes)
    // it is awaited below; until then its failure must not count as unhandled
    starting.catch(() => undefined)
    try {
      await this.#removeObsolete(client, entry, request)
      await addScratchNodes(client, entry)
      await startServer(client, entry.socketPath)
      await prepareSizeMarks(client, entry)
    } catch (error) {
      await starting.then((guard) => guard.done()).catch(() => undefined)
      throw error
    }
    const guard = await starting
    const lease = new QmpLease({ host, entry, client, guard, onEnd: release })
    try {
      const { consistency: wish, freezeTimeoutMs } = request
      const instant = await takeInstant({ client, thawer: host.thawer, entry, wish, freezeTimeoutMs })
      await refuseChange(client, beginning)
      await addExports(client, entry)
      const active: JournalEntry = { ...entry, ...instant, phase: 'active' }
      await host.journal.write(active)
      lease.complete(active)
      await lease.check()
      return lease
    } catch (error) {
      lease.abandon()
      throw error
    }
  }

  /** Removes what a failed begin made; false, and it stays in the journal as failed, where that cannot be done now. */
  async #undo(entry: JournalEntry, cause: unknown): Promise<boolean> {
    try {
      await finishLease(this.#host, entry, 'failed')
      return true
    } catch (error) {
      if (!isGone(error)) this.#left.watch(entry)
      this.#host.log.warn(
        { lease: entry.id, machine: entry.machine.name, err: error, cause },
        'a lease that failed to begin could not be removed yet',
      )
      return false
    }
  }
}
