// Work on this host's machines without a running agent: locks its state folder and uses its drivers directly.
import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asVarveError } from '../../protocol/errors.ts'
import type { AgentConfig } from '../config.ts'
import { FreezeNotes } from '../guest/freeze-notes.ts'
import { Thawer } from '../guest/thawer.ts'
import type { LeaseJournal } from '../drivers/journal.ts'
import { Drivers, openJournal } from '../drivers/registry.ts'
import { openLog } from '../../protocol/host/log.ts'
import { removeFolders } from '../make-folder.ts'
import { makeStateFolder } from '../state-folder.ts'
import { lockState } from '../state-lock.ts'
import { noMachine } from './no-machine.ts'

export interface Direct extends AsyncDisposable {
  readonly drivers: Drivers
  readonly journal: LeaseJournal
  readonly thawer: Thawer
  /** The state folder did not exist before, and is removed again. */
  readonly isFresh: boolean
}

/** Null while an agent runs with the state folder. */
export const openDirect = async (config: AgentConfig): Promise<Direct | null> => {
  const made = await makeStateFolder(config.state)
  await using resources = new AsyncDisposableStack()
  // a folder that was created here stays only if it is not empty
  if (made.length > 0)
    resources.defer(async () => {
      await rmdir(join(config.state, 'leases')).catch(() => undefined)
      await removeFolders(made)
    })
  try {
    resources.use(await lockState(config.state))
  } catch (thrown) {
    if (asVarveError(thrown).code === 'STATE_LOCKED') return null
    throw thrown
  }
  const log = openLog({ level: 'silent' })
  const thawer = resources.use(new Thawer({ notes: FreezeNotes.in(config.state), log }))
  const journal = await openJournal(config.state)
  const host = { stateFolder: config.state, agents: [], journal, thawer, reserveBytes: config.scratch_reserve, log }
  const drivers = resources.use(await Drivers.open(host))
  const all = resources.move()
  return { drivers, journal, thawer, isFresh: made.length > 0, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** A machine of the configuration; NOT_FOUND lists them. */
export const machineOf = ({ machines }: AgentConfig, name: string): AgentConfig['machines'][number] => {
  const machine = machines.find((one) => one.name === name)
  if (machine !== undefined) return machine
  throw noMachine(name, machines)
}
