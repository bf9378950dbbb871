// The instant command: a machine of a restore point that can run at once, on disks that are read from the gateway until they
// are all here.
import { execFile } from 'node:child_process'
import { chmod, lstat, mkdir, realpath, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../../protocol/errors.ts'
import { durationText } from '../../../protocol/host/duration.ts'
import { fileError } from '../../../protocol/host/file-error.ts'
import { print, printJson, remark } from '../../../protocol/host/output.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import type { Point } from '../../../protocol/schemas.ts'
import { makeOverlay } from '../../instant/overlay.ts'
import {
  checkLength,
  imageNameOf,
  InstantList,
  newRecord,
  placesIn,
  writeRecord,
  type InstantRecord,
  type Places,
} from '../../instant/record.ts'
import { endServer, startServer } from '../../instant/start-server.ts'
import { startScript } from '../../instant/start-script.ts'
import { targetError } from '../../restore/target-error.ts'
import { makeFolder, removeFolders } from '../../make-folder.ts'
import { withGateway, type CommandContext } from '../context.ts'

export interface BeginCommand {
  readonly config: string
  readonly to: string
  readonly start: boolean
  readonly reconnectFor: number
  readonly cacheMemory: number
  /** Absent for no limit. */
  readonly speed?: number
  readonly timeout?: number
  readonly json: boolean
}

/** How long the process that serves the disks may take to begin, in milliseconds. */
const SERVE_LIMIT_MS = 60_000

/** How long QEMU may take to start, in milliseconds. */
const SCRIPT_LIMIT_MS = 120_000

/** Shortest time that reads wait: restarts of the process that serves them take less. In milliseconds. */
const RECONNECT_MS_MIN = 10_000

/** Longest, in milliseconds: a day. */
const RECONNECT_MS_MAX = 24 * 60 * 60_000

const CACHE_BYTES_MIN = 8 * 1024 * 1024

export const AGENT_PROGRAM = fileURLToPath(new URL('../../varve-agent', import.meta.url))

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

const checkOptions = ({ to, reconnectFor, cacheMemory }: BeginCommand): void => {
  if (to === '') throw wrong('--to takes the path of a folder')
  if (reconnectFor < RECONNECT_MS_MIN || reconnectFor > RECONNECT_MS_MAX)
    throw wrong(`--reconnect-for is from ${durationText(RECONNECT_MS_MIN)} to ${durationText(RECONNECT_MS_MAX)}`)
  if (cacheMemory < CACHE_BYTES_MIN) throw wrong(`--cache-memory is at least ${sizeText(CACHE_BYTES_MIN)}`)
}

/** Makes the folder where it is not there; gives what was made. */
const openFolder = async (to: string): Promise<{ places: Places; made: string[] }> => {
  try {
    const made = await makeFolder(path.resolve(to), 0o700)
    const places = placesIn(await realpath(to))
    return { places, made }
  } catch (error) {
    throw targetError(`cannot write to ${to}`, error)
  }
}

/** TARGET_EXISTS before anything is written. */
const checkFree = async (files: readonly string[]): Promise<void> => {
  for (const file of files) {
    const found = await lstat(file).catch(() => null)
    if (found !== null) throw new VarveError('TARGET_EXISTS', `${file} is there already: name another folder with --to`)
  }
}

/** Runs the start script; QMP_UNAVAILABLE with what QEMU said. */
export const runScript = ({ script }: Places): Promise<void> =>
  new Promise((resolve, reject) => {
    execFile(script, [], { timeout: SCRIPT_LIMIT_MS }, (error, _, stderr) => {
      if (error === null) resolve()
      else {
        const why = stderr.trim() || error.message
        const way = 'change it and run it again, or "instant abandon" the disks'
        reject(new VarveError('QMP_UNAVAILABLE', `${script} failed: ${why}: ${way}`))
      }
    })
  })

interface Begun {
  readonly places: Places
  readonly record: InstantRecord
}

/** Makes everything and serves it; what was made is undone where something fails. */
const make = async (
  { config, signal }: Pick<CommandContext, 'config' | 'signal'>,
  point: Point,
  options: BeginCommand,
  extra: readonly string[],
): Promise<Begun> => {
  const { places, made } = await openFolder(options.to)
  await using undo = new AsyncDisposableStack()
  undo.defer(() => removeFolders(made))
  checkLength(places)
  const record = newRecord({
    point: point.id,
    machine: point.machine,
    timeMs: point.timeMs,
    begunMs: Date.now(),
    config: path.resolve(options.config),
    disks: point.disks.map(({ name, size }) => {
      const file = path.join(places.folder, imageNameOf(name))
      return { name, size, file, alone: false, writtenBytes: 0 }
    }),
    reconnectMs: options.reconnectFor,
    cacheBytes: options.cacheMemory,
    speed: options.speed ?? 0,
  })
  const { script, private: inside, ownQmp, pid } = places
  await checkFree([inside, script, ownQmp, pid, ...record.disks.map(({ file }) => file)])
  try {
    undo.defer(() => rm(inside, { recursive: true, force: true }))
    await mkdir(inside, { mode: 0o700 })
    for (const disk of record.disks) {
      signal.throwIfAborted()
      undo.defer(() => rm(disk.file, { force: true }))
      await makeOverlay(disk, places, record)
      await chmod(disk.file, 0o600)
    }
    undo.defer(() => rm(script, { force: true }))
    await writeFile(script, startScript({ places, record, agent: AGENT_PROGRAM, extra }), { mode: 0o700, flag: 'wx' })
  } catch (error) {
    throw fileError(places.folder, error)
  }
  const list = InstantList.in(config.state)
  undo.defer(() => endServer(places))
  // before it ends, or the agent would start it anew
  undo.defer(() => list.remove(record.id))
  await writeRecord(places, record)
  await list.add(record.id, places.folder)
  const served = await startServer(places, SERVE_LIMIT_MS, signal)
  signal.throwIfAborted()
  if (!served) throw new VarveError('CONNECTION_LOST', 'the disks could not be served in time: try again')
  undo.move()
  return { places, record }
}

export const begin = async (prefix: string, extra: readonly string[], options: BeginCommand): Promise<void> => {
  checkOptions(options)
  const startedMs = performance.now()
  const patience = options.timeout === undefined ? {} : { timeout: options.timeout }
  const { places, record, isKept } = await withGateway(
    options.config,
    async (context) => {
      const { point } = await context.link.call('points.get', { point: prefix }, context.signal)
      if (point.disks.length === 0) throw new VarveError('NOT_FOUND', `restore point ${prefix} has no disks`)
      return { ...(await make(context, point, options, extra)), isKept: point.held }
    },
    { ...patience, works: true },
  )
  if (options.start) await runScript(places)
  const durationMs = Math.round(performance.now() - startedMs)
  const { folder, script } = places
  if (!isKept)
    remark(`a prune may remove the restore point before all of it is here: varve-gateway hold ${record.point}`)
  if (options.json) {
    const disks = record.disks.map(({ name, size, file }) => ({ disk: name, size, path: file }))
    const of = { point: record.point, machine: record.machine, folder, script }
    return printJson({ ...of, disks, started: options.start, durationMs })
  }
  const sizes = sizeText(record.disks.reduce((sum, { size }) => sum + size, 0))
  const at = new Date(record.timeMs).toISOString()
  print(`${record.machine} at ${at} can run from ${folder} (${sizes}) after ${(durationMs / 1000).toFixed(1)} s.`)
  print(options.start ? `${script} has started it.` : `Start it with ${script}`)
  print(`Its disks are brought in while it runs: "varve-agent instant finish ${folder}" waits until they stand alone.`)
}
