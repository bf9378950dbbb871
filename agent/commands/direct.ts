// Work on this host's machines without a running agent: locks its state folder and uses its drivers directly.
import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { orElse } from '../../protocol/nearest.ts'
import type { AgentConfig } from '../config.ts'
import { FreezeNotes } from '../guest/freeze-notes.ts'
import { Thawer } from '../guest/thawer.ts'
import type { LeaseJournal } from '../drivers/journal.ts'
import { Drivers, openJournal } from '../drivers/registry.ts'
import { openLog } from '../../protocol/host/log.ts'
import { removeFolders } from '../make-folder.ts'
import { makeStateFolder } from '../state-folder.ts'
import { lockState } from '../state-lock.ts'

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
  const drivers = resources.use(new Drivers(host))
  const all = resources.move()
  return { drivers, journal, thawer, isFresh: made.length > 0, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** NOT_FOUND for a machine that is neither configured here nor known to the gateway, with the one that was probably meant. */
export const noMachine = (name: string, machines: AgentConfig['machines']): VarveError => {
  const names = machines.map((one) => one.name)
  return new VarveError('NOT_FOUND', `there is no machine "${name}"; ${orElse(name, names, 'this host has')}`)
}

/** A machine of the configuration; NOT_FOUND lists them. */
export const machineOf = ({ machines }: AgentConfig, name: string): AgentConfig['machines'][number] => {
  const machine = machines.find((one) => one.name === name)
  if (machine !== undefined) return machine
  throw noMachine(name, machines)
}
