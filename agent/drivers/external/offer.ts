// A lease that somebody else holds, as its holder describes it.

import * as v from 'valibot'
import { CHECKPOINT_NAME_CHARS_MAX } from '../../../protocol/limits.ts'
import { diskName, name, timeMs, uuid } from '../../../protocol/schemas.ts'
import { attachmentName } from '../../../protocol/attachments.ts'
import { absolutePath, socketPath } from '../../socket-path.ts'

/** Most disks, and most files, of one lease. */
const DISKS_MAX = 256
const FILES_MAX = 64

/** Longest name of an export, in bytes. */
const EXPORT_BYTES_MAX = 4096

/** Most bytes a second that can be said. */
const BANDWIDTH_MAX = 2 ** 50

/**
 * `none`: the disk has no bitmap. `new`: the bitmap begins at this instant. `reuse`: it began at an earlier one, and says what
 * changed since.
 */
export const BITMAP_STATES = ['none', 'new', 'reuse'] as const
export type BitmapState = (typeof BITMAP_STATES)[number]

const offeredDisk = v.pipe(
  v.strictObject({
    name: diskName,
    socketPath,
    exportName: v.pipe(v.string(), v.maxBytes(EXPORT_BYTES_MAX)),
    bitmap: v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(CHECKPOINT_NAME_CHARS_MAX))),
    state: v.picklist(BITMAP_STATES),
  }),
  v.check(({ bitmap, state }) => (bitmap === null) === (state === 'none'), 'a bitmap, or the state none'),
)
export type OfferedDisk = v.InferOutput<typeof offeredDisk>

const distinct = (values: readonly string[]): boolean => new Set(values).size === values.length

export const offerSchema = v.strictObject({
  machine: name,
  /** The hypervisor's, by which the machine is the same one on another host; null where it has none. */
  uuid: v.nullable(uuid),
  /** The instant of all disks, in milliseconds since 1970. */
  timeMs,
  disks: v.pipe(
    v.array(offeredDisk),
    v.minLength(1),
    v.maxLength(DISKS_MAX),
    v.check((disks) => distinct(disks.map((disk) => disk.name)), 'disks with a name each'),
  ),
  /** Files that go with the restore point, under these names. */
  files: v.pipe(
    v.array(v.strictObject({ name: attachmentName, path: absolutePath })),
    v.maxLength(FILES_MAX),
    v.check((files) => distinct(files.map((file) => file.name)), 'files with a name each'),
  ),
  /** Bytes a second that are read; null for no limit. */
  bandwidth: v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(BANDWIDTH_MAX))),
})
export type Offer = Readonly<v.InferOutput<typeof offerSchema>>
