// Runs the hooks of one lease in a separate process, so that the command after the instant runs even when the agent is killed.
//
//   standard input    one line of JSON (HookOrder), then one (HookAfter); its end means that the agent is gone
//   standard output   one line of JSON (HookReport) for each
import * as v from 'valibot'
import { createInterface } from 'node:readline'
import { markProcess } from '../process-mark.ts'
import { hookAfterSchema, hookOrderSchema, type HookReport } from './hook-messages.ts'
import { HookNotes } from './hook-notes.ts'
import { runHook, type HookOutcome } from './run-hook.ts'
import type { Hook } from './settings.ts'

const report = (line: HookReport): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const outcomeOf = async (
  hook: Hook | null,
  variables: Readonly<Record<string, string>>,
): Promise<HookOutcome | null> => (hook === null ? null : await runHook(hook, variables))

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
process.stdout.on('error', () => undefined)

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const nextLine = async (): Promise<string | null> => {
  const { value, done } = await lines.next()
  return done === true ? null : value
}

const text = await nextLine()
if (text === null) process.exit(0)
const { notes: folder, id, machine, lease, before, after, variables } = v.parse(hookOrderSchema, JSON.parse(text))
const notes = new HookNotes(folder)
if (after !== null) await notes.write({ version: 1, id, machine, lease, after, runner: markProcess() })
report({ outcome: await outcomeOf(before, { ...variables, VARVE_HOOK: 'before' }) })
const line = await nextLine()
const result = line === null ? 'failed' : v.parse(hookAfterSchema, JSON.parse(line)).result
report({ outcome: await outcomeOf(after, { ...variables, VARVE_HOOK: 'after', VARVE_RESULT: result }) })
if (after !== null) await notes.remove(id)
process.exit(0)
