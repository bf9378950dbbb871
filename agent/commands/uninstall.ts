// The uninstall command: removes everything of Varve's from the host but the configuration file.
import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { AgentConfig } from '../config.ts'
import { findHostConfig } from '../discover/host-config.ts'
import type { Machine } from '../drivers/driver.ts'
import { wayOut } from '../drivers/journal.ts'
import { InstantList } from '../instant/record.ts'
import { RestoreNotes } from '../restore/restore-notes.ts'
import { leftSentences } from '../../protocol/host/machine-report.ts'
import { openDirect, type Direct } from './direct.ts'
import { interruption } from '../../protocol/host/interruption.ts'
import { orAbort } from '../../protocol/host/within.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'

export interface UninstallCommand {
  readonly config: string
  readonly force: boolean
  readonly json: boolean
}

/** How long to wait for a guest that was left frozen, in milliseconds. */
const THAW_WAIT_MS = 60_000

/** What the agent keeps in its state folder. */
const OWN_FILES =
  /^(?:identity\.json|agent-[0-9a-f-]{36}\.key|leases|leases\.sock|external|targets|hooks|attachments|checkpoints|scratch|freezes|restores|instants|former|refusals\.json|\..*\.tmp)$/u

/** Every machine that has or may have something of Varve's: those configured, and those of the journal. */
const machinesOf = async (config: AgentConfig, { journal }: Direct): Promise<Machine[]> => {
  const known = new Map<string, Machine>(config.machines.map((machine) => [machine.address, machine]))
  const names = new Set(config.machines.map(({ name }) => name))
  for (const { machine } of await journal.list()) {
    // a machine whose address changed is reached at its new one
    if (!known.has(machine.address) && !names.has(machine.name)) known.set(machine.address, machine)
  }
  return [...known.values()]
}

/** Thaws, ends leases, and removes bitmaps; what could not be done, one sentence each. */
const cleanMachines = async (config: AgentConfig, direct: Direct): Promise<{ removed: number; problems: string[] }> => {
  const problems: string[] = []
  let removed = 0
  await direct.thawer.takeOver(() => true, THAW_WAIT_MS)
  for (const { machine, guestAgent } of await direct.thawer.notes.list())
    problems.push(`the guest of ${machine} was asked to freeze and has not reported that it is thawed (${guestAgent})`)
  for (const entry of await direct.journal.listUnknown()) problems.push(`${entry.machine.name}: ${wayOut(entry)}`)
  for (const machine of await machinesOf(config, direct)) {
    try {
      const forgotten = await direct.drivers.forget(machine, null)
      removed += forgotten.removed.length
      problems.push(...leftSentences(forgotten).map((sentence) => `${machine.name}: ${sentence}`))
    } catch (thrown) {
      const { message } = asVarveError(thrown)
      problems.push(`${machine.name}: ${message}; bitmaps named varve-… may remain in its images`)
    }
  }
  return { removed, problems }
}

/** Removes what the agent made of its state folder, and the folder where nothing else is in it. */
const removeState = async (state: string): Promise<void> => {
  for (const name of await readdir(state))
    if (OWN_FILES.test(name)) await rm(join(state, name), { recursive: true, force: true })
  await rmdir(state).catch(() => undefined)
}

export const uninstall = async (options: UninstallCommand): Promise<void> => {
  const { config, problem } = await findHostConfig(options.config)
  const { signal } = interruption()
  await using direct = await openDirect(config)
  if (direct === null)
    throw new VarveError('STATE_LOCKED', '"varve-agent run" is running with this state folder: stop it first')
  const { removed, problems } = await orAbort(cleanMachines(config, direct), signal)
  if (problem !== null) problems.push(problem)
  for (const { folder } of await InstantList.in(config.state).all())
    problems.push(`the machine in ${folder} runs from the gateway still: "instant finish" or "instant abandon" it`)
  const restores = await RestoreNotes.in(config.state).settle()
  const done = problems.length === 0 || options.force || direct.isFresh
  if (done) {
    for (const entry of await direct.journal.list()) await direct.drivers.of(entry.machine).removeFiles(entry)
    await removeState(config.state)
  }
  restores.forEach(remark)
  if (options.json) printJson({ removed, problems, state: done ? 'removed' : 'kept' })
  else {
    for (const sentence of problems) print(sentence)
    print(
      `Removed ${removed} ${removed === 1 ? 'bitmap' : 'bitmaps'}${done && !direct.isFresh ? ` and ${config.state}` : ''}.`,
    )
    if (done)
      print(
        'The configuration and the restore points at the gateway stay; "varve-gateway agent revoke" ends this identity.',
      )
  }
  if (problems.length > 0 && !options.force) {
    const kept = done ? '' : `, so ${config.state} is kept: --force removes it anyway`
    throw new VarveError('LEASE_HELD', `not everything can be removed${kept}`)
  }
}
