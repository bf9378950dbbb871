// Shows that a disk's file or device was not written while it was read, by anybody.
//
// QEMU's image lock keeps every QEMU away. What does not ask for the lock (dd, a mount, a QEMU with locking=off) still changes
// the file's size or its time of modification, and the kernel's count of what was written to a device.

import { readFile, stat } from 'node:fs/promises'
import { numberOf } from '../../restore/block-device.ts'

/** Fields of a block device's `stat` in sysfs: writes, sectors written, discards, sectors discarded. */
const WRITE_FIELDS = [4, 6, 11, 13]

/** The kernel's counts of what was written to a block device. */
const writesOf = async (number: string): Promise<string> => {
  const fields = (await readFile(`/sys/dev/block/${number}/stat`, 'utf8')).trim().split(/\s+/u)
  return WRITE_FIELDS.map((field) => fields[field] ?? '0').join(' ')
}

/**
 * The identity of a file or block device and a state that differs after any write to it. Its owner, mode and names do not
 * count: who tries to start the machine may change those.
 */
export const stateOf = async (path: string): Promise<string> => {
  const found = await stat(path, { bigint: true })
  if (found.isBlockDevice()) {
    const number = numberOf(found.rdev)
    return `device ${number} ${await writesOf(number)}`
  }
  return `file ${found.dev}:${found.ino} ${found.size} ${found.mtimeNs}`
}

/** The files that hold a disk, and their states when its reading began. */
export interface ProvenDisk {
  readonly name: string
  readonly files: readonly { readonly path: string; readonly state: string }[]
}

/** Why the disks are not what they were, as a clause; null when nothing was written. */
export const findWrite = async (disks: readonly ProvenDisk[]): Promise<string | null> => {
  for (const { name, files } of disks)
    for (const { path, state } of files) {
      const now = await stateOf(path).catch(() => null)
      if (now === null) return `${path} of disk ${name} is there no more`
      if (now !== state)
        return `${path} of disk ${name} was written while it was read, by a program that does not heed QEMU's image lock`
    }
  return null
}
