// The payload of this driver's journal entries.

import * as v from 'valibot'
import { READ_KINDS, READ_REASONS } from '../../../protocol/backup.ts'
import { processMarkSchema } from '../../process-mark.ts'
import type { Machine } from '../driver.ts'
import type { JournalEntry, LeaseJournal, PayloadFormat } from '../journal.ts'

/** Name of this driver. */
export const EXTERNAL_DRIVER = 'external'

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const diskSchema = v.object({
  name: text,
  size: natural,
  socketPath: text,
  exportName: v.pipe(v.string(), v.maxLength(4096)),
  bitmap: v.nullable(text),
  exporter: v.nullable(processMarkSchema),
  clips: v.boolean(),
  isNarrow: v.boolean(),
  kind: v.picklist(READ_KINDS),
  reason: v.picklist(READ_REASONS),
  base: v.nullable(v.object({ name: text })),
  evidence: v.string(),
  comparedChunks: natural,
  reread: v.array(v.tuple([natural, natural])),
})

const payloadSchema = v.object({
  uuid: v.nullable(text),
  disks: v.array(diskSchema),
})

export type ExternalDisk = Readonly<v.InferOutput<typeof diskSchema>>

interface ExternalPayload extends Readonly<Omit<v.InferOutput<typeof payloadSchema>, 'disks'>> {
  readonly disks: readonly ExternalDisk[]
}

/** A whole lease of this driver: the head of its journal entry and the payload in one. */
export type ExternalEntry = Omit<JournalEntry, 'payload'> & ExternalPayload

export const EXTERNAL_PAYLOAD: PayloadFormat = { version: 1, schema: payloadSchema }

export const fromJournal = ({ payload, ...head }: JournalEntry): ExternalEntry => ({
  ...head,
  ...v.parse(payloadSchema, payload),
})

/** Head and payload, for the journal. */
export const writeEntry = (journal: LeaseJournal, entry: ExternalEntry): Promise<void> =>
  journal.write({ ...entry, payload: entry })

/** This driver's entries of the journal. */
export const externalEntries = async (journal: LeaseJournal): Promise<readonly ExternalEntry[]> =>
  (await journal.list()).filter(({ machine }) => machine.driver === EXTERNAL_DRIVER).map(fromJournal)

/** A machine of this name: whoever holds its lease says the rest each time. */
export const externalMachine = (name: string): Machine => ({
  name,
  driver: EXTERNAL_DRIVER,
  address: `external ${name}`,
  keys: {},
})
