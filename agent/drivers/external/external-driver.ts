// Driver `external`: reads machines whose leases somebody else holds, who says where, and since when their bitmaps record.

import { VarveError } from '../../../protocol/errors.ts'
import type { CheckpointList, Forgotten } from '../../../protocol/methods.ts'
import type { AttachmentSource } from '../../attachments/source.ts'
import { processState } from '../../process-mark.ts'
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
import { decideGiven, refuseGiven, type GivenDecision } from './decide.ts'
import {
  EXTERNAL_DRIVER,
  externalEntries,
  fromJournal,
  writeEntry,
  type ExternalDisk,
  type ExternalEntry,
} from './entry.ts'
import { ExternalLease } from './external-lease.ts'
import { lookAt } from './look.ts'
import { Offers, type Given } from './offers.ts'
import { Records, type KnownDisk, type MachineRecord } from './records.ts'
import { markSockets } from './socket-marks.ts'

/** Disks that are looked at at once. */
const LOOKS_AT_ONCE = 8

const NOTE = 'its lease is held by somebody else: whether the guest was frozen is not known here'

const diskOf = ({ seen, kind, reason, base, reread }: GivenDecision): ExternalDisk => {
  const { disk, size, exporter, clips, isNarrow } = seen
  const { name, socketPath, exportName, bitmap } = disk
  return {
    name,
    size,
    socketPath,
    exportName,
    bitmap,
    exporter,
    clips,
    isNarrow,
    kind,
    reason,
    base: base === null ? null : { name: base },
    // nothing but what is recorded here proves a bitmap of somebody else's
    evidence: 'external',
    comparedChunks: 0,
    reread: reread.map(([offset, length]) => [offset, length]),
  }
}

/**
 * What is known once a lease has been looked at. Of a bitmap in spite of which all must be read nothing is known any more,
 * whatever the reason: where its export lets only its ranges be read, the next lease must have a new one.
 */
export const lookedAt = (
  record: MachineRecord,
  given: Pick<Given, 'offer'>,
  decisions: readonly GivenDecision[],
): MachineRecord => {
  const kept = record.disks.flatMap((known): KnownDisk[] => {
    const decision = decisions.find(({ seen }) => seen.disk.name === known.name)
    if (decision === undefined) return [known]
    const { disk, changed } = decision.seen
    return disk.state !== 'reuse' || decision.kind === 'full' ? [] : [{ ...known, seen: changed && copyOf(changed) }]
  })
  const exporter = decisions.map(({ seen }) => seen.exporter).find((mark) => mark !== null) ?? null
  return { ...record, uuid: given.offer.uuid ?? record.uuid, exporter, disks: kept }
}

const copyOf = (ranges: readonly (readonly [number, number])[]): [number, number][] =>
  ranges.map(([offset, length]) => [offset, length])

/** What is known once a lease is committed; one without a bitmap leaves it as it is, as the gateway does with the base. */
const committed = (record: MachineRecord, { id, timeMs, disks }: ExternalEntry): MachineRecord => {
  if (disks.every(({ bitmap }) => bitmap === null)) return record
  const known = disks.flatMap(({ name, size, bitmap, exporter, kind }): KnownDisk[] => {
    if (bitmap === null) return []
    const before = record.disks.find((disk) => disk.name === name)
    const instantMs = timeMs ?? 0
    const fullMs = kind === 'full' ? instantMs : (before?.fullMs ?? 0)
    return [{ name, size, bitmap, point: id, exporter, fullMs, seen: [] }]
  })
  return { ...record, disks: known }
}

export class ExternalDriver implements LeaseDriver {
  readonly monitor = null
  readonly #host: DriverHost
  readonly #offers: Offers
  readonly #records: Records
  readonly #held = new HeldMachines()
  /** Leases of this process. */
  readonly #leases = new Set<ExternalLease>()

  constructor(host: DriverHost) {
    this.#host = host
    this.#offers = host.offers ?? new Offers()
    this.#records = new Records(host.stateFolder)
  }

  /** LEASE_NOT_GIVEN unless a lease of the machine is offered just now, BITMAP_UNPROVED. */
  async begin(request: LeaseRequest): Promise<Lease> {
    checkLeaseId(request.leaseId)
    const { machine, consistency } = request
    const given = this.#offers.of(machine.name)
    if (given === null || !given.take()) {
      const sentence = `machine ${machine.name} is backed up only under a lease that somebody gives ("varve-agent external backup"), and none is given now`
      throw new VarveError('LEASE_NOT_GIVEN', sentence, { details: { machine: machine.name } })
    }
    if (consistency === 'freeze-required')
      throw new VarveError('FREEZE_REQUIRED', `the policy requires a freeze of machine ${machine.name}, but ${NOTE}`)
    return await this.#held.holding(machine, async (release) => {
      await this.#host.journal.refuseUnknown(machine)
      for (const { entry, outcome } of earlierLeases(await externalEntries(this.#host.journal), request))
        await this.#finish(entry, outcome)
      return await this.#make(request, given, release)
    })
  }

  whenOff(): Promise<MachineConfig | null> {
    return Promise.resolve(null)
  }

  /** It is here while its lease is given, or the process that served its disks last runs. */
  async identify({ name }: MachineConfig): Promise<MachineIdentity> {
    const given = this.#offers.of(name)
    const { uuid, exporter } = await this.#records.of(name)
    const here = given !== null || (exporter !== null && processState(exporter) !== 'gone')
    return { uuid: given?.offer.uuid ?? uuid, here }
  }

  attachments({ name }: MachineConfig): Promise<readonly AttachmentSource[]> {
    return Promise.resolve(this.#offers.of(name)?.offer.files ?? [])
  }

  /** Its holder has ended it when the agent ended. */
  adopt(): Promise<Lease | null> {
    return Promise.resolve(null)
  }

  async settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    await this.#held.holding(entry.machine, async (release) => {
      await this.#finish(fromJournal(entry), outcome)
      release()
    })
  }

  /** It has none outside of the state folder. */
  removeFiles(): Promise<void> {
    return Promise.resolve()
  }

  isPassing(): boolean {
    return false
  }

  attach(): void {
    // nothing of Varve's is in such a machine
  }

  detach(): void {
    // as above
  }

  watchLeft(): Promise<void> {
    return Promise.resolve()
  }

  look({ name }: MachineConfig): Promise<MachineLook> {
    const isGiven = this.#offers.of(name) !== null
    const problem = isGiven ? null : 'its lease is held by somebody else, who gives it for each backup'
    const nothing = { runState: null, hypervisor: null, disks: [], leftOut: [] }
    return Promise.resolve({ reachable: isGiven, problem, ...nothing })
  }

  /** Its bitmaps are its holder's. */
  checkpoints(): Promise<CheckpointList> {
    return Promise.resolve({ checkpoints: [], omitted: 0 })
  }

  /** Forgets what was recorded, so that the next backup reads in full. */
  async forget(machine: Machine, disk: string | null): Promise<Forgotten> {
    return await this.#held.holding(machine, async (release) => {
      await this.#host.journal.refuseUnknown(machine)
      for (const entry of await externalEntries(this.#host.journal))
        if (disk === null && entry.machine.name === machine.name) await this.#finish(entry, 'failed')
      const record = await this.#records.of(machine.name)
      const gone = record.disks.filter(({ name }) => disk === null || name === disk)
      if (disk !== null && gone.length === 0)
        throw new VarveError('NOT_FOUND', `machine ${machine.name} has no checkpoint on a disk ${disk}`)
      if (disk === null) await this.#records.remove(machine.name)
      else await this.#records.write({ ...record, disks: record.disks.filter(({ name }) => name !== disk) })
      release()
      return { removed: gone.map(({ name, bitmap }) => ({ node: name, bitmap })), left: [] }
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const lease of this.#leases) lease.leave()
    return Promise.resolve()
  }

  async #make(request: LeaseRequest, given: Given, release: () => void): Promise<ExternalLease> {
    const { leaseId, agentId, machine, base, consistency } = request
    const { offer } = given
    const { journal, log } = this.#host
    const sockets = await markSockets(offer.disks.map(({ socketPath }) => socketPath))
    const exports = []
    for (let from = 0; from < offer.disks.length; from += LOOKS_AT_ONCE)
      exports.push(...(await Promise.all(offer.disks.slice(from, from + LOOKS_AT_ONCE).map(lookAt))))
    const record = await this.#records.of(machine.name)
    const decided = decideGiven(exports, record.disks, request)
    const { disks, leftOut } = decided
    // before anything is refused or read: what this lease shows counts however it ends
    await this.#records.write(lookedAt(record, given, disks))
    for (const { seen, doubt } of disks)
      if (doubt !== null) log.warn({ machine: machine.name, disk: seen.disk.name, doubt }, 'a bitmap is not trusted')
    refuseGiven(decided, request)
    const { name, address, keys } = machine
    const entry: ExternalEntry = {
      id: leaseId,
      agentId,
      formerAgents: [...request.formerAgents],
      machine: { name, driver: EXTERNAL_DRIVER, address, keys },
      phase: 'active',
      outcome: null,
      baseLease: base?.checkpoint ?? null,
      baseAgent: base?.agent ?? null,
      refuseFull: [...request.refuseFull],
      compareAll: request.compare,
      leftOut: [...leftOut],
      timeMs: offer.timeMs,
      consistency: 'crash',
      consistencyNote: consistency === 'none' ? null : NOTE,
      configuration: { name, disks: exports.map(({ disk, size }) => ({ name: disk.name, size, format: 'nbd' })) },
      uuid: offer.uuid,
      disks: disks.map(diskOf),
    }
    await writeEntry(journal, entry)
    const lease: ExternalLease = new ExternalLease({
      entry,
      given,
      sockets,
      write: (changed) => writeEntry(journal, changed),
      finish: async (last, outcome) => {
        try {
          await this.#finish(last, outcome)
        } finally {
          this.#leases.delete(lease)
          release()
        }
      },
    })
    this.#leases.add(lease)
    return lease
  }

  /** Records what a committed lease proves for the next one, then removes the entry. */
  async #finish(entry: ExternalEntry, outcome: LeaseOutcome): Promise<void> {
    const ending = { ...entry, phase: 'ending' as const, outcome: entry.outcome ?? outcome }
    await writeEntry(this.#host.journal, ending)
    if (ending.outcome === 'committed')
      await this.#records.write(committed(await this.#records.of(entry.machine.name), entry))
    await this.#host.journal.remove(entry.id)
  }
}
