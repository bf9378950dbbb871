// Driver `libvirt`: backups and checkpoints that libvirt makes, in pull mode, and never its QEMU's monitor behind its back.

import { join } from 'node:path'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { CheckpointList, Forgotten } from '../../../protocol/methods.ts'
import { libvirtAttachments } from '../../attachments/libvirt.ts'
import { readerOfLibvirt } from '../../attachments/reader.ts'
import type { LibvirtConnection } from '../../libvirt/connection.ts'
import type { LibvirtLinkState } from '../../libvirt/link.ts'
import type { LibvirtCaller, LibvirtDomain, LibvirtEvent } from '../../libvirt/types.ts'
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
import { LeftLeases } from '../left-leases.ts'
import { freeBytes, prepareFolders, removeScratch, runtimeFolder } from '../scratch.ts'
import { BEGIN_ATTEMPTS_MAX, keepChanging } from '../seen-disks.ts'
import { CheckpointNotes } from './checkpoint-notes.ts'
import { checkVersions, tryToBegin } from './begin.ts'
import { fromJournal, libvirtEntries, type LibvirtEntry } from './entry.ts'
import { finishEarlier, finishLease } from './finish.ts'
import { forgetDomain, forgetOff } from './forget.ts'
import type { LibvirtHost } from './host.ts'
import { keysOf, uuidText } from './keys.ts'
import { findBreak, LibvirtLease } from './libvirt-lease.ts'
import { LibvirtLinks } from './links.ts'
import { listOff, listRunning } from './listing.ts'
import type { Learned } from './look.ts'
import { lookAtMachine } from './machine-look.ts'
import { removeOrphan } from './orphans.ts'
import { giveUpBackup, rescuedOf } from './rescue.ts'
import { findDomain, hasLeft, isArriving, isBusy, refuseBusy, refuseMoving, refuseOff } from './run-state.ts'
import { startScratchGuard } from './scratch-guard.ts'
import { offlineMachine } from './when-off.ts'

/** How often a lease starts over because libvirt refused a disk. */
const REFUSALS_MAX = 256

/** Parts of the driver that a test may replace. */
export interface LibvirtDriverParts {
  /** Folder with a short path for the NBD sockets; /run for root, else the temporary folder. */
  readonly runtimeFolder?: string
  readonly freeBytes?: (folder: string) => Promise<number>
  /** Wraps every connection of the leases. */
  readonly between?: (connection: LibvirtConnection) => LibvirtCaller
}

export class LibvirtDriver implements LeaseDriver {
  readonly monitor = null
  readonly #links = new LibvirtLinks()
  readonly #host: LibvirtHost
  readonly #left: LeftLeases<LibvirtEntry>
  readonly #held = new HeldMachines()
  /** Ends the listening of machines that are attached, by address. */
  readonly #attached = new Map<string, () => void>()

  constructor(host: DriverHost, parts: LibvirtDriverParts = {}) {
    const { between = (connection) => connection } = parts
    this.#host = {
      ...host,
      connect: async (uri) => between(await this.#links.of(uri).client()),
      freeBytes: parts.freeBytes ?? freeBytes,
      notes: new CheckpointNotes(host.stateFolder),
      folders: {
        scratch: join(host.stateFolder, 'scratch'),
        runtime: parts.runtimeFolder ?? runtimeFolder(),
      },
      watchLeft: (entry) => this.#left.watch(entry),
    }
    this.#left = new LeftLeases({
      ...this.#host,
      startGuard: (entry) => startScratchGuard(entry, host.reserveBytes),
      giveUp: async (entry) =>
        await giveUpBackup(await this.#host.connect(keysOf(entry.machine).uri), rescuedOf(entry)),
    })
  }

  async begin(request: LeaseRequest): Promise<Lease> {
    checkLeaseId(request.leaseId)
    const { machine } = request
    const host = this.#host
    return await this.#held.holding(machine, async (release) => {
      await host.journal.refuseUnknown(machine)
      const caller = await host.connect(keysOf(machine).uri)
      await checkVersions(caller)
      const domain = await findDomain(caller, machine)
      await refuseOff(caller, domain, machine.name)
      await refuseMoving(caller, domain, machine.name)
      await this.#settleEarlier(request, caller, domain)
      await prepareFolders(host)
      await removeOrphan(host, caller, domain, [request.agentId, ...request.formerAgents])
      await refuseBusy(caller, domain, machine.name)
      let learned: Learned = { without: new Set(), broken: new Set() }
      for (let attempt = 1, refusals = 0; ;) {
        const begun = await tryToBegin(host, { caller, domain, request, release }, learned)
        if (begun === 'changed') attempt += 1
        else if ('without' in begun) {
          learned = begun
          refusals += 1
        } else return begun
        if (attempt > BEGIN_ATTEMPTS_MAX || refusals > REFUSALS_MAX) {
          throw keepChanging(machine.name)
        }
        host.log.info({ machine: machine.name, attempt, refusals }, 'the lease begins again, with what is known now')
      }
    })
  }

  async whenOff(machine: MachineConfig, { code }: VarveError): Promise<MachineConfig | null> {
    if (code !== 'MACHINE_OFF') return null
    try {
      const { uri } = keysOf(machine)
      const caller = await this.#host.connect(uri)
      const domain = await findDomain(caller, machine)
      if (domain.id !== null || (await hasLeft(caller, domain))) return null
      const definition = await caller.domainXml(domain, { inactive: true })
      return offlineMachine(machine, definition, await readerOfLibvirt(uri))
    } catch (error) {
      this.#host.log.warn({ machine: machine.name, err: error }, 'the disks of a domain that is off are not known')
      return null
    }
  }

  async identify(machine: MachineConfig): Promise<MachineIdentity> {
    try {
      const caller = await this.#host.connect(keysOf(machine).uri)
      const domain = await findDomain(caller, machine)
      return { uuid: domain.uuid, here: domain.id !== null && !(await isArriving(caller, domain)) }
    } catch {
      return { uuid: null, here: false }
    }
  }

  async attachments(machine: MachineConfig): Promise<readonly AttachmentSource[]> {
    try {
      const { uri } = keysOf(machine)
      const caller = await this.#host.connect(uri)
      const domain = await findDomain(caller, machine)
      const xml = await caller.domainXml(domain, { inactive: await caller.isPersistent(domain) })
      const autostart = await caller.autostart(domain).catch(() => null)
      return libvirtAttachments({ xml, autostart, uri, reader: await readerOfLibvirt(uri) })
    } catch (thrown) {
      return [{ name: 'domain.xml', missing: asVarveError(thrown).message }]
    }
  }

  async adopt(journalled: JournalEntry): Promise<Lease | null> {
    const host = this.#host
    const entry = fromJournal(journalled)
    const { machine } = entry
    if (entry.phase !== 'active' || entry.outcome !== null) return null
    return await this.#held.holding(machine, async (release) => {
      const caller = await host.connect(keysOf(machine).uri)
      const why = await findBreak(caller, entry)
      if (why !== null) {
        host.log.info({ lease: entry.id, machine: machine.name, why }, 'the lease cannot continue')
        release()
        return null
      }
      const guard = await startScratchGuard(entry, host.reserveBytes)
      this.#left.release(entry.id)
      return new LibvirtLease({ host, entry, caller, guard, onEnd: release })
    })
  }

  /** MACHINE_OFF while the domain does not run and bitmaps may remain in its images; LIBVIRT_UNAVAILABLE. */
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

  /** A connection to libvirt that is being restored is worth another try. */
  isPassing({ code }: VarveError): boolean {
    return code === 'LIBVIRT_UNAVAILABLE' || code === 'LIBVIRT_TIMEOUT'
  }

  attach(machine: Machine): void {
    const link = this.#links.of(keysOf(machine).uri)
    const onState = (state: LibvirtLinkState): void => {
      this.#host.log.info({ machine: machine.name, libvirt: state }, 'machine')
      if (state === 'up') void this.#clearOrphans(machine)
      this.#host.onMoved?.(machine.name)
    }
    const { domain } = keysOf(machine)
    const onEvent = (event: LibvirtEvent): void => {
      const isIts = event.domain.name === domain || event.domain.uuid === uuidText(domain)
      if (isIts && event.kind === 'lifecycle') this.#host.onMoved?.(machine.name)
    }
    this.detach(machine)
    const endings = [link.onState(onState), link.subscribe(onEvent)]
    this.#attached.set(machine.address, () => endings.forEach((end) => end()))
    if (link.state === 'up') onState('up')
    link.start()
  }

  detach(machine: Machine): void {
    this.#attached.get(machine.address)?.()
    this.#attached.delete(machine.address)
  }

  async watchLeft(): Promise<void> {
    for (const entry of await libvirtEntries(this.#host.journal)) this.#left.watch(entry)
  }

  async look(machine: MachineConfig): Promise<MachineLook> {
    return await lookAtMachine(() => this.#host.connect(keysOf(machine).uri), machine)
  }

  async checkpoints(machine: MachineConfig): Promise<CheckpointList> {
    const host = this.#host
    const caller = await host.connect(keysOf(machine).uri)
    const domain = await findDomain(caller, machine)
    const listing = { host, caller, domain, machine }
    if (domain.id === null) {
      if (await hasLeft(caller, domain)) await refuseOff(caller, domain, machine.name)
      return await listOff(listing)
    }
    const free = await this.#held.briefly(machine, async () =>
      (await this.#isLeased(machine, domain.uuid)) || (await isBusy(caller, domain))
        ? null
        : await listRunning({ ...listing, mayNote: true }),
    )
    return free ?? (await listRunning({ ...listing, mayNote: false }))
  }

  /** Also LIBVIRT_UNAVAILABLE, and MACHINE_OFF for a domain that does not run and whose images are not here. */
  async forget(machine: Machine, disk: string | null): Promise<Forgotten> {
    const { name, address } = machine
    const host = this.#host
    return await this.#held.holding(machine, async (release) => {
      await host.journal.refuseUnknown(machine)
      const caller = await host.connect(keysOf(machine).uri)
      const domain = await findDomain(caller, machine)
      const runs = domain.id !== null
      if (runs) await refuseMoving(caller, domain, name)
      const entries = (await libvirtEntries(host.journal)).filter(
        (entry) => disk === null && (entry.machine.address === address || entry.machine.name === name),
      )
      if (runs) for (const entry of entries) await finishEarlier(host, caller, domain, { entry, outcome: 'failed' })
      const forgotten = await (runs
        ? forgetDomain(host, caller, domain, disk)
        : forgetOff(host, caller, domain, machine, disk))
      const { removed, left } = forgotten
      for (const entry of entries) {
        this.#left.release(entry.id)
        if (runs || left.length > 0) continue
        // what such a lease has in the images is gone with the rest
        await removeScratch(entry)
        await host.journal.remove(entry.id)
      }
      host.log.info({ machine: name, disk, removed: removed.length, left: left.length }, 'forgot checkpoints')
      release()
      return forgotten
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#links[Symbol.asyncDispose]()
  }

  /** Ends a backup of ours that the journal does not know: nothing can resume it, and nothing watches its scratch space. */
  async #clearOrphans(machine: Machine): Promise<void> {
    const { agents, connect, journal, log } = this.#host
    try {
      await journal.refuseUnknown(machine)
      const caller = await connect(keysOf(machine).uri)
      const domain = await findDomain(caller, machine)
      if (domain.id !== null) await removeOrphan(this.#host, caller, domain, agents)
    } catch (error) {
      log.warn({ machine: machine.name, err: error }, 'what earlier runs left cannot be removed yet')
    }
  }

  /** Whether a lease of the domain is, or may be, in the journal. */
  async #isLeased(machine: Machine, uuid: string): Promise<boolean> {
    const { journal } = this.#host
    const unknown = await journal.refuseUnknown(machine).then(
      () => false,
      () => true,
    )
    return unknown || (await libvirtEntries(journal)).some((entry) => entry.uuid === uuid)
  }

  /** Finishes earlier leases of the machine whose outcome is known; LEASE_HELD when one is not. */
  async #settleEarlier(request: LeaseRequest, caller: LibvirtCaller, domain: LibvirtDomain): Promise<void> {
    for (const { entry, outcome } of earlierLeases(await libvirtEntries(this.#host.journal), request))
      if (await finishEarlier(this.#host, caller, domain, { entry, outcome })) this.#left.release(entry.id)
  }
}
