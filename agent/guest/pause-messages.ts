// The messages between the agent and the process that guards a stopped machine, one line of JSON each.
import * as v from 'valibot'
import { processMarkSchema } from '../process-mark.ts'
import { freezeOrderSchema } from './freeze-messages.ts'

/** How often the agent tells its guard that it lives, in milliseconds. */
export const PAUSE_BEAT_MS = 200

/**
 * The first line; `guestAgent` is the machine's address as `pausedMachine` writes it. Then `alive` again and again, and `done`
 * once the machine runs again; the end of the input without it means that the agent is gone.
 */
export const pauseOrderSchema = v.object({
  ...freezeOrderSchema.entries,
  /** The agent, where it holds the only way to the machine: it is killed when it hangs with the machine stopped. */
  agent: v.nullable(processMarkSchema),
})
export type PauseOrder = v.InferOutput<typeof pauseOrderSchema>

/** `armed`: from now on the guard continues the machine if the agent does not. */
export const pauseReportSchema = v.variant('state', [
  v.object({ state: v.literal('armed') }),
  v.object({ state: v.literal('failed'), code: v.string(), message: v.string() }),
])
export type PauseReport = v.InferOutput<typeof pauseReportSchema>
