// What lies under a disk besides its own image: remembered with a checkpoint, because a bitmap says nothing of it.
//
// A bitmap records what this QEMU writes through the disk. A backing file that was exchanged or rewritten, or a raw file
// opened elsewhere, changes what the guest reads, and no bitmap tells. Its name, size and times do.

import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { EVIDENCE_CHARS_MAX } from '../../protocol/limits.ts'
import type { DiskImage, MachineDisk } from '../qmp/disks.ts'

/** A file or device as the host knows it, whatever path leads to it. */
interface FileIdentity {
  readonly id: string
  /** Size and times of a regular file; empty for a device, which has none of meaning. */
  readonly state: string
}

export interface DiskEvidence {
  /** To be equal to what was remembered, or the disk is read in full. */
  readonly text: string
  /** The files and devices that the disk writes, but for those of which it has a part only. */
  readonly written: readonly string[]
  /** All that hold its content. */
  readonly held: readonly string[]
}

/** A key of flat options that leads to the file of a node, or of the node below it. */
const FLAT_FILE_NAME = /^(?:file\.)+filename$/

/** The host's file behind QEMU's name of an image, if it is one; relative names depend on where QEMU was started. */
export const pathOf = (fileName: string): string | null => {
  let name: unknown = fileName
  if (fileName.startsWith('json:')) {
    try {
      name = JSON.parse(fileName.slice('json:'.length))
    } catch {
      return null
    }
    // the options of a node hold those of the node below it
    while (typeof name === 'object' && name !== null) {
      if ('filename' in name) name = name.filename
      else if ('file' in name) name = name.file
      else name = Object.entries(name).find(([key]) => FLAT_FILE_NAME.test(key))?.[1]
    }
  }
  if (typeof name !== 'string') return null
  const path = name.startsWith('file:') ? name.slice('file:'.length) : name
  return isAbsolute(path) ? path : null
}

const identify = async (fileName: string): Promise<FileIdentity | null> => {
  const path = pathOf(fileName)
  if (path === null) return null
  try {
    const found = await stat(path, { bigint: true })
    if (found.isBlockDevice()) return { id: `device ${found.rdev}`, state: '' }
    if (!found.isFile()) return null
    const { dev, ino, size, mtimeNs, ctimeNs } = found
    return { id: `file ${dev}:${ino}`, state: `${size} ${mtimeNs} ${ctimeNs}` }
  } catch {
    // QEMU may see other files than we do: then only the name is known
    return null
  }
}

const ownLine = (disk: MachineDisk, own: FileIdentity | null): string =>
  // a bitmap that is stored in the image goes wherever the image goes; another one is worth something only beside this very file
  disk.persistentBitmaps ? disk.format : `${disk.format} ${disk.fileName} ${own?.id ?? ''}`

const underLine = ({ format, fileName, size }: DiskImage, identity: FileIdentity | null): string =>
  `${format} ${fileName} ${size} ${identity?.id ?? ''} ${identity?.state ?? ''}`

const idsOf = (identities: readonly (FileIdentity | null)[]): string[] =>
  identities.flatMap((identity) => identity?.id ?? [])

/** Looks at the files of one disk: its image, an external data file, and everything below. */
export const gatherEvidence = async (disk: MachineDisk): Promise<DiskEvidence> => {
  const own = await identify(disk.fileName)
  const data = disk.dataFile === null ? null : await identify(disk.dataFile)
  const under = await Promise.all(
    disk.backing.map(async (image) => ({ image, identity: await identify(image.fileName) })),
  )
  const lines = [
    ownLine(disk, own),
    ...(disk.dataFile === null ? [] : [`data ${disk.dataFile} ${data?.id ?? ''}`]),
    ...under.map(({ image, identity }) => underLine(image, identity)),
  ]
  const text = lines.join('\n')
  const ownFiles = idsOf([own, data])
  return {
    text: text.length <= EVIDENCE_CHARS_MAX ? text : `sha256 ${createHash('sha256').update(text).digest('hex')}`,
    written: isSlice(disk.fileName) ? [] : ownFiles,
    held: [...ownFiles, ...idsOf(under.map(({ identity }) => identity))],
  }
}

/** Whether a node shows a part of its file only, of which other disks may have the rest. */
const isSlice = (fileName: string): boolean => fileName.startsWith('json:') && fileName.includes('"offset"')

/**
 * Refuses with DISK_UNSUPPORTED two disks of which one writes a file that the other one holds too: neither QEMU nor a bitmap
 * of the second knows of what the first one writes.
 */
export const refuseShared = (
  disks: readonly { readonly disk: MachineDisk; readonly evidence: DiskEvidence }[],
): void => {
  for (const { disk, evidence } of disks) {
    const { written } = evidence
    const other = disks.find((one) => one.disk !== disk && one.evidence.held.some((file) => written.includes(file)))
    if (other === undefined) continue
    const sentence = `Disk ${disk.name} writes ${disk.fileName}, which disk ${other.disk.name} holds too, through another node of QEMU: what one writes is missing in the other's restore points. Give both devices one node (-blockdev), or detach one.`
    throw new VarveError('DISK_UNSUPPORTED', sentence, { details: { disk: disk.name, other: other.disk.name } })
  }
}
