// Ends a lease's backup whose scratch space is low, and resumes a guest that stopped because it was full.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import { isThere } from '../scratch-guard-order.ts'
import type { LibvirtEntry } from './entry.ts'
import { endBackup } from './job.ts'
import { keysOf } from './keys.ts'
import { domainOf } from './run-state.ts'

/**
 * How long a rescue waits for clients of the backup, in milliseconds: a handshake takes much less unless its client hangs, and
 * those that read do not leave before the backup has ended.
 */
const CLIENTS_LIMIT_MS = 1_000

/** What a rescue needs of a lease. */
export interface Rescued {
  readonly uri: string
  readonly uuid: string
  readonly socketPath: string
  readonly folder: string
  readonly disks: readonly string[]
}

export const rescuedOf = ({ machine, uuid, socketPath, scratchFolder, disks }: LibvirtEntry): Rescued => ({
  uri: keysOf(machine).uri,
  uuid,
  socketPath,
  folder: scratchFolder,
  disks: disks.map(({ name }) => name),
})

/** The file that notes that the machine had stopped on an error before the lease began. */
const markerFile = (folder: string): string => join(folder, 'stopped-before')

const isStoppedByError = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<boolean> => {
  const { state, reason } = await caller.domainState(domain)
  return state === 'paused' && reason === 'io-error'
}

/** Called before a lease's instant: a machine that has already stopped is not ours to resume. */
export const noteStopped = async (caller: LibvirtCaller, domain: LibvirtDomain, folder: string): Promise<void> => {
  if (await isStoppedByError(caller, domain)) await writeFile(markerFile(folder), '')
}

/**
 * Whether the machine is stopped because the lease's scratch space is full: it ran at the instant, it has stopped on an
 * error, and every disk that has one has no space and is the lease's. Only meaningful while the scratch space is low.
 */
export const isStoppedByScratch = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  { disks, folder }: Pick<Rescued, 'disks' | 'folder'>,
): Promise<boolean> => {
  if (!(await isStoppedByError(caller, domain))) return false
  if (await isThere(markerFile(folder))) return false
  const failed = await caller.diskErrors(domain)
  return failed.length > 0 && failed.every(({ disk, error }) => error === 'no-space' && disks.includes(disk))
}

/** Ends the backup of a lease whose scratch space is low; true when it had to resume the guest. */
export const giveUpBackup = async (caller: LibvirtCaller, rescued: Rescued): Promise<boolean> => {
  const domain = await domainOf(caller, rescued.uuid)
  if (domain === null || domain.id === null) return false
  // looked at first: a stopped guest has a reason to be resumed only until the scratch files are gone
  const stopped = await isStoppedByScratch(caller, domain, rescued)
  await endBackup(caller, domain, rescued.socketPath, CLIENTS_LIMIT_MS)
  const stands = stopped || (await isStoppedByScratch(caller, domain, rescued))
  if (stands) await caller.resume(domain)
  return stands
}
