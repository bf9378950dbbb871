// The messages between the agent and its freezer process, one line of JSON each.

import * as v from 'valibot'

/** Longest freeze that may be asked for, in milliseconds. */
export const FREEZE_LIMIT_MAX_MS = 60_000

/** Most file systems that one freeze may name. */
export const FREEZE_ONLY_MAX = 64

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

export const freezeOrderSchema = v.object({
  guestAgent: text,
  /** Mount points of the file systems to freeze; absent for all. */
  mountpoints: v.optional(v.pipe(v.array(text), v.minLength(1), v.maxLength(FREEZE_ONLY_MAX), v.readonly())),
  timeoutMs: v.pipe(v.number(), v.minValue(1), v.maxValue(FREEZE_LIMIT_MAX_MS)),
  /** The folder of the notes of freezes, and what the note of this one says. */
  notes: text,
  id: text,
  machine: text,
  qmp: text,
  lease: text,
})
export type FreezeOrder = v.InferOutput<typeof freezeOrderSchema>

/** `thawing` acknowledges the order to thaw at once; a freezer that does not send it is considered dead. */
export const freezeReportSchema = v.variant('state', [
  v.object({ state: v.literal('frozen') }),
  v.object({ state: v.literal('thawing') }),
  v.object({ state: v.literal('thawed'), frozenMs: v.number(), inTime: v.boolean() }),
  v.object({ state: v.literal('failed'), code: v.string(), message: v.string() }),
])
export type FreezeReport = v.InferOutput<typeof freezeReportSchema>
