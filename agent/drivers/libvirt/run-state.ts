// Whether a domain runs, and whether it is on its way from or to another host.

import { VarveError } from '../../../protocol/errors.ts'
import { LIBVIRT_CODES } from '../../libvirt/codes.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtDomain, LibvirtDomainState } from '../../libvirt/types.ts'
import type { Machine } from '../driver.ts'
import { isUuid, keysOf } from './keys.ts'

/** Most domains that an error lists. */
const NAMES_MAX = 12

/** The domain of a machine; NOT_FOUND lists those that libvirt has. */
export const findDomain = async (caller: LibvirtCaller, machine: Pick<Machine, 'keys'>): Promise<LibvirtDomain> => {
  const { domain, uri } = keysOf(machine)
  try {
    return await (isUuid(domain) ? caller.domainByUuid(domain.toLowerCase()) : caller.domainByName(domain))
  } catch (cause) {
    if (!isLibvirtError(cause, LIBVIRT_CODES.noDomain)) throw cause
    const names = (await caller.listAllDomains()).map(({ name }) => name)
    const more = names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : ''
    const has = names.length === 0 ? 'none' : names.slice(0, NAMES_MAX).join(', ') + more
    const sentence = `libvirt (${uri}) has no domain "${domain}"; it has: ${has}. Give its name or uuid as "domain"`
    throw new VarveError('NOT_FOUND', sentence, { details: { domain }, cause })
  }
}

/** The domain of a lease, whatever it is called now; null where libvirt has it no more. */
export const domainOf = async (caller: LibvirtCaller, uuid: string): Promise<LibvirtDomain | null> => {
  try {
    return await caller.domainByUuid(uuid)
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_CODES.noDomain)) return null
    throw error
  }
}

/** MACHINE_OFF for a domain that does not run. */
export const machineOff = (machine: string): VarveError =>
  new VarveError(
    'MACHINE_OFF',
    `machine ${machine} does not run: libvirt backs up running and paused domains; start it, or let its disks be read while it is off`,
    { details: { machine } },
  )

/** Whether a domain that does not run here has moved to another host, which may write its disks. */
export const hasLeft = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<boolean> => {
  const { state, reason } = await caller.domainState(domain)
  return state === 'shut-off' && reason === 'migrated'
}

/** Throws for a domain that does not run here: MACHINE_OFF, and MACHINE_MOVING for one that has moved to another host. */
export const refuseOff = async (caller: LibvirtCaller, domain: LibvirtDomain, machine: string): Promise<void> => {
  if (domain.id !== null) return
  if (!(await hasLeft(caller, domain))) throw machineOff(machine)
  const sentence = `machine ${machine} has moved to another host, and its disks may change there: back it up on that host, or start it here`
  throw new VarveError('MACHINE_MOVING', sentence, { details: { machine } })
}

const PAUSED_MOVING: ReadonlySet<string> = new Set(['migration', 'postcopy', 'postcopy-failed'])
const RUNNING_MOVING: ReadonlySet<string> = new Set(['postcopy', 'postcopy-failed'])

/** Whether the state is that of a domain whose disks another host writes, or will. */
const isMovingState = ({ state, reason }: LibvirtDomainState): boolean =>
  (state === 'paused' && PAUSED_MOVING.has(reason)) || (state === 'running' && RUNNING_MOVING.has(reason))

/** Whether the domain has not arrived from another host yet. */
export const isArriving = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<boolean> => {
  const { type, operation } = await caller.jobStats(domain)
  return (type === 'bounded' || type === 'unbounded') && operation === 'migration-in'
}

/** Why the domain's disks are, or may soon be, another host's, as a clause; null when they are not. */
export const findMove = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<string | null> => {
  const state = await caller.domainState(domain)
  if (isMovingState(state)) return `it is moving between hosts (${state.state}, ${state.reason})`
  const { type, operation } = await caller.jobStats(domain)
  const runs = type === 'bounded' || type === 'unbounded'
  if (runs && operation === 'migration-out') return 'it is moving to another host'
  if (runs && operation === 'migration-in') return 'it is arriving from another host'
  return null
}

/** MACHINE_MOVING if the domain is moving. */
export const refuseMoving = async (caller: LibvirtCaller, domain: LibvirtDomain, machine: string): Promise<void> => {
  const move = await findMove(caller, domain)
  if (move === null) return
  const sentence = `machine ${machine} is not backed up from here: ${move}; back it up on the host where it runs`
  throw new VarveError('MACHINE_MOVING', sentence, { details: { machine } })
}

/** LEASE_HELD while another job of libvirt is on the domain: it holds the lock that a backup needs. */
export const refuseBusy = async (caller: LibvirtCaller, domain: LibvirtDomain, machine: string): Promise<void> => {
  const { type, operation } = await caller.jobStats(domain)
  if (type !== 'bounded' && type !== 'unbounded') return
  const what = operation === 'backup' ? 'another backup' : `a job of libvirt (${operation})`
  const sentence = `${what} is under way on machine ${machine}: try again when it has ended ("virsh domjobinfo ${domain.name}")`
  throw new VarveError('LEASE_HELD', sentence, { details: { machine, operation } })
}

/** The same for block jobs: a copy, commit or pull on one of the disks. */
export const refuseBlockJobs = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  disks: readonly string[],
): Promise<void> => {
  for (const disk of disks) {
    const job = await caller.blockJobInfo(domain, disk)
    if (job === null) continue
    const sentence = `disk ${disk} is busy with a block job (${job.type}): try again when it has ended ("virsh blockjob ${domain.name} ${disk}")`
    throw new VarveError('LEASE_HELD', sentence, { details: { disk, job: job.type } })
  }
}

/** Whether the domain is moving, or has a job of libvirt. */
export const isBusy = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<boolean> => {
  const { type } = await caller.jobStats(domain)
  return type === 'bounded' || type === 'unbounded' || (await findMove(caller, domain)) !== null
}
