// Asks the process that serves a folder's disks: a line there, a line back.
import { createConnection } from 'node:net'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'

/** How long an answer may take, in milliseconds. */
const ANSWER_LIMIT_MS = 5_000

/** Longest answer, in bytes. */
const ANSWER_BYTES_MAX = 1024 * 1024

const text = v.pipe(v.string(), v.maxLength(8192))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

export const instantStateSchema = v.object({
  pid: natural,
  /** Whether reads are served; before, it waits for the gateway. */
  serving: v.boolean(),
  /** Why the gateway cannot be reached; null while it can. */
  away: v.nullable(text),
  machine: v.picklist(['off', 'running', 'stopped', 'io-error']),
  receivedBytes: natural,
  /** Whether the gateway keeps the point, as it is used, held or locked; `prunable` may go at any prune. */
  kept: v.picklist(['unknown', 'kept', 'prunable', 'removed']),
  /** Until when it is kept without another word, by the gateway's clock; null where it is not by this. */
  keptUntilMs: v.nullable(natural),
  /** Why the last look at the machine failed; null where it did not. */
  problem: v.nullable(text),
  disks: v.array(
    v.object({
      name: text,
      size: natural,
      alone: v.boolean(),
      doneBytes: natural,
      writtenBytes: natural,
      stuck: v.nullable(text),
    }),
  ),
})
export type InstantState = Readonly<v.InferOutput<typeof instantStateSchema>>

/** `hurry`: without a limit of speed; `end`: serves no more, and leaves everything as it is; `give up`: nor will anybody. */
export type ControlOrder = 'status' | 'hurry' | 'end' | 'give up'

const exchange = (socket: string, order: ControlOrder): Promise<string | null> =>
  new Promise((resolve, reject) => {
    const connection = createConnection({ path: socket })
    let answer = ''
    connection.setEncoding('utf8').setTimeout(ANSWER_LIMIT_MS)
    connection.once('connect', () => connection.write(`${order}\n`))
    connection.on('data', (piece: string) => {
      answer += piece
      if (answer.length > ANSWER_BYTES_MAX) connection.destroy()
    })
    connection.once('timeout', () => {
      connection.destroy()
      reject(new VarveError('DEADLINE_EXCEEDED', `the process that serves ${socket} does not answer`))
    })
    connection.once('error', () => resolve(null))
    connection.once('close', () => resolve(answer === '' ? null : answer))
  })

/** Null where no process serves the folder. */
export const askServer = async (socket: string, order: ControlOrder): Promise<InstantState | null> => {
  const answer = await exchange(socket, order)
  if (answer === null) return null
  const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), instantStateSchema), answer)
  return checked.success ? checked.output : null
}
