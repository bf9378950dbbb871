// Continues a machine that its agent has stopped for an instant, when the agent dies, hangs, or is too late. It notes the stop
// before the agent may make it, and retries without limit.
//
//   standard input    one line of JSON (PauseOrder), then "alive" again and again, and "done" once the machine runs
//   standard output   one line of JSON (PauseReport)
import * as v from 'valibot'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError } from '../../protocol/errors.ts'
import { endProcess, markProcess, processState } from '../process-mark.ts'
import { FreezeNotes, type FreezeNote } from './freeze-notes.ts'
import { machineGone } from './machine-gone.ts'
import { pauseOrderSchema, type PauseOrder, type PauseReport } from './pause-messages.ts'
import { thawVerified } from './thaw.ts'

/** How much later than the limit the agent may be, in milliseconds: it continues the machine itself at the limit. */
const GRACE_MS = 1_000

/** An agent that has said nothing for this long is taken to hang, in milliseconds. */
const SILENT_MS = 2_000

/** Pause between two looks at an agent that is late, in milliseconds. */
const LOOK_MS = 50

/** The agent's input so far. */
interface Agent {
  heardMs: number
  done: boolean
  gone: boolean
  wake: () => void
}

const report = (line: PauseReport): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const hangs = ({ agent: mark }: PauseOrder, { heardMs }: Agent): boolean =>
  (mark !== null && processState(mark) === 'stopped') || performance.now() - heardMs > SILENT_MS

/** Until the machine is this process's to continue; false once the agent has done that. */
const isLeftToUs = async (order: PauseOrder, agent: Agent): Promise<boolean> => {
  const { promise: woken, resolve } = Promise.withResolvers<void>()
  agent.wake = resolve
  if (!agent.done && !agent.gone) await Promise.race([woken, sleep(order.timeoutMs + GRACE_MS)])
  while (!agent.done && !agent.gone) {
    // beside an agent that does not hold the only way in there is nothing to wait for
    if (order.agent === null) return true
    if (hangs(order, agent)) endProcess(order.agent)
    await sleep(LOOK_MS)
  }
  return !agent.done
}

const guard = async (order: PauseOrder, agent: Agent): Promise<void> => {
  const { guestAgent, id, machine, qmp, lease } = order
  const notes = new FreezeNotes(order.notes)
  const freezer = markProcess()
  const note: FreezeNote = { version: 1, id, guestAgent, machine, qmp, lease, freezer, sinceMs: Date.now() }
  await notes.create(note)
  report({ state: 'armed' })
  if (await isLeftToUs(order, agent)) {
    void machineGone([guestAgent], new AbortController().signal).then(() => process.exit(0))
    await thawVerified({ guestAgent })
  }
  await notes.remove(note).catch(() => undefined)
}

const main = async (): Promise<void> => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
  process.stdout.on('error', () => undefined)
  const agent: Agent = { heardMs: performance.now(), done: false, gone: false, wake: () => undefined }
  const first = Promise.withResolvers<string | null>()
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    agent.heardMs = performance.now()
    if (line === 'done') agent.done = true
    else if (line !== 'alive') first.resolve(line)
    if (agent.done) agent.wake()
  })
  lines.on('close', () => {
    agent.gone = true
    first.resolve(null)
    agent.wake()
  })
  const text = await first.promise
  if (text === null) return
  try {
    await guard(v.parse(pauseOrderSchema, JSON.parse(text)), agent)
  } catch (error) {
    const { code, message } = asVarveError(error)
    report({ state: 'failed', code, message })
  }
  process.exit(0)
}

await main()
