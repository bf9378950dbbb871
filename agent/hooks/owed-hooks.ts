// Runs at the start of an agent what an earlier run still owes of its hooks.
import type { Log } from '../../protocol/host/log.ts'
import { HookNotes } from './hook-notes.ts'
import { runLeftHooks } from './left-hooks.ts'

/** In the background: nothing waits for commands that an earlier run still owes but their own machines. */
export const runOwedHooks = (stateFolder: string, log: Log): void => {
  runLeftHooks(HookNotes.in(stateFolder), null, ({ machine, lease }, { fault }) =>
    log.warn({ machine, lease, fault }, 'the hook after an instant was still owed, and has run'),
  ).catch((error: unknown) => log.warn({ err: error }, 'what hooks are owed cannot be read'))
}
