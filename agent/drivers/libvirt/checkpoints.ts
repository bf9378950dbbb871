// libvirt's checkpoints of a domain: reads them, finds out whether their bitmaps are there, and removes Varve's.

import type { VarveError } from '../../../protocol/errors.ts'
import { LIBVIRT_CODES } from '../../libvirt/codes.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtCheckpoint, LibvirtDomain } from '../../libvirt/types.ts'
import { attributeOf, childrenOf, elementAt, readXml, textAt, xml } from '../../libvirt/xml.ts'

/** A disk's part in a checkpoint. */
export interface CheckpointDisk {
  readonly name: string
  /** What changed since, in bytes; null where the disk's image has no usable bitmap of the checkpoint. */
  readonly changedBytes: number | null
}

/** A checkpoint with the disks of which it is to have a bitmap. */
export interface SeenCheckpoint {
  readonly name: string
  readonly parent: string | null
  /** Seconds since 1970, as libvirt keeps them. */
  readonly createdAt: number
  readonly disks: readonly CheckpointDisk[]
}

const parseCheckpointXml = (text: string): SeenCheckpoint => {
  const root = readXml(text, { root: 'domaincheckpoint' })
  const disks = elementAt(root, 'disks')
  const recorded = (disks === null ? [] : childrenOf(disks, 'disk')).filter(
    (disk) => attributeOf(disk, 'checkpoint') === 'bitmap',
  )
  return {
    name: textAt(root, 'name') ?? '',
    parent: textAt(root, 'parent/name'),
    createdAt: Number.parseInt(textAt(root, 'creationTime') ?? '0', 10) || 0,
    disks: recorded.map((disk) => {
      const size = attributeOf(disk, 'size')
      return { name: attributeOf(disk, 'name') ?? '', changedBytes: size === null ? null : Number(size) }
    }),
  }
}

/** A checkpoint as it is now, of a domain that runs. libvirt gives no size of a bitmap that is missing, broken or disabled. */
export const readCheckpoint = async (caller: LibvirtCaller, checkpoint: LibvirtCheckpoint): Promise<SeenCheckpoint> =>
  parseCheckpointXml(await caller.checkpointXml(checkpoint, { size: true, domain: false }))

/** A checkpoint as libvirt has noted it, without sizes, also of a domain that is off. */
export const readNoted = async (caller: LibvirtCaller, checkpoint: LibvirtCheckpoint): Promise<SeenCheckpoint> =>
  parseCheckpointXml(await caller.checkpointXml(checkpoint, { size: false, domain: false }))

/** A checkpoint by its name; null where libvirt has none. */
export const findCheckpoint = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  name: string,
): Promise<LibvirtCheckpoint | null> => {
  try {
    return await caller.checkpointByName(domain, name)
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_CODES.noCheckpoint)) return null
    throw error
  }
}

/** Writes libvirt's notes of a checkpoint anew, without touching a bitmap: from now on it is of these disks. */
export const noteCheckpoint = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  { name, parent, createdAt, disks }: Omit<SeenCheckpoint, 'disks'> & { readonly disks: readonly string[] },
): Promise<LibvirtCheckpoint> => {
  const lines = disks.map((disk) => xml`<disk name="${disk}" checkpoint="bitmap" bitmap="${name}"/>`)
  const above = parent === null ? null : xml`<parent><name>${parent}</name></parent>`
  const document = xml`<domaincheckpoint><name>${name}</name>${above}<creationTime>${createdAt}</creationTime><disks>${lines}</disks></domaincheckpoint>`
  return await caller.checkpointCreate(domain, document.text, { redefine: true })
}

const isRefused = (error: unknown): error is VarveError => isLibvirtError(error)

/** Removes what a checkpoint has on one disk; false where libvirt refuses, as there is nothing. */
const removeFromDisk = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  checkpoint: Omit<SeenCheckpoint, 'disks'>,
  disk: string,
): Promise<boolean> => {
  const alone = await noteCheckpoint(caller, domain, { ...checkpoint, disks: [disk] })
  try {
    await caller.checkpointDelete(alone)
    return true
  } catch (error) {
    if (!isRefused(error)) throw error
    return false
  }
}

/** Has libvirt forget its notes of a checkpoint; the bitmaps stay. */
export const hideCheckpoint = async (caller: LibvirtCaller, checkpoint: LibvirtCheckpoint): Promise<void> => {
  try {
    await caller.checkpointDelete(checkpoint, { metadataOnly: true })
  } catch (error) {
    if (!isLibvirtError(error, LIBVIRT_CODES.noCheckpoint)) throw error
  }
}

/**
 * A checkpoint that libvirt has no notes of: notes it again for the disks whose images have its bitmap, and removes bitmaps that
 * an unclean end has broken, which then have no size. Null where no disk has one.
 */
export const recoverCheckpoint = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  name: string,
  disks: readonly string[],
): Promise<SeenCheckpoint | null> => {
  if (disks.length === 0) return null
  const about = { name, parent: null, createdAt: Math.floor(Date.now() / 1000) }
  const seen = await readCheckpoint(caller, await noteCheckpoint(caller, domain, { ...about, disks }))
  const found = seen.disks.filter(({ changedBytes }) => changedBytes !== null)
  const broken: CheckpointDisk[] = []
  if (found.length === seen.disks.length) return seen
  for (const disk of seen.disks) {
    if (disk.changedBytes === null && (await removeFromDisk(caller, domain, about, disk.name))) broken.push(disk)
  }
  const left = await findCheckpoint(caller, domain, name)
  if (found.length > 0) await noteCheckpoint(caller, domain, { ...about, disks: found.map((disk) => disk.name) })
  else if (left !== null) await hideCheckpoint(caller, left)
  return found.length + broken.length === 0 ? null : { ...seen, disks: [...found, ...broken] }
}

/**
 * Removes a checkpoint with its bitmaps. Where libvirt refuses, as a disk has lost its bitmap or is gone, disk by disk,
 * then what it has noted.
 */
export const removeCheckpoint = async (caller: LibvirtCaller, checkpoint: LibvirtCheckpoint): Promise<void> => {
  const { domain, name } = checkpoint
  try {
    return await caller.checkpointDelete(checkpoint)
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_CODES.noCheckpoint)) return
    // with the domain off, or its state locked by a job, nothing else would work either
    if (!isRefused(error) || isLibvirtError(error, LIBVIRT_CODES.operationInvalid, LIBVIRT_CODES.operationTimeout))
      throw error
  }
  const seen = await readCheckpoint(caller, checkpoint)
  if (seen.disks.length > 1) for (const disk of seen.disks) await removeFromDisk(caller, domain, seen, disk.name)
  const left = await findCheckpoint(caller, domain, name)
  if (left !== null) await hideCheckpoint(caller, left)
}

/** Removes a checkpoint's bitmaps from these disks, also where libvirt has no notes of it. */
export const removeNamed = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  name: string,
  disks: readonly string[],
): Promise<void> => {
  const noted = await findCheckpoint(caller, domain, name)
  if (noted !== null) return await removeCheckpoint(caller, noted)
  if (disks.length === 0) return
  const about = { name, parent: null, createdAt: Math.floor(Date.now() / 1000) }
  await removeCheckpoint(caller, await noteCheckpoint(caller, domain, { ...about, disks }))
}

/** Removes a checkpoint's bitmaps of some disks, and keeps those of the others. */
export const removeDisks = async (
  caller: LibvirtCaller,
  checkpoint: LibvirtCheckpoint,
  disks: ReadonlySet<string>,
): Promise<void> => {
  const seen = await readCheckpoint(caller, checkpoint)
  const removed = seen.disks.filter(({ name }) => disks.has(name))
  const kept = seen.disks.filter(({ name }) => !disks.has(name)).map(({ name }) => name)
  if (removed.length === 0) return
  if (kept.length === 0) return await removeCheckpoint(caller, checkpoint)
  for (const { name } of removed) await removeFromDisk(caller, checkpoint.domain, seen, name)
  await noteCheckpoint(caller, checkpoint.domain, { ...seen, disks: kept })
}
