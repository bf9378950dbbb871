// Restores that the gateway orders from an agent: where their disks go, what is there already, and how far each has come.
import * as v from 'valibot'
import { DISKS_MAX, RESTORE_PLACES_MAX } from './limits.ts'
import * as s from './schemas.ts'

/** Longest path on a host, in characters. */
const PATH_CHARS_MAX = 4096

/** Longest paths of the disks of one restore together, in characters: a restore with them must fit into a frame. */
export const RESTORE_PATHS_CHARS_MAX = 256 * 1024

/** Formats that a restore writes. */
export const TARGET_FORMATS = ['raw', 'qcow2'] as const
export const targetFormat = v.picklist(TARGET_FORMATS)

/**
 * How a disk comes to its place: `new` writes it whole, `onto` compares what is there and writes only what differs, `compare` tells
 * how much that is and writes nothing.
 */
export const RESTORE_HOWS = ['new', 'onto', 'compare'] as const
export type RestoreHow = (typeof RESTORE_HOWS)[number]
const restoreHow = v.optional(v.picklist(RESTORE_HOWS), 'new')

/** States of a restore: `running`, and then one of the others for good. */
export const RESTORE_STATES = ['running', 'done', 'failed'] as const

/** A path on an agent's host; only the agent can say whether a restore may write there. */
export const hostPath = v.pipe(
  v.string(),
  v.maxLength(PATH_CHARS_MAX),
  v.startsWith('/', 'an absolute path'),
  v.regex(/^\P{Cc}+$/u, 'control characters'),
)

const shownPath = v.pipe(v.string(), v.maxLength(PATH_CHARS_MAX))

/** A disk and where it goes; the name of the place decides the format where none is given. */
export const wantedDisk = v.object({
  disk: s.diskName,
  to: hostPath,
  format: v.optional(v.nullable(targetFormat), null),
  how: restoreHow,
})

/** At least one, each once, no two to one place, all of them in one way, and the paths within RESTORE_PATHS_CHARS_MAX. */
export const wantedDisks = v.pipe(
  s.disks(wantedDisk),
  v.minLength(1),
  v.check((disks) => new Set(disks.map(({ disk }) => disk)).size === disks.length, 'a disk is named twice'),
  v.check((disks) => new Set(disks.map(({ to }) => to)).size === disks.length, 'two disks go to one place'),
  v.check((disks) => new Set(disks.map(({ how }) => how)).size === 1, 'disks of one restore go in one way: order two'),
  v.check(
    (disks) => disks.reduce((sum, { to }) => sum + to.length, 0) <= RESTORE_PATHS_CHARS_MAX,
    'the paths are longer than 256 KiB together',
  ),
)

/** A disk as the agent is told of it. */
export const orderedDisk = v.object({ ...wantedDisk.entries, size: s.diskBytes, root: s.root })

/** A place that somebody asks about, and the size of the disk that would go there. */
export const askedPlace = v.object({
  to: hostPath,
  size: s.diskBytes,
  format: v.optional(v.nullable(targetFormat), null),
  how: restoreHow,
})
export const askedPlaces = v.optional(v.pipe(v.array(askedPlace), v.maxLength(DISKS_MAX)), [])

/** What a restore to a place would find. */
export const foundPlace = v.object({
  /** As it was asked for. */
  to: shownPath,
  /** Where its symbolic links end; nil where a restore cannot write there. */
  path: v.nullable(shownPath),
  /** What would be overwritten; nil for nothing. */
  there: v.nullable(v.picklist(['file', 'device'])),
  /** Bytes of it. */
  thereBytes: v.nullable(s.count),
  format: v.nullable(targetFormat),
  /** Free bytes of its file system; nil for a device. */
  freeBytes: v.nullable(s.count),
  /** Why it would be refused even with `overwrite`; nil where it would not. */
  error: v.nullable(s.failure),
})
export type FoundPlace = v.InferOutput<typeof foundPlace>

const places = <S extends v.GenericSchema>(place: S) => v.pipe(v.array(place), v.maxLength(RESTORE_PLACES_MAX))

/** Where an agent lets a restore write, and what is at the places that were asked about. */
export const allowedPlaces = v.object({
  /** Folders in and below which files are written; free bytes of the file system, nil where it is not there. */
  folders: places(v.object({ path: shownPath, freeBytes: v.nullable(s.count) })),
  /** Block devices, or patterns of them that end in `*`. */
  devices: places(v.object({ path: shownPath })),
  places: v.pipe(v.array(foundPlace), v.maxLength(DISKS_MAX)),
})
export type AllowedPlaces = v.InferOutput<typeof allowedPlaces>

/** What a comparison found, and what was written of that; nothing of it for a disk that is written whole. */
const written = {
  /** Bytes of the disk that differ from what is there; nil until all of it was compared. */
  differBytes: v.optional(v.nullable(s.diskBytes), null),
  /** Bytes of these that are written, zeroes included. */
  writtenBytes: v.optional(s.diskBytes, 0),
}

/** How far one disk is, as the agent says it; what is done of a comparison is compared. */
export const restoreProgress = v.object({
  disk: s.diskName,
  doneBytes: s.diskBytes,
  bytesReceived: s.count,
  ...written,
})
export type RestoreProgress = v.InferOutput<typeof restoreProgress>

/** A disk that is complete, under its name, and durable; or one that was compared. */
export const restoredDisk = v.object({
  disk: s.diskName,
  /** Where its symbolic links ended. */
  path: shownPath,
  format: targetFormat,
  /** Stored bytes that came over the network. */
  bytesReceived: s.count,
  ...written,
  /** What is not as it was before, such as an owner that could not be kept; sentences. */
  remarks: v.pipe(v.array(v.pipe(v.string(), v.maxLength(1024))), v.maxLength(8)),
})
export type RestoredDisk = v.InferOutput<typeof restoredDisk>

/** A restore as it is shown. */
export const restore = v.object({
  id: s.uuid,
  /** The restore point; it may have been removed since. */
  point: s.uuid,
  machine: s.name,
  /** The point's time. */
  timeMs: s.timeMs,
  agent: s.uuid,
  host: v.string(),
  /** Subject of who started it. */
  by: v.string(),
  overwrite: v.boolean(),
  state: v.picklist(RESTORE_STATES),
  startedMs: s.timeMs,
  endedMs: v.nullable(s.timeMs),
  /** Why it failed; CANCELLED where a person cancelled it. */
  error: v.nullable(s.failure),
  disks: s.disks(
    v.object({
      disk: s.diskName,
      size: s.diskBytes,
      /** As it was asked for. */
      to: shownPath,
      /** Nil until it is known. */
      format: v.nullable(targetFormat),
      how: restoreHow,
      /** Bytes of the disk that are written, zeroes included, or compared; of an ended restore those of the last report. */
      doneBytes: s.diskBytes,
      bytesReceived: s.count,
      ...written,
      remarks: v.array(v.string()),
    }),
  ),
})
export type Restore = v.InferOutput<typeof restore>
