// Begins one lease in libvirt: plans it for the disks as they are, has the backup and its checkpoint made, or leaves nothing.

import { VarveError } from '../../../protocol/errors.ts'
import { LIBVIRT_CODES } from '../../libvirt/codes.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import { libvirtGuest } from '../../guest/libvirt-guest.ts'
import { hookedLease } from '../../hooks/hooked.ts'
import { libvirtRun } from '../../guest/paused-machine.ts'
import { decideDisks } from '../decide.ts'
import type { Lease, LeaseRequest } from '../driver.ts'
import { undoBegin } from '../ending.ts'
import { checkWish, takeInstant, type Instant } from '../instant.ts'
import { guardFrom, type WaitingGuard } from '../scratch-guard.ts'
import { DisksChanged } from '../seen-disks.ts'
import { writeEntry, type LibvirtEntry } from './entry.ts'
import { finishLease, isGone, isObsoleteOf, removeObsolete } from './finish.ts'
import type { LibvirtHost } from './host.ts'
import { keysOf } from './keys.ts'
import { LibvirtLease } from './libvirt-lease.ts'
import { look, refuseChange, type DomainLook, type Learned } from './look.ts'
import { backupXml, checkpointXml, planLease } from './plan.ts'
import { noteStopped } from './rescue.ts'
import { refuseBlockJobs } from './run-state.ts'
import { startScratchGuard, waitingGuard } from './scratch-guard.ts'
import { makeScratch } from './scratch-folders.ts'

/** The oldest libvirt and QEMU in which incremental backups are on by default, as libvirt numbers them. */
const LIBVIRT_MIN = 7_006_000
const QEMU_MIN = 6_001_000

const MILLION = 1_000_000

/** A version as people write it. */
export const versionText = (version: number): string =>
  [Math.floor(version / MILLION), Math.floor(version / 1000) % 1000, version % 1000].join('.')

/** Refuses what is too old with DISK_UNSUPPORTED. */
export const checkVersions = async (caller: LibvirtCaller): Promise<void> => {
  const qemu = await caller.hypervisorVersion()
  const [what, has, needs] =
    caller.version < LIBVIRT_MIN ? ['libvirt', caller.version, LIBVIRT_MIN] : ['QEMU', qemu, QEMU_MIN]
  if (has >= needs) return
  const sentence = `${what} ${versionText(has)} is too old for incremental backups; ${versionText(needs)} is needed`
  throw new VarveError('DISK_UNSUPPORTED', sentence)
}

/** The inputs of a new lease; `release` is called once the machine is free again. */
export interface Beginning {
  readonly caller: LibvirtCaller
  readonly domain: LibvirtDomain
  readonly request: LeaseRequest
  readonly release: () => void
}

/** A refusal that told something of a disk, with which the lease is planned again. */
class DiskRefused extends VarveError {
  readonly learned: keyof Learned
  readonly disks: readonly string[]

  constructor(cause: VarveError, learned: keyof Learned, disks: readonly string[]) {
    super(cause.code, cause.message, { details: cause.details, cause })
    this.learned = learned
    this.disks = disks
  }
}

/** A bitmap cannot be stored in the image of QEMU's node `libvirt-N-format`. */
const NO_BITMAP = /(libvirt-\d{1,6}-format)': .*(?:Cannot store dirty bitmaps|not support|[Bb]itmap)/

/** A checkpoint's bitmap that is missing or broken, with the disk that it is of. */
const BROKEN_DISK = /for disk '([^']{1,255})'/

/** What a refused backup means. */
const asBeginError = (thrown: unknown, entry: LibvirtEntry, { seen }: DomainLook): unknown => {
  if (!isLibvirtError(thrown)) return thrown
  const { details: told } = thrown
  const said = String(told['message'])
  const details = { machine: entry.machine.name }
  if (isLibvirtError(thrown, LIBVIRT_CODES.checkpointInconsistent)) {
    const named = BROKEN_DISK.exec(said)?.[1]
    const incremental = entry.disks.filter(({ base }) => base !== null).map(({ name }) => name)
    const broken = named !== undefined && incremental.includes(named) ? [named] : incremental
    return broken.length === 0 ? thrown : new DiskRefused(thrown, 'broken', broken)
  }
  const closed = [entry.scratchFolder, entry.socketFolder].find((folder) => said.includes(folder))
  if (closed !== undefined && said.includes('Permission denied')) {
    const sentence =
      `QEMU may not write to ${closed}: the agent is not root and its folders are not shared with QEMU's user, or AppArmor ` +
      `or SELinux keeps QEMU out; agent/README.md, "Who may write where", has what to do (${said})`
    return new VarveError('LIBVIRT_ERROR', sentence, { details: { ...told, ...details }, cause: thrown })
  }
  const node = NO_BITMAP.exec(said)?.[1]
  const without = seen.disks.find((disk) => disk.node === node && disk.holdsBitmaps)
  if (without !== undefined) return new DiskRefused(thrown, 'without', [without.name])
  if (isLibvirtError(thrown, LIBVIRT_CODES.operationTimeout)) {
    const sentence = `another job of libvirt holds machine ${entry.machine.name}: ${said}`
    return new VarveError('LEASE_HELD', sentence, { details, cause: thrown })
  }
  if (/block ?job|is in use|busy/i.test(said)) {
    const sentence = `a disk is busy with another job of QEMU: ${said}`
    return new VarveError('LEASE_HELD', sentence, { details, cause: thrown })
  }
  if (/snapshot/i.test(said)) {
    const sentence = `libvirt makes no checkpoint while machine ${entry.machine.name} has a snapshot: delete it ("virsh snapshot-delete"), or update libvirt (${said})`
    return new VarveError('DISK_UNSUPPORTED', sentence, { details, cause: thrown })
  }
  return thrown
}

/** The same lease, planned on what was seen. */
interface Planned extends Beginning {
  readonly entry: LibvirtEntry
  readonly found: DomainLook
  readonly waiting: WaitingGuard
}

const instantOf = async (host: LibvirtHost, { caller, domain, request, entry, found }: Planned): Promise<Instant> => {
  const { id: lease, machine, uuid } = entry
  const { hasGuestAgent, guestAgentSocket: socket } = found.description
  const address = libvirtGuest({ uri: keysOf(machine).uri, uuid, socket })
  const run = libvirtRun(caller, domain)
  const { freezeOnly } = request.machine
  const guest = { guestAgent: hasGuestAgent ? address : null, freezeOnly, monitor: address, run }
  const { consistency: wish, freezeTimeoutMs, onThawed } = request
  const take = async (): Promise<void> => {
    try {
      await caller.backupBegin(domain, backupXml(entry), checkpointXml(entry))
    } catch (error) {
      throw asBeginError(error, entry, found)
    }
  }
  const { thawer, stateFolder } = host
  const hooks = hookedLease(stateFolder, request)
  const what = { thawer, machine: machine.name, lease, guest, hooks, take }
  return await takeInstant({ ...what, wish, freezeTimeoutMs, onThawed })
}

const make = async (host: LibvirtHost, planned: Planned): Promise<Lease> => {
  const { caller, domain, entry, request, release, found, waiting } = planned
  await makeScratch(entry, found.description.owner)
  await noteStopped(caller, domain, entry.scratchFolder)
  const guard = await guardFrom(startScratchGuard(entry, host.reserveBytes, waiting), async () => {
    const kept = new Set(await host.journal.keptCheckpoints(entry.id))
    if (request.base !== null && request.base.checkpoint !== null) kept.add(request.base.checkpoint)
    const isObsolete = isObsoleteOf([request.agentId, ...request.formerAgents], kept)
    const removed = await removeObsolete(host, caller, domain, isObsolete)
    for (const checkpoint of removed)
      host.log.info({ machine: request.machine.name, checkpoint }, 'removed an obsolete checkpoint')
  })
  const lease = new LibvirtLease({ host, entry, caller, guard, onEnd: release })
  try {
    const instant = await instantOf(host, planned)
    await refuseChange(caller, domain, entry.machine.name, found.seen)
    const active: LibvirtEntry = { ...entry, ...instant, phase: 'active' }
    await writeEntry(host.journal, active)
    lease.complete(active)
    await lease.check()
    return lease
  } catch (error) {
    lease.abandon()
    throw error
  }
}

/** What another attempt knows more: `changed` where the disks had changed. */
export type Again = 'changed' | Learned

const more = (learned: Learned, { learned: what, disks }: DiskRefused): Learned => ({
  ...learned,
  [what]: new Set([...learned[what], ...disks]),
})

/** The journal entry of the lease on what was seen. */
const plan = async (
  host: LibvirtHost,
  { caller, domain }: Beginning,
  found: DomainLook,
  request: LeaseRequest,
): Promise<LibvirtEntry> => {
  const { description } = found
  const disks = description.disks.map(({ name, format, fileName }) => ({ name, format, fileName }))
  const versions = { qemu: versionText(await caller.hypervisorVersion()), libvirt: versionText(caller.version) }
  return planLease({
    request,
    decisions: decideDisks(found.seen, request),
    base: found.base?.name ?? null,
    folders: host.folders,
    domain: { uuid: domain.uuid, instance: domain.id ?? 0 },
    configuration: { ...description.configuration, ...versions, disks },
  })
}

/** Begins with the disks as they are now; with nothing left, what the next attempt must know. */
export const tryToBegin = async (host: LibvirtHost, beginning: Beginning, learned: Learned): Promise<Lease | Again> => {
  const { caller, domain, request } = beginning
  // it takes longer to start than the looks take
  using waiting = waitingGuard()
  const bare = await look(caller, domain, { ...request, base: null }, learned)
  checkWish(request.consistency, bare.description.hasGuestAgent, request.machine.name)
  let entry = await plan(host, beginning, bare, { ...request, base: null, refuseFull: [], refuseLeftOut: [] })
  // the base's checkpoint is noted in libvirt for the lease: from here on its end takes that back
  entry = { ...entry, baseLease: request.base?.checkpoint ?? null, baseAgent: request.base?.agent ?? null }
  await writeEntry(host.journal, entry)
  try {
    const found = await look(caller, domain, request, learned)
    entry = await plan(host, beginning, found, request)
    const names = entry.disks.map(({ name }) => name)
    await refuseBlockJobs(caller, domain, names)
    await writeEntry(host.journal, entry)
    return await make(host, { ...beginning, entry, found, waiting })
  } catch (error) {
    const finish = (): Promise<void> => finishLease(host, entry, 'failed')
    if (!(await undoBegin(host, entry, error, { finish, isGone }))) throw error
    if (error instanceof DisksChanged) return 'changed'
    if (error instanceof DiskRefused) return more(learned, error)
    throw error
  }
}
