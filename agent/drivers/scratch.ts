// The folders of a lease's scratch space and sockets, whatever its driver.

import { readdir, rm, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { makeFolder } from '../make-folder.ts'
import { diskOfFile } from '../push/spool.ts'
import type { DriverHost } from './driver.ts'

export interface LeaseFolders {
  /** Holds a folder for each lease, named by its id. */
  readonly scratch: string
  /** Holds a folder with a short name for each lease's sockets. */
  readonly runtime: string
}

/** A folder with a short path for the sockets: /run for root, else that of temporary files. */
export const runtimeFolder = (): string => (process.getuid?.() === 0 ? '/run' : tmpdir())

/** Bytes that a file system has left for this process. */
export const freeBytes = async (folder: string): Promise<number> => {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** Bytes that files of a block's size take on the disk, as stat(2) counts. */
const STAT_BLOCK_BYTES = 512

/** What the files of a folder take on the disk, in bytes; 0 for a folder that is not there. */
const usedBytesOf = async (folder: string): Promise<number> => {
  const names = await readdir(folder).catch(() => [])
  const sizes = names.map(async (name) => {
    const found = await stat(path.join(folder, name)).catch(() => null)
    return found === null || !found.isFile() ? 0 : found.blocks * STAT_BLOCK_BYTES
  })
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
}

/** What each disk's files take in a folder to which QEMU writes so many disks, in bytes. */
export const useOfDisks = async (folder: string, disks: number): Promise<readonly number[]> => {
  const used = Array.from({ length: disks }, () => 0)
  for (const name of await readdir(folder).catch(() => [])) {
    const index = diskOfFile(name)
    const found = index === null ? null : await stat(path.join(folder, name)).catch(() => null)
    if (index !== null && index < disks) used[index]! += (found?.blocks ?? 0) * STAT_BLOCK_BYTES
  }
  return used
}

/** What the images in a scratch folder take, and what they may take before a backup is given up. */
export const useOf = async (
  folder: string,
  space: { readonly freeBytes: number; readonly reserveBytes: number },
): Promise<{ usedBytes: number; limitBytes: number }> => {
  const usedBytes = await usedBytesOf(folder)
  return { usedBytes, limitBytes: usedBytes + Math.max(0, space.freeBytes - space.reserveBytes) }
}

/** What a driver with scratch space knows of the host. */
export interface ScratchHost extends Pick<DriverHost, 'reserveBytes'> {
  readonly folders: LeaseFolders
  readonly freeBytes: (folder: string) => Promise<number>
}

/** Makes the folders of scratch space and sockets; SCRATCH_LOW where there is less space than must stay free. */
export const prepareFolders = async ({ folders, reserveBytes, freeBytes: look }: ScratchHost): Promise<void> => {
  const { scratch, runtime } = folders
  // QEMU may run as another user, who must be able to pass through
  await makeFolder(scratch, 0o711)
  await makeFolder(runtime, 0o711)
  const free = await look(scratch)
  if (free >= reserveBytes) return
  throw new VarveError('SCRATCH_LOW', `the scratch folder ${scratch} has too little space to begin`, {
    details: { freeBytes: free, reserveBytes },
  })
}

/** How often a removal is retried because of new files: a process that is ending may still write. */
const REMOVALS_MAX = 10

/** Removes a lease's folders and all that is in them. */
export const removeScratch = async (lease: {
  readonly scratchFolder: string
  readonly socketFolder: string
}): Promise<void> => {
  for (const folder of [lease.scratchFolder, lease.socketFolder]) {
    await rm(folder, { recursive: true, force: true, maxRetries: REMOVALS_MAX })
  }
}
