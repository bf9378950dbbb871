// What the agent and the guard process of a lease's scratch space agree on. The process loads nothing else of the agent's side.
import * as v from 'valibot'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { within } from '../../protocol/host/within.ts'
import { jsonSchema } from '../json-value.ts'
import { processMarkSchema } from '../process-mark.ts'

/** Exit code of a guard that another one has replaced. */
export const GUARD_RELIEVED = 3

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

/** The first line of a guard process's input. */
export const guardOrderSchema = v.object({
  folder: text,
  token: text,
  reserveBytes: v.pipe(v.number(), v.minValue(0)),
  /** What the driver's guard needs to cancel the lease's jobs. */
  rescue: jsonSchema,
  /** The agent, which a guard kills that cannot cancel the jobs beside one that hangs. */
  agent: v.nullable(processMarkSchema),
})
export type GuardOrder = v.InferOutput<typeof guardOrderSchema>

/** The file in a scratch folder that holds the token of the one guard on duty. */
export const guardTokenFile = (folder: string): string => join(folder, 'guard')

/** The file in a scratch folder in which a guard notes that it had to kill the agent. */
export const agentEndedFile = (folder: string): string => join(folder, 'agent-ended')

/** How long a file system may take to say whether a file is there, in milliseconds. */
const FILE_LIMIT_MS = 1_000

/** Whether a file or folder is there; false also where the file system does not answer. */
export const isThere = async (path: string): Promise<boolean> => {
  const there = access(path).then(
    () => true,
    () => false,
  )
  return (await within(there, FILE_LIMIT_MS)) ?? false
}
