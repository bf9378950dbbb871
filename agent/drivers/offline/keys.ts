// The keys of a [[machine]] that this driver is given.

import { createHash } from 'node:crypto'
import path from 'node:path'
import * as v from 'valibot'
import { diskName } from '../../../protocol/schemas.ts'
import { readerSchema, type Reader } from '../../attachments/reader.ts'
import { absolutePath } from '../../socket-path.ts'
import type { Machine } from '../driver.ts'

/** Most disks of one machine. */
const DISKS_MAX = 256

/** Formats that are read. A raw disk is never probed: its guest may write into it whatever looks like another format. */
export const DISK_FORMATS = ['raw', 'qcow2'] as const
export type DiskFormat = (typeof DISK_FORMATS)[number]

const diskSchema = v.strictObject({
  /** The name that the disk has while the machine runs. */
  name: diskName,
  path: v.pipe(absolutePath, v.maxBytes(1024)),
  format: v.optional(v.picklist(DISK_FORMATS)),
})

/** The disks of a machine that is off; also what another driver is given for the time when its machine is. */
export const disksKey = v.pipe(
  v.array(diskSchema),
  v.minLength(1),
  v.maxLength(DISKS_MAX),
  v.check((disks) => new Set(disks.map(({ name }) => name)).size === disks.length, 'disks with a name each'),
  v.check(
    (disks) => new Set(disks.map((disk) => path.normalize(disk.path))).size === disks.length,
    'disks with a path each',
  ),
)

export const SNAPSHOTS = ['lvm', 'zfs', 'command'] as const
export type SnapshotKind = (typeof SNAPSHOTS)[number]

export const keys = {
  disks: disksKey,
  /** Read a snapshot of the disks, which is made for it and removed after. */
  snapshot: v.optional(v.picklist(SNAPSHOTS)),
  /** The program that makes and removes snapshots, where `snapshot` is `command`. */
  snapshot_command: v.optional(v.pipe(absolutePath, v.maxBytes(1024))),
  /** Space for what is overwritten during a snapshot of a volume that is not thin, as lvcreate takes it. */
  snapshot_size: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(?:\d{1,9}[KMGT]|\d{1,3}%)$/u, 'a size such as "20G", or a share of the volume: "20%"'),
    ),
  ),
}

/** `reader` is no key of a configuration: another driver says in it whose libvirt names the disks. */
const keysSchema = v.object({ ...keys, reader: v.optional(readerSchema) })

/** One disk, with the format in which it is read. */
export interface DiskKey {
  readonly name: string
  readonly path: string
  readonly format: DiskFormat
  /** The format is given, and not taken from the file's name. */
  readonly named: boolean
  /** Who names it, and must be allowed to read it and all below it; null or absent for the agent's configuration. */
  readonly reader?: Reader | null
}

export interface OfflineKeys {
  readonly disks: readonly DiskKey[]
  readonly snapshot: SnapshotKind | null
  readonly snapshotCommand: string | null
  readonly snapshotSize: string | null
}

/** A qcow2 disk says so, or is called so. */
const formatOf = (disk: v.InferOutput<typeof diskSchema>): DiskFormat =>
  disk.format ?? (disk.path.endsWith('.qcow2') ? 'qcow2' : 'raw')

export const keysOf = ({ keys: own }: Pick<Machine, 'keys'>): OfflineKeys => {
  const { disks, reader, snapshot, snapshot_command: command, snapshot_size: size } = v.parse(keysSchema, own)
  return {
    disks: disks.map((disk) => ({
      name: disk.name,
      path: path.normalize(disk.path),
      format: formatOf(disk),
      named: disk.format !== undefined,
      reader: reader ?? null,
    })),
    snapshot: snapshot ?? null,
    snapshotCommand: command ?? null,
    snapshotSize: size ?? null,
  }
}

/** A snapshot's own keys without it, or one by a program that is not named. */
export const faultOf = (own: Machine['keys']): { readonly key: string; readonly message: string } | null => {
  const { snapshot, snapshotCommand, snapshotSize } = keysOf({ keys: own })
  if (snapshot === 'command' && snapshotCommand === null)
    return { key: 'snapshot', message: 'needs snapshot_command, the path of its program' }
  if (snapshot !== 'command' && snapshotCommand !== null)
    return { key: 'snapshot_command', message: 'needs snapshot = "command"' }
  return snapshotSize === null || snapshot === 'lvm'
    ? null
    : { key: 'snapshot_size', message: 'needs snapshot = "lvm"' }
}

/** Which disks these are: no two machines have the same ones. */
export const addressOf = (own: Machine['keys']): string => {
  const { disks } = keysOf({ keys: own })
  const [first] = disks
  const all = disks.map((disk) => disk.path).toSorted()
  return `${first?.path ?? ''}#${createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 16)}`
}
