// Ends a lease for good: removes what it left in the guest, in libvirt, on disk and in the journal, in this order.

import { VarveError } from '../../../protocol/errors.ts'
import { LIBVIRT_CODES } from '../../libvirt/codes.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import type { LeaseOutcome } from '../driver.ts'
import { endLease } from '../ending.ts'
import { lookAtScratch } from '../scratch-watch.ts'
import { findCheckpoint, hideCheckpoint, removeCheckpoint, removeNamed } from './checkpoints.ts'
import { readDomain } from './domain-xml.ts'
import { writeEntry, type LibvirtEntry } from './entry.ts'
import type { LibvirtHost } from './host.ts'
import { endBackup } from './job.ts'
import { keysOf } from './keys.ts'
import { leaseOfCheckpoint } from './names.ts'
import { isStoppedByScratch, rescuedOf } from './rescue.ts'
import { domainOf, machineOff } from './run-state.ts'

/** Whether an error says that the domain has ended, so that only its images remain. */
export const isGone = (error: unknown): boolean => error instanceof VarveError && error.code === 'MACHINE_OFF'

/** Names of the disks that may have bitmaps. */
export const bitmapDisks = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<readonly string[]> =>
  readDomain(await caller.domainXml(domain)).disks.flatMap(({ name, format }) => (format === 'qcow2' ? [name] : []))

/** Removes the checkpoints of leases that nothing needs any more, of these agents: their names. */
export const removeObsolete = async (
  { notes }: Pick<LibvirtHost, 'notes'>,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  isObsolete: (name: string) => boolean,
): Promise<readonly string[]> => {
  const listed = (await caller.listCheckpoints(domain)).map(({ name }) => name)
  const names = [...new Set([...listed, ...(await notes.of(domain.uuid))])].filter(isObsolete)
  const disks = names.length === 0 ? [] : await bitmapDisks(caller, domain)
  for (const name of names) {
    await removeNamed(caller, domain, name, disks)
    await notes.remove(domain.uuid, name)
  }
  return names
}

/** Whether a checkpoint is one of these agents', of a lease that is not kept. */
export const isObsoleteOf =
  (agents: readonly string[], kept: ReadonlySet<string>) =>
  (name: string): boolean => {
    const lease = leaseOfCheckpoint(name, agents)
    return lease !== null && !kept.has(lease)
  }

/** Has libvirt forget its notes of these agents' checkpoints, which are noted here from then on, and of those noted here. */
export const hideCheckpoints = async (
  { notes }: Pick<LibvirtHost, 'notes'>,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  agents: readonly string[],
): Promise<void> => {
  const noted = await notes.of(domain.uuid)
  for (const checkpoint of await caller.listCheckpoints(domain)) {
    if (leaseOfCheckpoint(checkpoint.name, agents) === null && !noted.includes(checkpoint.name)) continue
    await notes.add(domain.uuid, checkpoint.name)
    await hideCheckpoint(caller, checkpoint)
  }
}

const agentsOf = ({ agentId, formerAgents, baseAgent }: LibvirtEntry): readonly string[] => [
  agentId,
  ...formerAgents,
  ...(baseAgent === null ? [] : [baseAgent]),
]

/**
 * Removes the lease's own checkpoint. Its bitmaps may be there without libvirt's notes of them: it was killed before it wrote
 * them, or somebody deleted them. What libvirt refuses to look for now, the next backup removes.
 */
const removeOwn = async (
  { notes }: Pick<LibvirtHost, 'notes'>,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  { checkpoint, disks }: LibvirtEntry,
): Promise<void> => {
  if (checkpoint === null) return
  const noted = await findCheckpoint(caller, domain, checkpoint)
  if (noted !== null) return await removeCheckpoint(caller, noted)
  const recorded = new Set(disks.filter(({ bitmap }) => bitmap).map(({ name }) => name))
  const here = (await bitmapDisks(caller, domain)).filter((name) => recorded.has(name))
  try {
    await removeNamed(caller, domain, checkpoint, here)
  } catch (error) {
    if (!isLibvirtError(error) || isLibvirtError(error, LIBVIRT_CODES.operationInvalid, LIBVIRT_CODES.operationTimeout))
      throw error
    await notes.add(domain.uuid, checkpoint)
  }
}

const tearDown = async (
  host: LibvirtHost,
  entry: LibvirtEntry,
  outcome: LeaseOutcome,
): Promise<(() => Promise<void>) | null> => {
  const { machine, uuid, socketPath } = entry
  const caller = await host.connect(keysOf(machine).uri)
  const domain = await domainOf(caller, uuid)
  if (domain === null || domain.id === null) throw machineOff(machine.name)
  const free = await lookAtScratch({ folder: entry.scratchFolder, freeBytes: host.freeBytes })
  const stopped = free < host.reserveBytes && (await isStoppedByScratch(caller, domain, rescuedOf(entry)))
  await endBackup(caller, domain, socketPath)
  if (outcome === 'failed') await removeOwn(host, caller, domain, entry)
  else {
    // also where libvirt has no notes of it any more, it is found again
    if (entry.checkpoint !== null) await host.notes.add(uuid, entry.checkpoint)
    const kept = await host.journal.keptCheckpoints(entry.id)
    // a lease without a checkpoint leaves the base's: the next increment continues it
    const needed = entry.checkpoint === null && entry.baseLease !== null ? [entry.baseLease] : []
    const isObsolete = isObsoleteOf(agentsOf(entry), new Set([...kept, ...needed, entry.id]))
    await removeObsolete(host, caller, domain, isObsolete)
  }
  await hideCheckpoints(host, caller, domain, agentsOf(entry))
  return stopped ? () => caller.resume(domain) : null
}

/**
 * Removes exactly what the entry's lease made, then the entry; see endLease. MACHINE_OFF while the domain does not run and
 * bitmaps may remain in its images: the entry stays.
 */
export const finishLease = (host: LibvirtHost, entry: LibvirtEntry, outcome: LeaseOutcome): Promise<void> =>
  endLease(host, entry, outcome, {
    write: (ending) => writeEntry(host.journal, ending),
    tearDown: (settled) => tearDown(host, entry, settled),
    unavailable: 'LIBVIRT_UNAVAILABLE',
    isGone,
    hasBitmaps: entry.checkpoint !== null,
  })

/**
 * The same where the machine's domain is `domain` now. One that was defined anew has another uuid and the same images. False
 * for a lease of another domain that does not run, which had this one's name: the entry stays for that one.
 */
export const finishEarlier = async (
  host: LibvirtHost,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  { entry, outcome }: { readonly entry: LibvirtEntry; readonly outcome: LeaseOutcome },
): Promise<boolean> => {
  if (entry.uuid !== domain.uuid && (await domainOf(caller, entry.uuid)) === null) {
    const { uuid } = domain
    for (const name of await host.notes.of(entry.uuid)) {
      await host.notes.add(uuid, name)
      await host.notes.remove(entry.uuid, name)
    }
    await finishLease(host, { ...entry, uuid }, outcome)
    return true
  }
  try {
    await finishLease(host, entry, outcome)
    return true
  } catch (error) {
    if (!isGone(error) || entry.uuid === domain.uuid) throw error
    return false
  }
}
