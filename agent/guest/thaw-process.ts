// Undoes a noted freeze in a separate process that outlives the agent. It retries without limit.
//
//   arguments   the folder of the notes, the id of the note

import { machineGone } from './machine-gone.ts'
import { FreezeNotes } from './freeze-notes.ts'
import { markProcess } from '../process-mark.ts'
import { thawVerified } from './thaw.ts'

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

const [folder = '', id = ''] = process.argv.slice(2)
const notes = new FreezeNotes(folder)
const note = (await notes.list()).find((each) => each.id === id)
if (note !== undefined) {
  // tells the next agent which process thaws; not needed for the thaw
  await notes.replace({ ...note, freezer: markProcess() }).catch(() => undefined)
  const sockets = [note.guestAgent, note.qmp].filter((path) => path !== '')
  void machineGone(sockets, new AbortController().signal).then(() => process.exit(0))
  await thawVerified({ guestAgent: note.guestAgent, wanted: () => notes.holds(note) })
  await notes.remove(note).catch(() => undefined)
}
process.exit(0)
