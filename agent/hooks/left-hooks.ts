// Runs the commands after an instant that nobody has run, as their process was killed.
import { setTimeout as sleep } from 'node:timers/promises'
import { endProcess, markProcess, processState } from '../process-mark.ts'
import type { HookNote, HookNotes } from './hook-notes.ts'
import { runHook, type HookOutcome } from './run-hook.ts'

/** Pause between two looks at a process that runs one, in milliseconds. */
const LOOK_MS = 50

/** Those that this process runs, by the ids of their notes. */
const running = new Map<string, Promise<HookOutcome>>()

const runNow = async (notes: HookNotes, note: HookNote): Promise<HookOutcome> => {
  const { id, machine, lease, after } = note
  // it is owed also where no note can be written, as on a full disk
  await notes.write({ ...note, runner: markProcess() }).catch(() => undefined)
  const about = { VARVE_MACHINE: machine, VARVE_LEASE: lease }
  const outcome = await runHook(after, { ...about, VARVE_HOOK: 'after', VARVE_RESULT: 'failed' })
  await notes.remove(id)
  return outcome
}

const runOnce = (notes: HookNotes, note: HookNote): Promise<HookOutcome> => {
  const known = running.get(note.id)
  if (known !== undefined) return known
  const started = runNow(notes, note).finally(() => running.delete(note.id))
  running.set(note.id, started)
  return started
}

/** Those of one machine, or of all; waits for those that their own processes still run. Calls `onRun` for each that it ran. */
export const runLeftHooks = async (
  notes: HookNotes,
  machine: string | null,
  onRun: (note: HookNote, outcome: HookOutcome) => void = () => undefined,
): Promise<void> => {
  const owed = async (): Promise<HookNote[]> =>
    (await notes.list()).filter((note) => machine === null || note.machine === machine)
  for (let left = await owed(); left.length > 0; left = await owed()) {
    for (const note of left) {
      const { runner } = note
      const isMine = running.has(note.id)
      const state = runner === null || isMine ? 'gone' : processState(runner)
      // one that stands still would owe it for ever
      if (state === 'stopped') endProcess(runner!)
      if (state !== 'gone') continue
      const outcome = await runOnce(notes, note)
      if (!isMine) onRun(note, outcome)
    }
    await sleep(LOOK_MS)
  }
}
