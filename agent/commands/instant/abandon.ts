// The command "instant abandon": ends a machine that runs from the gateway and deletes its disks, with what was written to them.
import { existsSync } from 'node:fs'
import { rm, rmdir } from 'node:fs/promises'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { interruption } from '../../../protocol/host/interruption.ts'
import { print, printJson } from '../../../protocol/host/output.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import { readConfig } from '../../config.ts'
import { stateFolderOf } from '../../instant/caller.ts'
import { destroyDomain } from '../../instant/domain.ts'
import { InstantList, openRecord, type InstantRecord, type Places } from '../../instant/record.ts'
import { endServer } from '../../instant/start-server.ts'
import { QmpClient } from '../../qmp/client.ts'
import { guardTarget } from '../../restore/target-guard.ts'
import { disksOf, stateOf, sumsOf } from './told.ts'

/** How long QEMU may take to end, in milliseconds. */
const QUIT_LIMIT_MS = 30_000

export interface AbandonCommand {
  readonly config: string
  readonly yes: boolean
  readonly loseWrites: boolean
  readonly json: boolean
}

/** Ends the QEMU on the disks, as if its power went; nothing where there is none. */
const endMachine = async (places: Places, { domain }: InstantRecord): Promise<void> => {
  if (domain !== null) await destroyDomain(domain)
  let client: QmpClient
  try {
    client = await QmpClient.connect({ path: places.qmp })
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code === 'QMP_UNAVAILABLE' && error.details['held'] !== true) return
    throw error
  }
  await using _ = client
  await client.execute('quit', {}, { timeoutMs: QUIT_LIMIT_MS })
  await client.closed
}

export const instantAbandon = async (folder: string, { yes, loseWrites, json }: AbandonCommand): Promise<void> => {
  using _ = interruption()
  const { places, record } = await openRecord(folder)
  const { way } = record
  const machines = 'config' in way ? (await readConfig(way.config)).machines : []
  const state = await stateOf(places).catch(() => null)
  const { writtenBytes } = sumsOf(disksOf(record, state))
  const runs = state !== null && state.machine !== 'off'
  const hasWritten = record.hasRun || existsSync(places.ran) || writtenBytes > 0 || runs
  const lost = hasWritten
    ? `${runs ? 'it runs now and would be ended, and ' : ''}what its guest has written since ${new Date(record.begunMs).toISOString()} would be lost (${sizeText(writtenBytes)} or more)`
    : 'it has not run, so nothing would be lost'
  const wanted = hasWritten ? '--yes --lose-writes' : '--yes'
  if (!yes || (hasWritten && !loseWrites))
    throw new VarveError(
      'TARGET_IN_USE',
      `this would delete the disks of ${record.machine} in ${places.folder}; ${lost}: to do it all the same, say ${wanted}; "instant finish" makes them stand alone instead`,
    )
  const list = InstantList.in(await stateFolderOf(way))
  const files = record.disks.map(({ file }) => file)
  // before it ends, or the agent would start it anew
  await list.remove(record.id)
  try {
    await endServer(places)
    await endMachine(places, record)
    // nothing that runs loses a disk
    await using locks = new AsyncDisposableStack()
    for (const file of files) locks.use(await guardTarget(file, machines))
    for (const file of [...files, ...record.files]) await rm(file, { recursive: true, force: true })
  } catch (error) {
    await list.add(record.id, places.folder)
    throw error
  }
  await rm(places.record, { force: true })
  await rm(places.private, { recursive: true, force: true })
  await rmdir(places.folder).catch(() => undefined)
  if (json) return printJson({ folder: places.folder, machine: record.machine, writtenBytes })
  print(
    `The disks of ${record.machine} in ${places.folder} are deleted${hasWritten ? `: ${lost.replaceAll('would be', 'is')}` : ''}.`,
  )
}
