// What the agent and the command that gives it a lease say to each other: lines of JSON over a socket of the state folder.
import * as v from 'valibot'

export const LEASES_SOCKET = 'leases.sock'

/** Longest line, in bytes: the most disks and files with the longest names. */
export const LINE_BYTES_MAX = 8 * 1024 * 1024

/** The agent's answer; the lease counts as given for as long as the connection lasts. */
export const answerSchema = v.union([
  v.object({ given: v.literal(true) }),
  v.object({ error: v.object({ code: v.string(), message: v.string() }) }),
])
export type Answer = v.InferOutput<typeof answerSchema>
