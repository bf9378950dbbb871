// The payload of this driver's journal entries: everything a lease makes, written before it is made.

import * as v from 'valibot'
import { READ_KINDS, READ_REASONS } from '../../../protocol/backup.ts'
import type { JournalEntry, LeaseJournal, PayloadFormat } from '../journal.ts'

/** Name of this driver. */
export const LIBVIRT_DRIVER = 'libvirt'

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const diskSchema = v.object({
  /** The target's name, such as `vda`. */
  name: text,
  size: natural,
  kind: v.picklist(READ_KINDS),
  reason: v.picklist(READ_REASONS),
  /** Whether the checkpoint has a bitmap of this disk. */
  bitmap: v.boolean(),
  /** Of an incremental read: the image of the base that it continues, and the checkpoint that recorded the changes. */
  base: v.nullable(v.object({ name: text, checkpoint: text })),
  /** What was below the disk at the instant, and which file it was. */
  evidence: v.string(),
  /** Chunks recorded as unchanged that were compared with the base. */
  comparedChunks: natural,
  /** Ranges of an incremental read that count as changed: offset and length in bytes. */
  reread: v.array(v.tuple([natural, natural])),
  scratchFile: text,
  exportName: text,
})

const payloadSchema = v.object({
  /** The domain and its running instance, which a checkpoint outlives and a backup does not. */
  uuid: text,
  instance: natural,
  checkpoint: v.nullable(text),
  scratchFolder: text,
  socketFolder: text,
  socketPath: text,
  disks: v.pipe(v.array(diskSchema), v.minLength(1)),
})

export type JournalDisk = Readonly<v.InferOutput<typeof diskSchema>>

interface LibvirtPayload extends Readonly<Omit<v.InferOutput<typeof payloadSchema>, 'disks'>> {
  readonly disks: readonly JournalDisk[]
}

/** A whole lease of this driver: the head of its journal entry and the payload in one. */
export type LibvirtEntry = Omit<JournalEntry, 'payload'> & LibvirtPayload

export const LIBVIRT_PAYLOAD: PayloadFormat = { version: 1, schema: payloadSchema }

export const fromJournal = ({ payload, ...head }: JournalEntry): LibvirtEntry => ({
  ...head,
  ...v.parse(payloadSchema, payload),
})

/** Head and payload, for the journal. */
export const writeEntry = (journal: LeaseJournal, entry: LibvirtEntry): Promise<void> =>
  journal.write({ ...entry, payload: entry })

/** This driver's entries of the journal. */
export const libvirtEntries = async (journal: LeaseJournal): Promise<readonly LibvirtEntry[]> =>
  (await journal.list()).filter(({ machine }) => machine.driver === LIBVIRT_DRIVER).map(fromJournal)
