// The cost of everyday work beside the size of the index: the same machine on an empty gateway and on one that is years old.
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { systemClock } from '../../protocol/host/clock.ts'
import { Identity } from '../../agent/identity.ts'
import { dial } from '../../protocol/host/dial.ts'
import { CATALOG_NAME } from '../../gateway/datastore/datastore.ts'
import { MIGRATIONS } from '../../gateway/catalog/sqlite/schema.ts'
import { VarveError } from '../../protocol/errors.ts'
import { LOAD } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { run } from '../rig/run.ts'
import { backupFigures, Site, type Host } from './fleet-site.ts'
import { requireSpace } from './host.ts'
import { benchImage, type BenchImage } from './image.ts'
import { measure, type Command } from './measure.ts'
import { randomBytesOf } from './random.ts'
import { writeBlocks, WRITES } from './scale-writes.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

const IMAGE_BYTES = GIB
const SMALL_DISK_BYTES = 8 * MIB
const DISK = 'vda'
const SMALL_DISK = 'vdb'
const TENANT = 'bench'
const MACHINE = 'bench'

interface Size {
  readonly name: string
  readonly chunks: number
  readonly points: number
}

const EMPTY: Size = { name: 'empty', chunks: 0, points: 10 }
const FULL: Size = { name: 'full', chunks: 20_000_000, points: 1000 }
const QUICK: Size = { name: 'full', chunks: 1_000_000, points: 100 }

/** Disk space that a run may take at one time, the kept index included, in bytes. */
const SPACE_BYTES = 8 * GIB

const FILL_TIMEOUT_MS = 20 * 60_000

/** Changed when another way of filling makes another index. */
const RECIPE = 1

const CALLS = 100
const PAGE_POINTS = 10

/** How often each command is timed on each gateway. */
const TIMES = { increment: 9, reread: 3, points: 5, restore: 5 }
const QUICK_TIMES: typeof TIMES = { increment: 3, reread: 2, points: 3, restore: 3 }

const fillProgram = path.join(import.meta.dirname, 'scale-fill.ts')
const fill = (args: readonly string[], signal: AbortSignal): Promise<string> =>
  run(process.execPath, [fillProgram, ...args], { timeoutMs: FILL_TIMEOUT_MS, signal })

const templateSchema = v.object({ chunks: v.number(), packs: v.number(), seconds: v.number() })
interface Template extends v.InferOutput<typeof templateSchema> {
  readonly folder: string
  readonly catalogBytes: number
}

/** A datastore with so many chunks, kept in the cache folder. */
const template = async ({ cache, folder, signal, say }: ScenarioContext, chunks: number): Promise<Template> => {
  const schema = createHash('sha256').update(MIGRATIONS.join('\n')).digest('hex').slice(0, 12)
  const kept = path.join(cache, `index-${chunks}-${RECIPE}-${schema}`)
  const read = async (): Promise<Template> => {
    const record = v.parse(templateSchema, JSON.parse(await readFile(path.join(kept, 'record.json'), 'utf8')))
    const data = path.join(kept, 'data')
    return { ...record, folder: data, catalogBytes: (await stat(path.join(data, CATALOG_NAME))).size }
  }
  const present = await read().catch(() => null)
  if (present !== null) return present
  say(`filling an index with ${chunks} chunks`)
  const unfinished = path.join(folder, 'index')
  await mkdir(unfinished)
  await writeFile(
    path.join(unfinished, 'record.json'),
    await fill(['chunks', path.join(unfinished, 'data'), TENANT, String(chunks)], signal),
  )
  // those of earlier schemas are of no use any more
  for (const name of await readdir(cache))
    if (name.startsWith(`index-${chunks}-`)) await rm(path.join(cache, name), { recursive: true })
  await rename(unfinished, kept)
  return read()
}

type Operation = keyof typeof TIMES | 'list' | 'open' | 'start'

const TITLES: Readonly<Record<Operation, string>> = {
  increment: `incremental after ${WRITES} random 4 KiB writes`,
  reread: 'full re-read of 1 GiB, nothing new',
  points: 'the command that lists all points',
  restore: `restore of a disk of ${SMALL_DISK_BYTES / MIB} MiB`,
  list: `call: the newest ${PAGE_POINTS} points`,
  open: 'call: open a point, up to its first chunks',
  start: 'start of the gateway',
}

/** One gateway with its machine, and what was timed there, in seconds. */
class Subject implements AsyncDisposable {
  readonly times: Record<Operation, number[]> = {
    increment: [],
    reread: [],
    points: [],
    restore: [],
    list: [],
    open: [],
    start: [],
  }
  /** Peak memory of the gateway over all commands, in bytes. */
  peakBytes = 0
  readonly size: Size
  readonly #context: ScenarioContext
  readonly #site: Site
  readonly #host: Host
  #point = ''
  #writes = 0

  private constructor(context: ScenarioContext, size: Size, site: Site, host: Host) {
    this.#context = context
    this.size = size
    this.#site = site
    this.#host = host
  }

  static async start(context: ScenarioContext, size: Size, image: BenchImage): Promise<Subject> {
    const { say, signal } = context
    const folder = path.join(context.folder, size.name)
    await mkdir(folder)
    if (size.chunks > 0) {
      const from = await template(context, size.chunks)
      await mkdir(path.join(folder, 'site'))
      await run('cp', ['-a', '--sparse=always', from.folder, path.join(folder, 'site', 'gateway')])
    }
    const site = await Site.start(path.join(folder, 'site'))
    try {
      const file = path.join(folder, 'disk.qcow2')
      await copyFile(image.qcow2, file)
      const small = path.join(folder, 'small.raw')
      await writeFile(small, randomBytesOf(1, SMALL_DISK_BYTES))
      const disks = [
        { id: DISK, format: 'qcow2' as const, file, size: image.size },
        { id: SMALL_DISK, format: 'raw' as const, file: small, size: SMALL_DISK_BYTES },
      ]
      const host = await site.addHost({ name: MACHINE, tenant: TENANT, disks })
      const subject = new Subject(context, size, site, host)
      const first = await site.explained(signal, () => subject.#measured(host.backup()))
      say(`${first.seconds.toFixed(2).padStart(7)} s  first full, index ${size.name}`)
      subject.#point = backupFigures(first.output, 'first').point
      await fill(['points', site.data, TENANT, MACHINE, String(size.points - 1)], signal)
      return subject
    } catch (error) {
      await site[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Times one command once. */
  async time(operation: keyof typeof TIMES): Promise<void> {
    const seconds = await this.#site.explained(this.#context.signal, () => this.#once(operation))
    this.times[operation].push(seconds)
    this.#context.say(`${seconds.toFixed(2).padStart(7)} s  ${TITLES[operation]}, index ${this.size.name}`)
  }

  /** Times calls over one session, without a program's start. */
  async timeCalls(): Promise<void> {
    const identity = await Identity.load(this.#host.stateFolder)
    const token = await identity.assertion(Date.now())
    const how = { program: 'bench', serving: false, handlers: {}, clock: systemClock }
    const { peer } = await dial({ gateway: this.#site.url, ca: null, token, ...how })
    try {
      const point = this.#point
      for (let index = 0; index < CALLS; index++) {
        this.times.list.push(await timed(() => peer.call('points.list', { machine: null, limit: PAGE_POINTS })))
        this.times.open.push(await timed(() => openPoint(peer, point)))
      }
    } finally {
      peer.close(new VarveError('CANCELLED', 'the measurement is over'))
    }
  }

  /** Ends the gateway and times its start until it accepts connections. */
  async timeStart(): Promise<void> {
    await this.#site.stopGateway()
    this.times.start.push(await timed(() => this.#site.startGateway()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#site[Symbol.asyncDispose]()
  }

  async #once(operation: keyof typeof TIMES): Promise<number> {
    const host = this.#host
    if (operation === 'points') return (await this.#measured(host.points())).seconds
    if (operation === 'restore') {
      const target = path.join(this.#context.folder, 'restored.raw')
      const { seconds } = await this.#measured(host.restore(this.#point, SMALL_DISK, target))
      if (!(await readFile(target)).equals(randomBytesOf(1, SMALL_DISK_BYTES)))
        throw new Error('the restored disk differs')
      await rm(target)
      return seconds
    }
    const full = operation === 'reread'
    if (!full) await writeBlocks(host, IMAGE_BYTES, ++this.#writes)
    const { seconds, output } = await this.#measured(full ? host.backup('--full') : host.backup())
    this.#point = backupFigures(output, full ? 'requested' : 'bitmap').point
    return seconds
  }

  async #measured(command: Command): Promise<{ seconds: number; output: string }> {
    const { folder, signal } = this.#context
    const watched = [this.#site.gateway, this.#host.agent]
    const measured = await measure(command, { watched, syncFolder: folder, signal })
    const gateway = measured.processes.find(({ name }) => name === 'gateway')
    this.peakBytes = Math.max(this.peakBytes, gateway?.peakBytes ?? 0)
    return measured
  }
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const startMs = performance.now()
  await work()
  return (performance.now() - startMs) / 1000
}

/** Opens an image and waits for its first chunks. */
const openPoint = async (peer: Peer, point: string): Promise<void> => {
  const call = peer.open('image.download', { point, disk: DISK, position: 0, skipDamaged: false })
  call.result.catch(() => {})
  for await (const [kind] of call.messages) if (kind === LOAD.chunks) break
  call.cancel()
}

const OPERATIONS: readonly Operation[] = ['increment', 'reread', 'restore', 'open', 'points', 'list', 'start']

/** Starting is not among what the goal speaks of. */
const isJudged = (operation: Operation): boolean => operation !== 'start'

const shown = (seconds: number): string =>
  seconds < 0.1 ? `${(seconds * 1000).toFixed(2)} ms` : `${seconds.toFixed(2)} s`

const reportOf = (empty: Subject, full: Subject, filled: Template): Report => {
  const ratio = (operation: Operation): number => median(full.times[operation]) / median(empty.times[operation])
  const range = (times: readonly number[]): string => `${shown(Math.min(...times))}–${shown(Math.max(...times))}`
  const { chunks, points } = full.size
  return {
    tables: [
      {
        title: `An index of ${chunks.toLocaleString('en')} chunks and ${points.toLocaleString('en')} restore points of the machine`,
        heading: ['operation', `empty, ${empty.size.points} points`, 'range', 'filled', 'range', 'ratio'],
        rows: [
          ...OPERATIONS.map((operation) => [
            TITLES[operation],
            shown(median(empty.times[operation])),
            range(empty.times[operation]),
            shown(median(full.times[operation])),
            range(full.times[operation]),
            ratio(operation).toFixed(2),
          ]),
          [
            'peak memory of the gateway',
            `${(empty.peakBytes / 1e6).toFixed(0)} MB`,
            '',
            `${(full.peakBytes / 1e6).toFixed(0)} MB`,
            '',
            (full.peakBytes / empty.peakBytes).toFixed(2),
          ],
        ],
      },
    ],
    goals: OPERATIONS.map((operation) =>
      judge(
        `filled / empty index: ${TITLES[operation]}`,
        ratio(operation),
        isJudged(operation) ? { atMost: 1.2 } : null,
      ),
    ),
    notes: [
      `Large index: ${chunks.toLocaleString('en')} records with random ids in ${filled.packs} packs (sparse files of full length), inserted through the datastore’s own commits by another program before the gateway started ` +
        `(${Math.round(chunks / filled.seconds).toLocaleString('en')} inserts/s, in ${filled.seconds.toFixed(0)} s; ids go up within each of several passes, as random order would take many times longer); ` +
        `the catalog is ${(filled.catalogBytes / 1e9).toFixed(2)} GB. Restore points and their jobs are made the same way. ` +
        `The two gateways take turns on the same machine; medians. The image is the 1 GiB one; calls are over one open session, ${CALLS} times each. Nothing is evicted from the page cache.`,
    ],
    details: {
      filled: { chunks, points, packs: filled.packs, seconds: filled.seconds, catalogBytes: filled.catalogBytes },
      empty: { times: empty.times, peakBytes: empty.peakBytes },
      full: { times: full.times, peakBytes: full.peakBytes },
    },
  }
}

export const largeIndex = async (context: ScenarioContext): Promise<Report> => {
  const { cache, folder, quick, signal } = context
  await requireSpace(folder, SPACE_BYTES)
  const size = quick ? QUICK : FULL
  const image = await benchImage(cache, IMAGE_BYTES, signal)
  const filled = await template(context, size.chunks)
  await using empty = await Subject.start(context, EMPTY, image)
  await using full = await Subject.start(context, size, image)
  const times = quick ? QUICK_TIMES : TIMES
  for (const operation of ['increment', 'reread', 'points', 'restore'] as const)
    for (let index = 0; index < times[operation]; index++)
      for (const subject of [empty, full]) await subject.time(operation)
  for (const subject of [empty, full]) await subject.timeCalls()
  for (let index = 0; index < times.restore; index++) for (const subject of [empty, full]) await subject.timeStart()
  return reportOf(empty, full, filled)
}
