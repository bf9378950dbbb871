// The instant command: a machine of a restore point that can run at once, on disks that are read from the gateway until they
// are all here.
import { chmod, lstat, mkdir, realpath, rm } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { durationText } from '../../../protocol/host/duration.ts'
import { fileError } from '../../../protocol/host/file-error.ts'
import type { Moment } from '../../../protocol/host/moment.ts'
import { print, printJson, remark } from '../../../protocol/host/output.ts'
import { STDIN } from '../../../protocol/host/token-file.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import type { Result } from '../../../protocol/methods.ts'
import { askServer } from '../../instant/control.ts'
import { makeOverlay } from '../../instant/overlay.ts'
import {
  checkLength,
  imageNameOf,
  InstantList,
  newRecord,
  placesIn,
  writeRecord,
  type InstantRecord,
  type InstantWay,
  type Places,
} from '../../instant/record.ts'
import { endServer, startServer } from '../../instant/start-server.ts'
import { targetError } from '../../restore/target-error.ts'
import { makeFolder, removeFolders } from '../../make-folder.ts'
import { withAnyGateway, type CommandContext } from '../context.ts'
import { checkMayRead } from '../may-read.ts'
import { personState, wayOf, type WayOptions } from '../way.ts'
import { checkPoint, findPoint } from '../which-point.ts'
import { becomesDomain, planMachine, type MachineOptions, type MachinePlan } from './machine.ts'
import { startMachine } from './start.ts'
import { keepText } from './told.ts'

export interface BeginCommand extends WayOptions, MachineOptions {
  /** The newest point then, of the machine that the argument names. */
  readonly at?: Moment
  readonly to?: string
  readonly start: boolean
  readonly reconnectFor: number
  readonly cacheMemory: number
  /** Absent for no limit. */
  readonly speed?: number
  readonly timeout?: number
  readonly json: boolean
}

/** QEMU's user, where it is another one, enters the folders of a domain and does not list them. */
const OPEN_MODE = 0o711
const CLOSED_MODE = 0o700

/** How long the process that serves the disks may take to begin, in milliseconds. */
const SERVE_LIMIT_MS = 60_000

/** Shortest time that reads wait: restarts of the process that serves them take less. In milliseconds. */
const RECONNECT_MS_MIN = 10_000

/** Longest, in milliseconds: a day. */
const RECONNECT_MS_MAX = 24 * 60 * 60_000

const CACHE_BYTES_MIN = 8 * 1024 * 1024

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

/** Where it goes. PARAMS_INVALID unless the options fit together, and within limits. */
const checkOptions = (options: BeginCommand): string => {
  const { to, reconnectFor, cacheMemory, define, name, newIds, uri } = options
  if (to === undefined) throw wrong('say where to with --to: a new folder for the machine')
  if (to === '') throw wrong('--to takes the path of a folder')
  if (reconnectFor < RECONNECT_MS_MIN || reconnectFor > RECONNECT_MS_MAX)
    throw wrong(`--reconnect-for is from ${durationText(RECONNECT_MS_MIN)} to ${durationText(RECONNECT_MS_MAX)}`)
  if (cacheMemory < CACHE_BYTES_MIN) throw wrong(`--cache-memory is at least ${sizeText(CACHE_BYTES_MIN)}`)
  if (!define && (name !== undefined || newIds || uri !== undefined))
    throw wrong('--name, --new-ids and --uri say how the machine is defined: give --define too')
  return to
}

/** As the process that serves the disks reaches the gateway, in any folder and later too. */
const lastingWay = (options: BeginCommand): InstantWay => {
  const way = wayOf(options)
  if ('config' in way) return { config: path.resolve(way.config) }
  const { gateway, tokenFile, ca } = way
  if (tokenFile === STDIN)
    throw wrong('the token is read again and again while disks are served: name a file of yours with --token-file')
  return {
    gateway,
    tokenFile: path.resolve(tokenFile),
    ...(ca === undefined ? {} : { ca: path.resolve(ca) }),
    state: personState(),
  }
}

/** Makes the folder where it is not there; gives what was made. */
const openFolder = async (to: string, mode: number): Promise<{ places: Places; made: string[] }> => {
  try {
    const made = await makeFolder(path.resolve(to), mode)
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

interface Begun {
  readonly places: Places
  readonly record: InstantRecord
}

interface Wanted {
  readonly told: Result<'points.get'>
  readonly to: string
  readonly way: InstantWay
  readonly extra: readonly string[]
  readonly options: BeginCommand
}

const recordOf = ({ told: { point }, way, options }: Wanted, places: Places, plan: MachinePlan): InstantRecord =>
  newRecord({
    point: point.id,
    machine: point.machine,
    timeMs: point.timeMs,
    begunMs: Date.now(),
    way,
    domain: plan.domain,
    disks: point.disks.map(({ name, size }) => {
      const file = path.join(places.folder, imageNameOf(name))
      return { name, size, file, alone: false, writtenBytes: 0 }
    }),
    files: [...plan.files],
    reconnectMs: options.reconnectFor,
    cacheBytes: options.cacheMemory,
    speed: options.speed ?? 0,
  })

/** Makes everything and serves it; what was made is undone where something fails. */
const make = async (context: CommandContext, wanted: Wanted): Promise<Begun> => {
  const { config, signal } = context
  const { told, to, extra, options } = wanted
  const isDomain = becomesDomain(told.point, options)
  if (isDomain && extra.length > 0)
    throw wrong('arguments of QEMU behind "--" are for a script, and this is a domain of libvirt: leave them out')
  const mode = isDomain ? OPEN_MODE : CLOSED_MODE
  const { places, made } = await openFolder(to, mode)
  await using undo = new AsyncDisposableStack()
  undo.defer(() => removeFolders(made))
  checkLength(places)
  const images = new Map(told.point.disks.map(({ name }) => [name, imageNameOf(name)]))
  const plan = await planMachine(context, told, { places, images }, options)
  const record = recordOf(wanted, places, plan)
  const { private: inside } = places
  await checkFree([inside, ...plan.files, ...record.disks.map(({ file }) => file)])
  try {
    undo.defer(() => rm(inside, { recursive: true, force: true }))
    await mkdir(inside, { mode })
    for (const disk of record.disks) {
      signal.throwIfAborted()
      undo.defer(() => rm(disk.file, { force: true }))
      await makeOverlay(disk, places, record)
      await chmod(disk.file, 0o600)
    }
    undo.defer(async () => {
      for (const one of plan.files) await rm(one, { recursive: true, force: true })
    })
    await plan.write(record, extra)
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
  plan.remarks.forEach(remark)
  return { places, record }
}

/** How it is started, and what becomes of it. */
const tellOf = ({ places: { folder, script }, record: { domain } }: Begun, started: boolean): string[] => {
  const finish = `"varve-agent instant finish ${folder}" waits until they stand alone`
  if (domain === null)
    return [
      started ? `${script} has started it.` : `Start it with ${script}`,
      `Its disks are brought in while it runs: ${finish}.`,
    ]
  return [
    started ? `Domain "${domain.name}" runs.` : `Start it with: varve-agent instant resume ${folder} --start`,
    `Its disks are brought in while it runs: ${finish}, and libvirt keeps it then; until then it is gone when it ends, and started like this again.`,
  ]
}

export const begin = async (prefix: string, extra: readonly string[], options: BeginCommand): Promise<void> => {
  checkPoint(prefix, options.at)
  const to = checkOptions(options)
  const way = lastingWay(options)
  const startedMs = performance.now()
  const patience = options.timeout === undefined ? {} : { timeout: options.timeout }
  const begun = await withAnyGateway(
    options,
    async (context) => {
      checkMayRead(context)
      const told = await findPoint(context, prefix, options.at)
      if (told.point.disks.length === 0)
        throw new VarveError('NOT_FOUND', `restore point ${told.point.id} has no disks`)
      return await make(context, { told, to, way, extra, options })
    },
    { ...patience, works: true },
  )
  const { places, record } = begun
  if (options.start) await startMachine(places, record)
  const durationMs = Math.round(performance.now() - startedMs)
  const { folder } = places
  const state = await askServer(places.control, 'status').catch(() => null)
  const keep = state === null ? null : keepText(record, state)
  if (keep !== null) remark(keep)
  if (options.json) {
    const disks = record.disks.map(({ name, size, file }) => ({ disk: name, size, path: file }))
    const { domain } = record
    const of = { point: record.point, machine: record.machine, folder }
    const defined =
      domain === null ? null : { uri: domain.uri, name: domain.name, uuid: domain.uuid, file: places.domain }
    const script = domain === null ? places.script : null
    return printJson({ ...of, script, domain: defined, disks, started: options.start, durationMs })
  }
  const sizes = sizeText(record.disks.reduce((sum, { size }) => sum + size, 0))
  const at = new Date(record.timeMs).toISOString()
  print(`${record.machine} at ${at} can run from ${folder} (${sizes}) after ${(durationMs / 1000).toFixed(1)} s.`)
  tellOf(begun, options.start).forEach((line) => print(line))
}
