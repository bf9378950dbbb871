// What a driver is given of an agent, for a test.

import type { DriverHost } from '../../agent/drivers/driver.ts'
import { openJournal } from '../../agent/drivers/registry.ts'
import { FreezeNotes } from '../../agent/guest/freeze-notes.ts'
import { Thawer } from '../../agent/guest/thawer.ts'

/** Space that stays free unless a test says otherwise, in bytes. */
const RESERVE_BYTES = 256 * 1024 * 1024

/** Over the journal and the notes of a state folder. */
export const driverHost = async (stateFolder: string, changes: Partial<DriverHost> = {}): Promise<DriverHost> => {
  const log = changes.log ?? { info: () => undefined, warn: () => undefined }
  const journal = changes.journal ?? (await openJournal(stateFolder))
  const thawer = new Thawer({ notes: FreezeNotes.in(stateFolder), log })
  return { stateFolder, agents: [], journal, thawer, reserveBytes: RESERVE_BYTES, log, ...changes }
}
