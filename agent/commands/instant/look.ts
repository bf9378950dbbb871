// The commands "instant status", "instant resume" and "instant finish".
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { interruption } from '../../../protocol/host/interruption.ts'
import { Meter } from '../../../protocol/host/meter.ts'
import { print, printJson, printTable, remark } from '../../../protocol/host/output.ts'
import { Progress } from '../../../protocol/host/progress.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import { askServer } from '../../instant/control.ts'
import { mapImage } from '../../instant/image-map.ts'
import { findRecord, openRecord, type InstantRecord, type Places } from '../../instant/record.ts'
import { startStandIn, type StandIn } from '../../instant/stand-in.ts'
import { isServed, startServer } from '../../instant/start-server.ts'
import { listsOf } from './lists.ts'
import { startMachine } from './start.ts'
import { disksOf, keepText, progressText, rowOf, stateOf, stateText, sumsOf } from './told.ts'

/** How long the process that serves the disks may take to begin before a command goes on without it, in milliseconds. */
const SERVE_LIMIT_MS = 30_000

/** How often what has come is looked at, in milliseconds. */
const LOOK_MS = 500

/** How long a machine has to be off before another QEMU takes its place, in milliseconds. */
const OFF_MS = 2_000

/** Pause before a process that serves the disks is started anew, in milliseconds. */
const AGAIN_MS = 2_000

export interface LookCommand {
  readonly config: string
  readonly json: boolean
}

export interface ResumeCommand extends LookCommand {
  readonly start: boolean
}

const found = async (folder: string | undefined, config: string): Promise<Places[]> => {
  if (folder !== undefined) return [(await openRecord(folder)).places]
  return (await Promise.all((await listsOf(config)).map((list) => list.all()))).flat()
}

export const instantStatus = async (folder: string | undefined, { config, json }: LookCommand): Promise<void> => {
  const rows: object[] = []
  const cells: string[][] = []
  for (const places of await found(folder, config)) {
    const record = await findRecord(places)
    if (record === null) continue
    const state = await stateOf(places)
    rows.push(rowOf(places, record, state))
    const keep = keepText(record, state)
    if (keep !== null) remark(keep)
    const sums = sumsOf(disksOf(record, state))
    cells.push([
      record.machine,
      places.folder,
      progressText(sums),
      sizeText(sums.writtenBytes),
      stateText(record, state),
    ])
  }
  if (json) return printJson({ instants: rows })
  if (cells.length === 0) print('No machine of this host runs from the gateway.')
  else printTable(['MACHINE', 'FOLDER', 'DISKS', 'WRITTEN', 'STATE'], cells)
}

export const instantResume = async (folder: string, { json, start }: ResumeCommand): Promise<void> => {
  const { signal } = interruption()
  const { places, record } = await openRecord(folder)
  const serving = await startServer(places, SERVE_LIMIT_MS, signal)
  signal.throwIfAborted()
  if (!serving) remark('the gateway is away: reads of what is not here yet wait for it')
  if (start) await startMachine(places, record)
  if (json) return printJson({ folder: places.folder, machine: record.machine, serving, started: start })
  print(`The disks of ${record.machine} in ${places.folder} are served${start ? ', and it is started' : ''}.`)
}

/** TARGET_INVALID unless every disk needs nothing but its image. */
const checkAlone = async ({ disks }: InstantRecord): Promise<void> => {
  for (const { name, file } of disks) {
    const { isBacked, missingBytes } = await mapImage(file)
    if (isBacked || missingBytes > 0)
      throw new VarveError('TARGET_INVALID', `disk ${name} in ${file} is not complete: restore it with "restore"`)
  }
}

export const instantFinish = async (folder: string, { json }: LookCommand): Promise<void> => {
  const { signal } = interruption()
  const { places, record } = await openRecord(folder)
  using progress = new Progress('varve-agent', !json)
  const startedMs = performance.now()
  const meter = new Meter()
  await using resources = new AsyncDisposableStack()
  let standIn: StandIn | null = null
  let offSinceMs: number | null = null
  let isHurried = false
  let receivedBytes = 0
  let told = ''
  while ((await findRecord(places)) !== null) {
    signal.throwIfAborted()
    if (!(await isServed(places))) {
      isHurried = false
      try {
        await startServer(places, SERVE_LIMIT_MS, signal)
      } catch (thrown) {
        // it may have ended because all is done
        if ((await findRecord(places)) === null) break
        throw asVarveError(thrown)
      }
    }
    const state = await askServer(places.control, isHurried ? 'status' : 'hurry').catch(() => null)
    if (state === null) {
      await sleep(AGAIN_MS, undefined, { signal }).catch(() => undefined)
      continue
    }
    isHurried = true
    receivedBytes = Math.max(receivedBytes, state.receivedBytes)
    offSinceMs = state.machine === 'off' ? (offSinceMs ?? performance.now()) : null
    if (standIn === null && state.serving && offSinceMs !== null && performance.now() - offSinceMs > OFF_MS) {
      const one = await startStandIn(places, record)
      resources.use(one)
      standIn = one
      const onEnd = async (): Promise<void> => {
        told = (await one.ended) || told
        standIn = null
        offSinceMs = null
      }
      void onEnd()
    }
    const sums = sumsOf(state.disks)
    meter.add(performance.now(), sums.doneBytes)
    const waits = state.away !== null || state.disks.some(({ stuck }) => stuck !== null)
    const why = waits ? stateText(record, state) : told
    progress.show(() => `${record.machine}: ${meter.text(sums.doneBytes, sums.sizeBytes)}${why && `; ${why}`}`)
    await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined)
  }
  progress.clear()
  await checkAlone(record)
  const durationMs = Math.round(performance.now() - startedMs)
  const disks = record.disks.map(({ name, size, file }) => ({ disk: name, size, path: file }))
  if (json) return printJson({ folder: places.folder, machine: record.machine, disks, receivedBytes, durationMs })
  print(`The disks of ${record.machine} in ${places.folder} stand alone after ${(durationMs / 1000).toFixed(1)} s.`)
}
