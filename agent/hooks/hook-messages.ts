// The messages between the agent and the process that runs the hooks of one lease, one line of JSON each.
import * as v from 'valibot'
import { hookNoteSchema } from './hook-notes.ts'

const hook = hookNoteSchema.entries.after
const variables = v.record(v.string(), v.string())

/** The first line; then one of `HookAfter`. The end of the input without it means that the agent is gone. */
export const hookOrderSchema = v.object({
  /** The folder of the notes. */
  notes: v.pipe(v.string(), v.minLength(1)),
  id: hookNoteSchema.entries.id,
  machine: hookNoteSchema.entries.machine,
  lease: hookNoteSchema.entries.lease,
  before: v.nullable(hook),
  after: v.nullable(hook),
  variables,
})
export type HookOrder = v.InferOutput<typeof hookOrderSchema>

/** What came of the instant: `failed`, or the consistency that was reached. */
export const hookAfterSchema = v.object({ result: v.string() })
export type HookAfter = v.InferOutput<typeof hookAfterSchema>

const outcome = v.object({ tookMs: v.number(), fault: v.nullable(v.string()) })

/** The answer to each line: how the command before the instant ended, and the one after it; null where there is none. */
export const hookReportSchema = v.object({ outcome: v.nullable(outcome) })
export type HookReport = v.InferOutput<typeof hookReportSchema>
