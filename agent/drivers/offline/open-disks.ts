// Opens a machine's disks in a lease's storage daemon: read only, with QEMU's image lock, so that nothing writes them.

import { dirname } from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { openedButNotTheirs } from '../../attachments/reader.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { readDisks } from '../../qmp/disks.ts'
import { deviceNumber } from '../../restore/block-device.ts'
import { seeDisks, type SeenDisk } from '../seen-disks.ts'
import { checkChain, notReadable } from './chain.ts'
import { diskInUse, refuseWritten } from './holders.ts'
import type { OfflineHost } from './host.ts'
import type { DiskKey } from './keys.ts'
import type { ReadPaths } from './snapshot.ts'

/** The node that is exported. */
export const nodeOf = (index: number): string => `disk${index}`

/** The node of the image, whose bitmaps and files are looked at. */
const imageNodeOf = (format: DiskKey['format'], index: number): string =>
  format === 'raw' ? `image${index}` : nodeOf(index)

const blockNode = async ({ format }: DiskKey, readPath: string, index: number): Promise<Record<string, unknown>> => {
  const isDevice = (await deviceNumber(readPath)) !== null
  // without the lock nothing would keep the machine away: where it cannot be taken, nothing is read
  const protocol = { driver: isDevice ? 'host_device' : 'file', filename: readPath, locking: 'on', 'read-only': true }
  const image = { driver: format, 'read-only': true, file: protocol }
  if (format === 'qcow2') return { ...image, 'node-name': nodeOf(index) }
  // a raw node lets others write below it; this filter does not, and does nothing else
  return {
    driver: 'blkdebug',
    'node-name': nodeOf(index),
    'read-only': true,
    image: { ...image, 'node-name': imageNodeOf(format, index) },
    'take-child-perms': ['consistent-read'],
    'unshare-child-perms': ['write', 'resize'],
  }
}

const descriptionOf = (error: unknown): string | null =>
  error instanceof VarveError && error.code === 'QMP_ERROR' ? String(error.details['desc']) : null

const NOT_LOCKABLE = /lock.*(?:not supported|unsupported|not available)/iu

const openError = async (
  disk: DiskKey,
  {
    error,
    isSnapshot,
    daemon,
  }: { readonly error: unknown; readonly isSnapshot: boolean; readonly daemon: number | null },
): Promise<unknown> => {
  const description = descriptionOf(error)
  if (description === null) return error
  const details = { disk: disk.name }
  if (NOT_LOCKABLE.test(description))
    return new VarveError(
      'DISK_UNSUPPORTED',
      `disk ${disk.name} (${disk.path}) lies where files cannot be locked, so nothing would keep its machine from starting while it is read: ${description}`,
      { details, cause: error },
    )
  const except = new Set(daemon === null ? [] : [daemon])
  if (/lock/iu.test(description) && !isSnapshot) return await diskInUse(disk, except, error)
  return new VarveError('DISK_UNSUPPORTED', `disk ${disk.name} cannot be opened: ${description}`, {
    details,
    cause: error,
  })
}

/** Refuses what the daemon has open and who names the disk may not read: also what was swapped since it was looked at. */
const refuseOpened = async (disk: DiskKey, { daemon, folder }: Pick<Opening, 'daemon' | 'folder'>): Promise<void> => {
  const { reader = null } = disk
  if (reader === null) return
  if (daemon === null) throw new VarveError('INTERNAL', 'the process of the storage daemon is not known')
  const file = await openedButNotTheirs(reader, daemon, (place) => dirname(place) === folder)
  if (file !== null) throw notReadable(disk, reader, file)
}

export interface Opening {
  readonly client: QmpCaller
  /** The lease's own, of the agent alone. */
  readonly folder: string
  readonly disks: readonly DiskKey[]
  readonly readPaths: ReadPaths
  readonly isSnapshot: boolean
  /** The storage daemon's process, which has the disks open too. */
  readonly daemon: number | null
}

/**
 * Opens all of them. DISK_IN_USE names who has one; DISK_UNSUPPORTED for one that cannot be opened, or lies on what is not
 * followed.
 */
export const openDisks = async (host: OfflineHost, opening: Opening): Promise<readonly SeenDisk[]> => {
  const { client, disks, readPaths, isSnapshot, daemon } = opening
  if (!isSnapshot) await refuseWritten(disks)
  for (const [index, disk] of disks.entries()) {
    const readPath = readPaths.get(disk.name) ?? disk.path
    await checkChain(disk, readPath)
    const node = await blockNode(disk, readPath, index)
    try {
      await host.act(() => client.execute('blockdev-add', node))
    } catch (error) {
      throw await openError(disk, { error, isSnapshot, daemon })
    }
    await refuseOpened(disk, opening)
  }
  const nodes = new Map(disks.map(({ name, format }, index) => [imageNodeOf(format, index), name]))
  const found = await readDisks(client, nodes)
  return (await seeDisks({ disks: found, leftOut: [] }, ({ persistentBitmaps }) => persistentBitmaps)).disks
}
