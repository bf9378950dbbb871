// The payload of this driver's journal entries: the names of everything a lease makes, written before it is made.

import * as v from 'valibot'
import { READ_KINDS, READ_REASONS } from '../../../protocol/backup.ts'
import type { JournalEntry, LeaseJournal, PayloadFormat } from '../journal.ts'
import { addressOf } from './keys.ts'
import { MODES } from './modes.ts'

/** Name of this driver. */
export const QMP_DRIVER = 'qmp'

/** Least granularity of a checkpoint's bitmap, in bytes. */
export const CHECKPOINT_GRANULARITY_BYTES = 65_536

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const diskSchema = v.object({
  name: text,
  node: text,
  size: natural,
  kind: v.picklist(READ_KINDS),
  reason: v.picklist(READ_REASONS),
  /** Whether the checkpoint bitmap is stored in the image and so survives QEMU. */
  persistent: v.boolean(),
  /** The checkpoint's bitmap of this disk. */
  checkpoint: text,
  /** Of that bitmap, in bytes; older agents had one for all. */
  granularity: v.optional(natural, CHECKPOINT_GRANULARITY_BYTES),
  /** Of an incremental read: the image of the base that it continues, the bitmap that shows its changes, and its granularity. */
  base: v.nullable(v.object({ name: text, checkpoint: text, granularity: natural })),
  /** What was below the disk at the instant. */
  evidence: v.string(),
  /** Chunks recorded as unchanged that were compared with the base. */
  comparedChunks: natural,
  /** Ranges of an incremental read that count as changed: offset and length in bytes. */
  reread: v.array(v.tuple([natural, natural])),
  /** What is recorded as unchanged has been compared with the base, and may have been discarded since. */
  compared: v.boolean(),
  /**
   * The snapshot-access node that is exported, and whether a full scratch space breaks the snapshot (`on-cbw-error`); null where
   * the scratch image is exported as an overlay, for which nothing may ever break silently.
   */
  access: v.nullable(v.object({ node: text, breaks: v.boolean() })),
  scratchNode: text,
  scratchFile: text,
  filterNode: text,
  job: text,
  exportId: text,
  exportName: text,
  /** In mode push: what sets the bit of the disk's end, and the granularity of the bitmap that is copied by. */
  push: v.optional(v.object({ endSource: text, endTarget: text, endNode: text, endJob: text, granularity: natural })),
  /** In mode push, from the instant on: what QEMU must write of it at least, in bytes. */
  heldBytes: v.optional(natural),
})

const payloadSchema = v.object({
  mode: v.optional(v.picklist(MODES), 'pull'),
  transfer: text,
  scratchFolder: text,
  socketFolder: text,
  socketPath: text,
  disks: v.pipe(v.array(diskSchema), v.minLength(1)),
  /** What an older agent made for this lease that this one does not. */
  older: v.object({ exports: v.array(text), nodes: v.array(text) }),
})

export type JournalDisk = Readonly<v.InferOutput<typeof diskSchema>>

interface QmpPayload extends Readonly<Omit<v.InferOutput<typeof payloadSchema>, 'disks'>> {
  readonly disks: readonly JournalDisk[]
}

/** A whole lease of this driver: the head of its journal entry and the payload in one. */
export type QmpEntry = Omit<JournalEntry, 'payload'> & QmpPayload

/** Of payloads before version 3, whose scratch images were all overlays. */
const OVERLAY = { compared: false, access: null } as const

/** Version 1 of the payload: each disk had one more node and export, for a bitmap that showed whether it was ever smaller. */
const payload1Schema = v.object({
  ...v.omit(payloadSchema, ['disks', 'older']).entries,
  disks: v.array(v.looseObject({ sizeNode: text, sizeExportId: text })),
})

const payload2Schema = v.looseObject({ disks: v.array(v.looseObject({})) })

const fromPayload1 = (value: unknown): unknown => {
  const { disks, ...payload } = v.parse(payload1Schema, value)
  const exports = disks.map(({ sizeExportId }) => sizeExportId)
  const overlays = disks.map((disk) => ({ ...disk, ...OVERLAY }))
  return { ...payload, disks: overlays, older: { exports, nodes: disks.map(({ sizeNode }) => sizeNode) } }
}

const fromPayload2 = (value: unknown): unknown => {
  const payload = v.parse(payload2Schema, value)
  return { ...payload, disks: payload.disks.map((disk) => ({ ...disk, ...OVERLAY })) }
}

const version1Schema = v.looseObject({
  machine: v.object({ name: text, qmp: text, guestAgent: v.nullable(text) }),
  ...payload1Schema.entries,
})

/** Version 1 of the journal had no drivers: this one's fields were among the others. */
const fromVersion1 = (value: unknown): unknown => {
  const { machine, transfer, scratchFolder, socketFolder, socketPath, disks, ...head } = v.parse(version1Schema, value)
  const { name, qmp, guestAgent } = machine
  const keys = { qmp, ...(guestAgent === null ? {} : { guest_agent: guestAgent }) }
  return {
    ...head,
    version: 2,
    machine: { name, driver: QMP_DRIVER, address: addressOf(keys), keys },
    payloadVersion: 1,
    payload: { transfer, scratchFolder, socketFolder, socketPath, disks },
  }
}

export const QMP_PAYLOAD: PayloadFormat = {
  version: 3,
  schema: payloadSchema,
  earlier: new Map([
    [1, fromPayload1],
    [2, fromPayload2],
  ]),
  fromVersion1,
}

export const fromJournal = ({ payload, ...head }: JournalEntry): QmpEntry => ({
  ...head,
  ...v.parse(payloadSchema, payload),
})

/** Head and payload, for the journal. */
export const writeEntry = (journal: LeaseJournal, entry: QmpEntry): Promise<void> =>
  journal.write({ ...entry, payload: entry })

/** This driver's entries of the journal. */
export const qmpEntries = async (journal: LeaseJournal): Promise<readonly QmpEntry[]> =>
  (await journal.list()).filter(({ machine }) => machine.driver === QMP_DRIVER).map(fromJournal)
