// The payload of this driver's journal entries.

import * as v from 'valibot'
import { READ_KINDS, READ_REASONS } from '../../../protocol/backup.ts'
import type { JournalEntry, LeaseJournal, PayloadFormat } from '../journal.ts'
import { DISK_FORMATS } from './keys.ts'

/** Name of this driver. */
export const OFFLINE_DRIVER = 'offline'

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/** What is made before the disks are read, and removed after; everything in it is known before it is made. */
const snapshotSchema = v.variant('kind', [
  v.object({
    kind: v.literal('lvm'),
    size: v.nullable(text),
    /** `origin` is the volume, `thin` one of a thin pool; `snapshot` the name beside it. */
    volumes: v.array(v.object({ disk: text, origin: text, group: text, thin: v.boolean(), snapshot: text })),
  }),
  v.object({
    kind: v.literal('zfs'),
    /** All volumes are taken at one instant, under one name; each is read through a clone. */
    volumes: v.array(v.object({ disk: text, volume: text, snapshot: text, clone: text })),
  }),
  v.object({
    kind: v.literal('command'),
    program: text,
    machine: text,
    id: text,
    disks: v.array(v.object({ name: text, path: text })),
  }),
])
export type SnapshotPlan = v.InferOutput<typeof snapshotSchema>

const diskSchema = v.object({
  name: text,
  path: text,
  /** What is read: the disk itself, or its snapshot. */
  readPath: text,
  format: v.picklist(DISK_FORMATS),
  size: natural,
  kind: v.picklist(READ_KINDS),
  reason: v.picklist(READ_REASONS),
  /** Of an incremental read: the image of the base that it continues, and the bitmap that says what changed. */
  base: v.nullable(v.object({ name: text, bitmap: text })),
  evidence: v.string(),
  comparedChunks: natural,
  reread: v.array(v.tuple([natural, natural])),
  exportId: text,
  exportName: text,
  files: v.array(v.object({ path: text, state: text })),
})

const payloadSchema = v.object({
  /** Holds the sockets of the storage daemon and of its guard. */
  folder: text,
  snapshot: v.nullable(snapshotSchema),
  /** Empty until the disks are open. */
  disks: v.array(diskSchema),
})

export type OfflineDisk = Readonly<v.InferOutput<typeof diskSchema>>

interface OfflinePayload extends Readonly<Omit<v.InferOutput<typeof payloadSchema>, 'disks'>> {
  readonly disks: readonly OfflineDisk[]
}

/** A whole lease of this driver: the head of its journal entry and the payload in one. */
export type OfflineEntry = Omit<JournalEntry, 'payload'> & OfflinePayload

export const OFFLINE_PAYLOAD: PayloadFormat = { version: 1, schema: payloadSchema }

/** The part that is also kept beside the sockets, for the case that the journal's entry is damaged. */
export const remnantSchema = v.object({
  id: text,
  machine: v.object({ name: text, address: text }),
  snapshot: v.nullable(snapshotSchema),
})
export type Remnant = v.InferOutput<typeof remnantSchema>

export const fromJournal = ({ payload, ...head }: JournalEntry): OfflineEntry => ({
  ...head,
  ...v.parse(payloadSchema, payload),
})

/** Head and payload, for the journal. */
export const writeEntry = (journal: LeaseJournal, entry: OfflineEntry): Promise<void> =>
  journal.write({ ...entry, payload: entry })

/** This driver's entries of the journal. */
export const offlineEntries = async (journal: LeaseJournal): Promise<readonly OfflineEntry[]> =>
  (await journal.list()).filter(({ machine }) => machine.driver === OFFLINE_DRIVER).map(fromJournal)
