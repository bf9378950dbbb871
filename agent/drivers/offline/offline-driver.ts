// Driver `offline`: reads the disks of a machine that is off, through a storage daemon that holds QEMU's image lock on them.

import type { VarveError } from '../../../protocol/errors.ts'
import type { CheckpointList, Forgotten } from '../../../protocol/methods.ts'
import { QmpClient } from '../../qmp/client.ts'
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
} from '../driver.ts'
import { earlierLeases } from '../earlier-leases.ts'
import { HeldMachines } from '../held.ts'
import { checkLeaseId, type JournalEntry } from '../journal.ts'
import { runtimeFolder } from '../scratch.ts'
import { beginLease, checkWish } from './begin.ts'
import { listStored } from './checkpoints.ts'
import { joinDaemon, monitorSocket, SILENCE_LIMIT_MS, type StorageDaemon } from './daemon.ts'
import { fromJournal, offlineEntries, type OfflineEntry } from './entry.ts'
import { finishLease, removeOrphans } from './finish.ts'
import { forgetDisks } from './forget.ts'
import type { OfflineHost } from './host.ts'
import { keysOf } from './keys.ts'
import { lookAtDisks } from './look.ts'
import { findBreak, OfflineLease } from './offline-lease.ts'
import { runTool, type RunTool } from './tools.ts'

/** Parts of the driver that a test may replace. */
export interface OfflineDriverParts {
  /** Folder with a short path for the sockets; /run for root, else the temporary folder. */
  readonly runtimeFolder?: string
  readonly silenceMs?: number
  readonly deviceFolder?: string
  readonly run?: RunTool
  readonly act?: OfflineHost['act']
}

export class OfflineDriver implements LeaseDriver {
  readonly monitor = null
  readonly #host: OfflineHost
  readonly #held = new HeldMachines()
  /** Leases of this process, by id. */
  readonly #leases = new Map<string, OfflineLease>()

  constructor(host: DriverHost, parts: OfflineDriverParts = {}) {
    this.#host = {
      ...host,
      runtimeFolder: parts.runtimeFolder ?? runtimeFolder(),
      silenceMs: parts.silenceMs ?? SILENCE_LIMIT_MS,
      deviceFolder: parts.deviceFolder ?? '/dev',
      run: parts.run ?? runTool,
      act: parts.act ?? ((action) => action()),
    }
  }

  async begin(request: LeaseRequest): Promise<Lease> {
    checkLeaseId(request.leaseId)
    const { machine, consistency } = request
    const host = this.#host
    checkWish(consistency, machine.name)
    return await this.#held.holding(machine, async (release) => {
      await host.journal.refuseUnknown(machine)
      await this.#settleEarlier(request)
      await removeOrphans(host, [request.agentId, ...request.formerAgents])
      return this.#keep(await beginLease(host, request, () => this.#ended(request.leaseId, release)))
    })
  }

  /** The machine is off already. */
  whenOff(): Promise<MachineConfig | null> {
    return Promise.resolve(null)
  }

  /** What is off runs nowhere; another host of the site may have it running. */
  identify(): Promise<MachineIdentity> {
    return Promise.resolve({ uuid: null, here: false })
  }

  attachments(): Promise<readonly AttachmentSource[]> {
    return Promise.resolve([])
  }

  async adopt(journalled: JournalEntry): Promise<Lease | null> {
    const entry = fromJournal(journalled)
    if (entry.phase !== 'active' || entry.outcome !== null) return null
    return await this.#held.holding(entry.machine, async (release) => {
      const daemon = await joinDaemon(entry.folder)
      const lease = daemon === null ? null : await this.#rejoin(entry, daemon, release)
      if (lease === null) release()
      return lease && this.#keep(lease)
    })
  }

  async settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    await this.#held.holding(entry.machine, async (release) => {
      await finishLease(this.#host, fromJournal(entry), outcome)
      release()
    })
  }

  /** Everything of a lease of this driver is outside of the state folder. */
  async removeFiles(journalled: JournalEntry): Promise<void> {
    const entry = fromJournal(journalled)
    if (entry.folder.startsWith(this.#host.runtimeFolder)) await finishLease(this.#host, entry, 'failed')
  }

  isPassing({ code }: VarveError): boolean {
    return code === 'QMP_TIMEOUT'
  }

  attach(machine: Machine): void {
    void this.#clear(machine)
  }

  detach(): void {
    // nothing is held of a machine that is off
  }

  /** Leases that are not adopted end by themselves: the machine may be wanted before the gateway answers. */
  async watchLeft(): Promise<void> {
    await removeOrphans(this.#host, this.#host.agents)
  }

  async look(machine: MachineConfig): Promise<MachineLook> {
    return await lookAtDisks(machine)
  }

  async checkpoints(machine: MachineConfig): Promise<CheckpointList> {
    return await listStored(this.#host.run, machine, this.#host.agents)
  }

  /** Also DISK_IN_USE. */
  async forget(machine: Machine, disk: string | null): Promise<Forgotten> {
    const { name, address } = machine
    const host = this.#host
    return await this.#held.holding(machine, async (release) => {
      await host.journal.refuseUnknown(machine)
      for (const entry of await offlineEntries(host.journal))
        if (disk === null && (entry.machine.address === address || entry.machine.name === name))
          await finishLease(host, entry, 'failed')
      const forgotten = await forgetDisks(host, keysOf(machine).disks, disk)
      const { removed, left } = forgotten
      host.log.info({ machine: name, disk, removed: removed.length, left: left.length }, 'forgot checkpoints')
      release()
      return forgotten
    })
  }

  /** Leases stay for the next agent. */
  [Symbol.asyncDispose](): Promise<void> {
    for (const lease of this.#leases.values()) lease.leave()
    return Promise.resolve()
  }

  #keep(lease: OfflineLease): OfflineLease {
    this.#leases.set(lease.id, lease)
    return lease
  }

  #ended(id: string, release: () => void): void {
    this.#leases.delete(id)
    release()
  }

  /** The lease whose daemon still runs; null, with the daemon left to be settled, where something is missing. */
  async #rejoin(entry: OfflineEntry, daemon: StorageDaemon, release: () => void): Promise<OfflineLease | null> {
    const host = this.#host
    try {
      const client = await QmpClient.connect({ path: monitorSocket(entry.folder) })
      const why = await findBreak(client, entry)
      const end = (): void => this.#ended(entry.id, release)
      if (why === null) return new OfflineLease({ host, entry, client, daemon, onEnd: end })
      client.close()
      host.log.info({ lease: entry.id, machine: entry.machine.name, why }, 'the lease cannot continue')
    } catch (error) {
      host.log.info({ lease: entry.id, machine: entry.machine.name, err: error }, 'the lease cannot continue')
    }
    daemon.leave()
    return null
  }

  async #clear(machine: Machine): Promise<void> {
    const { journal, log, agents } = this.#host
    try {
      await journal.refuseUnknown(machine)
      await removeOrphans(this.#host, agents)
    } catch (error) {
      log.warn({ machine: machine.name, err: error }, 'what earlier runs left cannot be removed yet')
    }
  }

  /** Finishes earlier leases of the machine whose outcome is known; LEASE_HELD when one is not. */
  async #settleEarlier(request: LeaseRequest): Promise<void> {
    const { name, address } = request.machine
    const isIts = ({ machine }: OfflineEntry): boolean => machine.address === address || machine.name === name
    for (const { entry, outcome } of earlierLeases(await offlineEntries(this.#host.journal), request, isIts))
      await finishLease(this.#host, entry, outcome)
  }
}
