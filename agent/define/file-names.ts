// The files of a restored machine's disks, by the disks' names, which come from a hypervisor and may hold anything. Pure.
import { VarveError } from '../../protocol/errors.ts'
import type { TargetFormat } from '../restore/format.ts'

/** Longest name without its extension, in bytes: room for `.qcow2` and `.partial` in the 255 that file systems have. */
const STEM_BYTES_MAX = 200

/** Letters, digits, dot, dash and underscore stay; a name begins with a letter or digit. */
const stemOf = (disk: string): string =>
  disk
    .replaceAll(/[^A-Za-z0-9._-]/gu, '_')
    .replace(/^[^A-Za-z0-9]/u, '_')
    .slice(0, STEM_BYTES_MAX)

/**
 * Each disk's file, such as `vda.qcow2`; what file systems, shells and QEMU's options read in another way is an underscore.
 * TARGET_INVALID where two disks would have one file, also on a file system that does not tell upper from lower case.
 */
export const diskFiles = (disks: readonly string[], format: TargetFormat): Map<string, string> => {
  const files = new Map<string, string>()
  const taken = new Map<string, string>()
  for (const disk of disks) {
    const file = `${stemOf(disk)}.${format}`
    const other = taken.get(file.toLowerCase())
    if (other !== undefined)
      throw new VarveError(
        'TARGET_INVALID',
        `disks ${JSON.stringify(other)} and ${JSON.stringify(disk)} would both be ${file}: restore each alone, with --disk and a file of your choice`,
      )
    taken.set(file.toLowerCase(), disk)
    files.set(disk, file)
  }
  return files
}
