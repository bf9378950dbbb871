// The export command: serves disks of a restore point over NBD, read-only, until it is interrupted.
import path from 'node:path'
import { once } from 'node:events'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson, printRows, remark } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Point } from '../../protocol/schemas.ts'
import type { FailedRead } from '../export/connection.ts'
import { openDisks } from '../export/open-disks.ts'
import { ExportServer, type Listen } from '../export/server.ts'
import { withAnyGateway, type CommandContext } from './context.ts'
import { checkMayRead } from './may-read.ts'
import type { Moment } from '../../protocol/host/moment.ts'
import type { WayOptions } from './way.ts'
import { checkPoint, findPoint } from './which-point.ts'

/** Failures of reads that are told one by one; further ones are counted. */
const FAILURES_TOLD_MAX = 100

/** Memory for chunks at least, in bytes: what is fetched ahead of one reader is a part of it. */
const CACHE_BYTES_MIN = 8 * 1024 * 1024

export interface ExportCommand extends WayOptions {
  /** The newest point then, of the machine that the argument names. */
  readonly at?: Moment
  /** Absent for all disks. */
  readonly disk?: string
  /** One of the two is given. */
  readonly socket?: string
  readonly tcp?: { readonly host: string; readonly port: number }
  readonly allowRemote: boolean
  readonly changedSince?: string
  readonly cacheMemory: number
  readonly cacheDisk?: string
  readonly cacheDiskSize: number
  readonly reconnectFor: number
  readonly json: boolean
}

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

const isLoopback = (host: string): boolean => /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/u.test(host)

/** PARAMS_INVALID unless the options say where to listen, and within limits. */
const listenOf = ({ socket, tcp, allowRemote, cacheMemory }: ExportCommand): Listen => {
  if (cacheMemory < CACHE_BYTES_MIN) throw wrong(`--cache-memory is at least ${sizeText(CACHE_BYTES_MIN)}`)
  if (socket !== undefined && tcp !== undefined) throw wrong('give one of --socket and --tcp')
  if (socket !== undefined) return { socket }
  if (tcp === undefined) throw wrong('say where to serve it: --socket PATH, or --tcp 127.0.0.1:PORT')
  if (!isLoopback(tcp.host) && !allowRemote)
    throw wrong(
      `NBD has neither passwords nor encryption: whoever reaches ${tcp.host} could read the disks; --allow-remote serves them there all the same`,
    )
  return tcp
}

/** The disks that are exported; NOT_FOUND names those that there are. */
const disksOf = (prefix: string, { disks }: Point, name: string | undefined): Point['disks'] => {
  const chosen = name === undefined ? disks : disks.filter((disk) => disk.name === name)
  if (chosen.length > 0) return chosen
  const names = disks.map((disk) => disk.name).join(', ')
  const what = name === undefined ? 'disks' : `disk "${name}"`
  throw new VarveError('NOT_FOUND', `restore point ${prefix} has no ${what}; it has: ${names || 'none'}`)
}

/** What happens while an export runs; the fields that an event does not have are null. */
interface Happened {
  readonly disk?: string
  /** Of an export, in bytes; and where NBD clients find it. */
  readonly size?: number
  readonly uri?: string
  /** How many are connected. */
  readonly clients?: number
  /** Of a read, in bytes. */
  readonly offset?: number
  readonly length?: number
  readonly error?: { readonly code: string; readonly message: string }
}

const NOTHING = { disk: null, size: null, uri: null, clients: null, offset: null, length: null, error: null }

/** Prints what happens as it does: rows of the JSON, or lines. */
class Events {
  readonly #json: boolean
  failedReads = 0

  constructor(json: boolean) {
    this.#json = json
  }

  exported(disk: string, size: number, uri: string, of: string): void {
    if (this.#json) this.#row('exported', { disk, size, uri })
    else print(`Disk ${disk} of ${of} (${sizeText(size)}): ${uri}`)
  }

  clients(clients: number): void {
    this.#row('clients', { clients })
  }

  failed({ disk, offset, length, error }: FailedRead): void {
    this.failedReads++
    if (this.failedReads > FAILURES_TOLD_MAX) return
    const { code, message } = error
    remark(`a read of ${length} bytes at ${offset} of disk ${disk} failed: ${message} (${code})`)
    this.#row('read-failed', { disk, offset, length, error: { code, message } })
  }

  #row(event: string, happened: Happened): void {
    if (this.#json) printRows('events', [{ event, timeMs: Date.now(), ...NOTHING, ...happened }])
  }
}

const serve = async (context: CommandContext, named: string, options: ExportCommand): Promise<void> => {
  checkMayRead(context)
  const { link, signal, ask } = context
  const { json } = options
  const { point } = await findPoint(context, named, options.at)
  const since =
    options.changedSince === undefined ? null : (await ask('points.get', { point: options.changedSince })).point
  const events = new Events(json)
  let servedBytes = 0
  let receivedBytes = 0
  await using opened = await openDisks({
    link,
    signal,
    point,
    disks: disksOf(options.at === undefined ? named : point.id, point, options.disk),
    since,
    reconnectMs: options.reconnectFor,
    cacheBytes: options.cacheMemory,
    ...(options.cacheDisk === undefined
      ? {}
      : { cacheDisk: { folder: path.resolve(options.cacheDisk), bytesMax: options.cacheDiskSize } }),
    onReceived: (bytes) => void (receivedBytes += bytes),
    onCacheFailure: ({ message }) => remark(`the cache on disk cannot be written any more: ${message}`),
  })
  await using server = await ExportServer.open({
    listen: listenOf(options),
    exports: opened.disks,
    onFailure: (failed) => events.failed(failed),
    onServed: (bytes) => void (servedBytes += bytes),
    onClients: (clients) => events.clients(clients),
  })
  const exports = opened.disks.map(({ name, size }) => ({ disk: name, size, uri: server.uriOf(name) }))
  const of = `${point.machine} at ${new Date(point.timeMs).toISOString()}`
  for (const { disk, size, uri } of exports) events.exported(disk, size, uri, of)
  const ended = await Promise.race([signal.aborted ? null : once(signal, 'abort').then(() => null), link.ended()])
  if (json) {
    const told = { point: point.id, machine: point.machine, since: since?.id ?? null, exports }
    printJson({ ...told, servedBytes, receivedBytes, failedReads: events.failedReads })
  }
  if (ended !== null) throw ended
}

export const exportPoint = async (named: string, options: ExportCommand): Promise<void> => {
  checkPoint(named, options.at)
  listenOf(options)
  await withAnyGateway(options, (context) => serve(context, named, options), { works: true })
}
