// The machines of this agent that the gateway refused: noted by the running agent, reported by the commands.
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { isErrorCode, type ErrorCode } from '../protocol/errors.ts'
import type { Result } from '../protocol/methods.ts'
import { writeSecret } from '../protocol/host/secret-file.ts'

const FILE = 'refusals.json'

const schema = v.object({
  agent: v.string(),
  refused: v.array(
    v.object({
      machine: v.string(),
      code: v.custom<ErrorCode>((code) => isErrorCode(String(code))),
      message: v.string(),
    }),
  ),
})

/** A machine that the gateway refused from this agent, with its reason. */
export type Refusal = v.InferOutput<typeof schema>['refused'][number]

/** Notes what the gateway refused just now, in place of what was noted before. */
export const noteRefusals = async (
  state: string,
  agent: string,
  refused: Result<'agent.inventory'>['refused'],
): Promise<void> => {
  if (refused.length === 0) await rm(path.join(state, FILE), { force: true })
  else await writeSecret(state, FILE, `${JSON.stringify({ agent, refused }, null, 2)}\n`)
}

/** What was noted for this agent; none where nothing can be read. */
export const readRefusals = async (state: string, agent: string): Promise<readonly Refusal[]> => {
  try {
    const noted = v.parse(schema, JSON.parse(await readFile(path.join(state, FILE), 'utf8')))
    return noted.agent === agent ? noted.refused : []
  } catch {
    return []
  }
}
