// What is below a disk's own image: recorded with a checkpoint, because a bitmap says nothing about it.
//
// A bitmap records what this QEMU writes through the disk. A backing file that was replaced or rewritten, or a raw file
// opened elsewhere, changes what the guest reads without any bitmap recording it. Its name, size and times show it.

import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { isAbsolute, normalize } from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { EVIDENCE_CHARS_MAX } from '../../protocol/limits.ts'
import type { DiskImage, MachineDisk } from '../qmp/disks.ts'

/** The identity of a file or device on this host, independent of its path. */
interface FileIdentity {
  readonly id: string
  /** Size and times of a regular file; empty for a device, whose own mean nothing. */
  readonly state: string
  /** When a regular file was made, as words of evidence; empty where its file system does not tell. */
  readonly born: string
}

/** Bytes `from` up to, not including, `to` of a file or device. */
interface FilePart {
  readonly file: string
  readonly from: number
  readonly to: number
}

export interface DiskEvidence {
  /** Must be the same as what was recorded, or the disk is read in full. */
  readonly text: string
  /** The same with the identity of the disk's own file, whatever its format. */
  readonly ownText: string
  /** Files and devices that the disk writes. */
  readonly written: readonly FilePart[]
  /** Files and devices that hold its content. */
  readonly held: readonly FilePart[]
}

/** Keys of options, also of flat ones for the node below: the file of a node, and the part of it that the node shows. */
const FLAT_FILE_NAME = /^(?:file\.)+filename$/
const OFFSET = /^(?:file\.)*offset$/
const SIZE = /^(?:file\.)*size$/

const numberAt = (options: object, key: RegExp, missing: number): number => {
  const value = Number(Object.entries(options).find(([name]) => key.test(name))?.[1] ?? missing)
  return Number.isNaN(value) ? missing : value
}

/** The name of the file that QEMU's name of an image leads to, and which part of it; null where it leads to none. */
const partOf = (fileName: string): FilePart | null => {
  let name: unknown = fileName
  let from = 0
  let to = Infinity
  if (fileName.startsWith('json:')) {
    try {
      name = JSON.parse(fileName.slice('json:'.length))
    } catch {
      return null
    }
    // the options of a node hold those of the node below it
    while (typeof name === 'object' && name !== null) {
      const offset = numberAt(name, OFFSET, 0)
      to = Math.min(to, numberAt(name, SIZE, Infinity)) + offset
      from += offset
      if ('filename' in name) name = name.filename
      else if ('file' in name) name = name.file
      else name = Object.entries(name).find(([key]) => FLAT_FILE_NAME.test(key))?.[1]
    }
  }
  if (typeof name !== 'string') return null
  return { file: name.startsWith('file:') ? name.slice('file:'.length) : name, from, to }
}

/** The host's file behind QEMU's name of an image, if it is one; relative names depend on where QEMU was started. */
export const pathOf = (fileName: string): string | null => {
  const file = partOf(fileName)?.file ?? ''
  return isAbsolute(file) ? file : null
}

/** QEMU's names of images without content. */
const NOTHING_HELD = /^$|^null-|^json:.*"null-(?:co|aio)"/

/** The part of its file that an image uses. What is not a file of this host is identified by its name in QEMU. */
const heldBy = (fileName: string, identity: FileIdentity | null): FilePart[] => {
  if (identity === null && NOTHING_HELD.test(fileName)) return []
  const { file, from, to } = partOf(fileName) ?? { file: fileName, from: 0, to: Infinity }
  return [{ file: identity?.id ?? `name ${normalize(file)}`, from, to }]
}

const overlap = (one: FilePart, other: FilePart): boolean =>
  one.file === other.file && one.from < other.to && other.from < one.to

const identify = async (fileName: string): Promise<FileIdentity | null> => {
  const path = pathOf(fileName)
  if (path === null) return null
  try {
    const found = await stat(path, { bigint: true })
    if (found.isBlockDevice()) return { id: `device ${found.rdev}`, state: '', born: '' }
    if (!found.isFile()) return null
    const { dev, ino, size, mtimeNs, ctimeNs, birthtimeNs } = found
    const born = birthtimeNs > 0n ? ` born ${birthtimeNs}` : ''
    return { id: `file ${dev}:${ino}`, state: `${size} ${mtimeNs} ${ctimeNs}`, born }
  } catch {
    // QEMU may see different files than we do: then only the name is known
    return null
  }
}

const ownLine = (disk: MachineDisk, own: FileIdentity | null, always: boolean): string =>
  // a bitmap stored in the image moves with it; any other one is valid only for this very file
  disk.persistentBitmaps && !always ? disk.format : `${disk.format} ${disk.fileName} ${own?.id ?? ''}${own?.born ?? ''}`

const limited = (text: string): string =>
  text.length <= EVIDENCE_CHARS_MAX ? text : `sha256 ${createHash('sha256').update(text).digest('hex')}`

/** The number of a file system differs from host to host, and from start to start; a file's own number is in the file system. */
const withoutDevices = (text: string): string => text.replaceAll(/ file \d+:(\d+)(?= |$)/gm, ' file $1')

/** The first files of two file systems have one number: mounted in each other's place they differ by when they were made. */
const BORN = / born \d+$/m

/** Whether two texts of evidence, of this host or of two with one storage, are of the same files in the same state. */
export const sameEvidence = (recorded: string | null, now: string): boolean => {
  if (recorded === null) return false
  // older agents did not record it, and a file system may not tell it everywhere
  const isTold = BORN.test(recorded) && BORN.test(now)
  const [before, after] = [recorded, now].map((text) => withoutDevices(isTold ? text : text.replace(BORN, '')))
  return before === after
}

const underLine = ({ format, fileName, size }: DiskImage, identity: FileIdentity | null): string =>
  `${format} ${fileName} ${size} ${identity?.id ?? ''} ${identity?.state ?? ''}`

/** Looks at the files of one disk: its image, an external data file, and everything below. */
export const gatherEvidence = async (disk: MachineDisk): Promise<DiskEvidence> => {
  const own = await identify(disk.fileName)
  const data = disk.dataFile === null ? null : await identify(disk.dataFile)
  const under = await Promise.all(
    disk.backing.map(async (image) => ({ image, identity: await identify(image.fileName) })),
  )
  const below = [
    ...(disk.dataFile === null ? [] : [`data ${disk.dataFile} ${data?.id ?? ''}`]),
    ...under.map(({ image, identity }) => underLine(image, identity)),
  ]
  const textOf = (always: boolean): string => limited([ownLine(disk, own, always), ...below].join('\n'))
  const written = [...heldBy(disk.fileName, own), ...(disk.dataFile === null ? [] : heldBy(disk.dataFile, data))]
  return {
    text: textOf(false),
    ownText: textOf(true),
    written,
    held: [...written, ...under.flatMap(({ image, identity }) => heldBy(image.fileName, identity))],
  }
}

/**
 * DISK_UNSUPPORTED for two disks of which one writes a file that the other uses too: neither QEMU nor a bitmap of the
 * second records what the first one writes.
 */
export const refuseShared = (
  disks: readonly { readonly disk: MachineDisk; readonly evidence: DiskEvidence }[],
): void => {
  for (const { disk, evidence } of disks) {
    const { written } = evidence
    const other = disks.find(
      (one) => one.disk !== disk && one.evidence.held.some((held) => written.some((part) => overlap(part, held))),
    )
    if (other === undefined) continue
    const sentence = `disk ${disk.name} writes ${disk.fileName}, which disk ${other.disk.name} uses too, through another QEMU node, so each restore point would miss what the other writes: give both devices one node (-blockdev), or detach one`
    throw new VarveError('DISK_UNSUPPORTED', sentence, { details: { disk: disk.name, other: other.disk.name } })
  }
}
