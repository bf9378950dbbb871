// Driver `qmp`: pull by scratch image. QEMU copies old blocks away before the guest overwrites them, for all disks from
// one transaction on, and exports the machine as it was at that instant.

import { join } from 'node:path'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { CheckpointList, Forgotten } from '../../../protocol/methods.ts'
import type { QmpCaller, QmpClient } from '../../qmp/client.ts'
import type { QmpLinkState } from '../../qmp/link.ts'
import { monitorOfPaused, PausedMachine, qmpRun } from '../../guest/paused-machine.ts'
import type { AttachmentSource } from '../../attachments/source.ts'
import type {
  DriverHost,
  Lease,
  LeaseDriver,
  LeaseOutcome,
  LeaseRequest,
  Machine,
  MachineConfig,
  MachineIdentity,
  MachineLook,
  MachineMonitor,
} from '../driver.ts'
import { earlierLeases } from '../earlier-leases.ts'
import { HeldMachines } from '../held.ts'
import { checkLeaseId, type JournalEntry } from '../journal.ts'
import { LeftLeases } from '../left-leases.ts'
import { listStored } from '../offline/checkpoints.ts'
import { lookAtDisks } from '../offline/look.ts'
import { asOffline } from '../offline/machine.ts'
import { runTool } from '../offline/tools.ts'
import { joinPushServer } from '../../push/server.ts'
import { StandIns } from '../../push/stand-ins.ts'
import { freeBytes, prepareFolders, removeScratch, runtimeFolder } from '../scratch.ts'
import { BEGIN_ATTEMPTS_MAX, keepChanging } from '../seen-disks.ts'
import { HOST_PLACES, qmpAttachments, type HostPlaces } from './attachments.ts'
import { checkVersion, tryToBegin } from './begin.ts'
import { listCheckpoints } from './checkpoints.ts'
import { fromJournal, qmpEntries, type QmpEntry } from './entry.ts'
import { finishLease, standWhereNeeded } from './finish.ts'
import { isGone } from './gone.ts'
import { forgetMachine } from './forget.ts'
import { clearTheWay, gaveWay, watchMove } from './give-way.ts'
import type { QmpHost } from './host.ts'
import { checkWish } from '../instant.ts'
import { findBreak, readInventory } from './inventory.ts'
import { guestAgentOf, modeOf, offlineKeysOf, qmpPathOf, tpmStateOf } from './keys.ts'
import { QmpLinks } from './links.ts'
import { lookAtMachine } from './machine-look.ts'
import { removeOrphans } from './orphans.ts'
import { QmpLease } from './qmp-lease.ts'
import { findMove, findMoved, refuseMoving, uuidOf } from './run-state.ts'
import { giveUpJobs, rescuedOf } from './rescue.ts'
import { startScratchGuard } from './scratch-guard.ts'

/** Events of QEMU that come when a machine arrives from another host, or leaves for one. */
const MOVES: ReadonlySet<string> = new Set(['RESUME', 'STOP', 'MIGRATION', 'SHUTDOWN'])

/** Parts of the driver that a test may replace. */
export interface QmpDriverParts {
  /** Folder with a short path for the NBD sockets; /run for root, else the temporary folder. */
  readonly runtimeFolder?: string
  readonly freeBytes?: (folder: string) => Promise<number>
  readonly places?: HostPlaces
  /** Wraps every QMP client of the leases. */
  readonly between?: (client: QmpClient) => QmpCaller
}

export class QmpDriver implements LeaseDriver {
  readonly #links = new QmpLinks()
  readonly #host: QmpHost
  readonly #left: LeftLeases<QmpEntry>
  readonly #held = new HeldMachines()
  readonly #places: HostPlaces

  constructor(host: DriverHost, parts: QmpDriverParts = {}) {
    const { between = (client) => client } = parts
    this.#host = {
      ...host,
      connect: async (qmpPath) => between(await this.#links.of(qmpPath).client()),
      freeBytes: parts.freeBytes ?? freeBytes,
      folders: {
        scratch: join(host.stateFolder, 'scratch'),
        runtime: parts.runtimeFolder ?? runtimeFolder(),
      },
      standIns: new StandIns(),
      watchLeft: (entry) => this.#left.watch(entry),
    }
    this.#places = parts.places ?? HOST_PLACES
    // the monitor serves one connection, and the driver has it
    host.thawer.lend((address) => {
      const monitor = monitorOfPaused(address)
      if (monitor === null || !monitor.startsWith('/')) return null
      return async () => new PausedMachine(qmpRun(await this.#host.connect(monitor)))
    })
    this.#left = new LeftLeases({
      ...this.#host,
      startGuard: (entry) => startScratchGuard(entry, host.reserveBytes),
      giveUp: async (entry) => {
        const client = await this.#host.connect(qmpPathOf(entry.machine))
        // a guest's write that waits for that process fails where its job is cancelled
        await standWhereNeeded(this.#host, client, entry)
        return await giveUpJobs(client, rescuedOf(entry))
      },
      makeWay: (entry, signal) => this.#makeWay(entry, signal),
    })
  }

  readonly monitor: MachineMonitor = {
    execute: async (machine, command, args) =>
      await (await this.#host.connect(qmpPathOf(machine))).execute(command, args),
    subscribe: (machine, listener) => this.#links.of(qmpPathOf(machine)).subscribe(listener),
  }

  async begin(request: LeaseRequest): Promise<Lease> {
    checkLeaseId(request.leaseId)
    const { machine, consistency } = request
    const host = this.#host
    checkWish(consistency, guestAgentOf(machine) !== null, machine.name)
    return await this.#held.holding(machine, async (release) => {
      await host.journal.refuseUnknown(machine)
      const client = await host.connect(qmpPathOf(machine))
      checkVersion(client, modeOf(machine))
      await refuseMoving(client, machine.name)
      await this.#settleEarlier(request)
      await prepareFolders(host)
      for (const agent of [request.agentId, ...request.formerAgents]) await removeOrphans(host, client, agent)
      for (let attempt = 1; ; attempt += 1) {
        const lease = await tryToBegin(host, { client, request, release })
        if (lease !== null) return lease
        if (attempt === BEGIN_ATTEMPTS_MAX) throw keepChanging(machine.name)
        host.log.info({ machine: machine.name, attempt }, 'the disks changed while the lease began; starting over')
      }
    })
  }

  /** A machine whose monitor nobody listens on; the image lock still refuses one that runs, under another socket. */
  whenOff(machine: MachineConfig, error: VarveError): Promise<MachineConfig | null> {
    const keys = isGone(error) ? offlineKeysOf(machine) : null
    return Promise.resolve(keys && asOffline(machine, keys))
  }

  async identify(machine: MachineConfig): Promise<MachineIdentity> {
    try {
      const client = await this.#links.of(qmpPathOf(machine)).client()
      const here = (await findMoved(client)) === null
      return { uuid: await uuidOf(client), here }
    } catch {
      return { uuid: null, here: false }
    }
  }

  attachments(machine: MachineConfig): Promise<readonly AttachmentSource[]> {
    const qmpPath = qmpPathOf(machine)
    const connect = (): Promise<QmpCaller> => this.#host.connect(qmpPath)
    return qmpAttachments({ qmpPath, tpmState: tpmStateOf(machine), connect, places: this.#places })
  }

  async adopt(journalled: JournalEntry): Promise<Lease | null> {
    const host = this.#host
    const entry = fromJournal(journalled)
    const { machine } = entry
    if (entry.phase !== 'active' || entry.outcome !== null) return null
    return await this.#held.holding(machine, async (release) => {
      try {
        const client = await host.connect(qmpPathOf(machine))
        const move = await findMove(client)
        if (move !== null) throw gaveWay(machine.name, move)
        const why = findBreak(entry, await readInventory(client))
        if (why !== null) {
          host.log.info({ lease: entry.id, machine: machine.name, why }, 'the lease cannot continue')
          release()
          return null
        }
        const writer = entry.mode === 'push' ? await joinPushServer(entry.socketFolder) : null
        if (writer === null && entry.mode === 'push') {
          release()
          return null
        }
        const guard = await startScratchGuard(entry, host.reserveBytes)
        this.#left.release(entry.id)
        const lease = new QmpLease({ host, entry, client, guard, writer, onEnd: release })
        lease.complete(entry)
        return lease
      } catch (error) {
        if (!isGone(error)) throw error
        release()
        return null
      }
    })
  }

  /** QMP_UNAVAILABLE when QEMU cannot be reached and bitmaps may remain in its images. */
  async settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    await this.#held.holding(entry.machine, async (release) => {
      await finishLease(this.#host, fromJournal(entry), outcome)
      this.#left.release(entry.id)
      release()
    })
  }

  async removeFiles(journalled: JournalEntry): Promise<void> {
    const entry = fromJournal(journalled)
    if (entry.socketFolder.startsWith(this.#host.folders.runtime)) await removeScratch(entry)
  }

  /** A QMP connection that is being restored is worth another try. */
  isPassing({ code }: VarveError): boolean {
    return code.startsWith('QMP_')
  }

  attach(machine: Machine): void {
    const link = this.#links.of(qmpPathOf(machine))
    const onState = (state: QmpLinkState): void => {
      this.#host.log.info({ machine: machine.name, qmp: state }, 'machine')
      if (state === 'up') {
        void this.#standIn(machine)
        void this.#clearOrphans(machine)
      }
      this.#host.onMoved?.(machine.name)
    }
    link.onState(onState)
    link.subscribe(({ event }) => {
      if (MOVES.has(event)) this.#host.onMoved?.(machine.name)
    })
    if (link.state === 'up') onState('up')
    link.start()
  }

  detach(machine: Machine): void {
    this.#links.close(qmpPathOf(machine))
  }

  async watchLeft(): Promise<void> {
    for (const entry of await qmpEntries(this.#host.journal)) this.#left.watch(entry)
  }

  async look(machine: MachineConfig): Promise<MachineLook> {
    return await lookAtMachine(this.#links.of(qmpPathOf(machine)), machine.exclude, async (error) => {
      const off = await this.whenOff(machine, error)
      return off && (await lookAtDisks(off))
    })
  }

  /** Of one that is off: by its `disks`, where they are known. */
  async checkpoints(machine: MachineConfig): Promise<CheckpointList> {
    const { agents, connect, journal } = this.#host
    try {
      const entries = (await qmpEntries(journal)).filter((entry) => entry.machine.address === machine.address)
      return await listCheckpoints(await connect(qmpPathOf(machine)), machine.exclude, { agents, entries })
    } catch (thrown) {
      const off = await this.whenOff(machine, asVarveError(thrown))
      if (off === null) throw thrown
      return await listStored(runTool, off, agents)
    }
  }

  /** Also QMP_UNAVAILABLE. */
  async forget(machine: Machine, disk: string | null): Promise<Forgotten> {
    const { name, address } = machine
    const host = this.#host
    return await this.#held.holding(machine, async (release) => {
      await host.journal.refuseUnknown(machine)
      const client = await host.connect(qmpPathOf(machine))
      await refuseMoving(client, name)
      for (const entry of await qmpEntries(host.journal)) {
        if (disk !== null || (entry.machine.address !== address && entry.machine.name !== name)) continue
        // the machine may be at another path than when the lease began
        await finishLease(host, { ...entry, machine: { ...machine, name: entry.machine.name } }, 'failed')
        this.#left.release(entry.id)
      }
      const forgotten = await forgetMachine(client, disk, host.folders.runtime)
      const { removed, left } = forgotten
      host.log.info({ machine: name, disk, removed: removed.length, left: left.length }, 'forgot checkpoints')
      release()
      return forgotten
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#links[Symbol.asyncDispose]()
  }

  /**
   * Removes what the journal does not know, such as a lease whose entry was damaged: nothing can resume it, and nothing
   * watches its scratch space. Everything is journalled before it is made, so this may run beside other work.
   */
  async #clearOrphans(machine: Machine): Promise<void> {
    const { agents, connect, journal, log } = this.#host
    try {
      await journal.refuseUnknown(machine)
      const client = await connect(qmpPathOf(machine))
      for (const agent of agents) await removeOrphans(this.#host, client, agent)
    } catch (error) {
      log.warn({ machine: machine.name, err: error }, 'what earlier runs left cannot be removed yet')
    }
  }

  /**
   * Takes the places of processes that QEMU writes to and that have ended, such as with an earlier agent: a guest's writes wait
   * for that, and the gateway may be away.
   */
  async #standIn({ name, address }: Machine): Promise<void> {
    const { connect, journal, log } = this.#host
    try {
      const entries = (await qmpEntries(journal)).filter(
        ({ mode, machine }) => mode === 'push' && machine.address === address,
      )
      for (const entry of entries) await standWhereNeeded(this.#host, await connect(qmpPathOf(entry.machine)), entry)
    } catch (error) {
      log.warn({ machine: name, err: error }, 'a process that QEMU writes a backup to cannot be replaced yet')
    }
  }

  /** For leases that no backup of this process holds; whether one is committed the gateway knows, so its bitmaps stay. */
  async #makeWay(entry: QmpEntry, signal: AbortSignal): Promise<void> {
    const connect = (): Promise<QmpCaller> => this.#host.connect(qmpPathOf(entry.machine))
    const move = await watchMove({ connect, signal })
    if (move === null) return
    const about = { lease: entry.id, machine: entry.machine.name, move }
    try {
      await clearTheWay(connect, entry)
      this.#host.log.warn(about, 'a lease that an earlier run left was given up for a migration')
    } catch (error) {
      this.#host.log.warn({ ...about, err: error }, 'the way for a migration could not be cleared')
    }
  }

  /** Finishes earlier leases of the machine whose outcome is known; LEASE_HELD when one is not. */
  async #settleEarlier(request: LeaseRequest): Promise<void> {
    for (const { entry, outcome } of earlierLeases(await qmpEntries(this.#host.journal), request)) {
      await finishLease(this.#host, entry, outcome)
      this.#left.release(entry.id)
    }
  }
}
