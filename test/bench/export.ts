// Exports of a restore point: read whole beside a restore, and at random places beside qemu-nbd on the same image.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { NbdClient } from '../../agent/nbd/client.ts'
import { Service } from '../demo/service.ts'
import { Dice } from '../support/model-dice.ts'
import { requireSpace } from './host.ts'
import { benchImage } from './image.ts'
import { measure, type Command, type Measurement, type Watched } from './measure.ts'
import { gibibytes } from './report.ts'
import { judge, type Report, type Scenario, type ScenarioContext } from './scenario.ts'
import { DISK, Stand } from './stand.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = 4 * GIB
const QUICK_IMAGE_BYTES = GIB

/** Disk space that a run may take at one time, as a multiple of the image's size. */
const SPACE_FACTOR = 5

/** What is read at random places, in bytes, and how often in one round. */
const READ_BYTES = 64 * 1024
const READS = 2000
const QUICK_READS = 300

const READY_MS = 30_000

const backupSchema = v.object({ point: v.object({ id: v.string() }) })

/** Times of reads one after the other, in milliseconds. */
interface Latencies {
  readonly p50: number
  readonly p99: number
}

interface Round {
  readonly restore: Measurement
  /** Copied to a file by nbdcopy, from the export and from qemu-nbd. */
  readonly copy: Measurement
  readonly peerCopy: Measurement
  /** Read by nbdcopy and written nowhere. */
  readonly read: Measurement
  readonly peerRead: Measurement
  readonly random: Latencies
  readonly peerRandom: Latencies
}

const latenciesOf = (timesMs: readonly number[]): Latencies => {
  const sorted = timesMs.toSorted((a, b) => a - b)
  return { p50: median(sorted), p99: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN }
}

/** Reads at places that hold data, one after the other, after the map of the whole disk was asked for. */
const readRandomly = async (socketPath: string, exportName: string, reads: number): Promise<Latencies> => {
  await using client = await NbdClient.connect({ socketPath, exportName, contexts: ['base:allocation'] })
  const places: number[] = []
  for (let at = 0; at < client.size;) {
    const extents = (await client.blockStatus(at, Math.min(GIB, client.size - at))).get('base:allocation')!
    for (const { length, flags } of extents) {
      if (flags === 0) for (let place = at; place + READ_BYTES <= at + length; place += READ_BYTES) places.push(place)
      at += length
    }
  }
  const dice = new Dice(7)
  const buffer = new Uint8Array(READ_BYTES)
  const timesMs: number[] = []
  for (let read = 0; read < reads; read++) {
    const place = places[dice.below(places.length)]!
    const startedMs = performance.now()
    await client.readInto(place, buffer)
    timesMs.push(performance.now() - startedMs)
  }
  return latenciesOf(timesMs)
}

const nbdcopy = (uri: string, target: string): Command => ({ name: 'nbdcopy', program: 'nbdcopy', args: [uri, target] })

class ExportRound {
  readonly #context: ScenarioContext
  readonly #stand: Stand
  readonly #point: string
  readonly #folder: string

  constructor(context: ScenarioContext, stand: Stand, point: string) {
    this.#context = context
    this.#stand = stand
    this.#point = point
    this.#folder = path.join(context.folder, 'round')
  }

  async run(image: string): Promise<Round> {
    await mkdir(this.#folder)
    try {
      return await this.#run(image)
    } finally {
      await rm(this.#folder, { recursive: true })
    }
  }

  async #run(image: string): Promise<Round> {
    const target = path.join(this.#folder, 'out.raw')
    const restore = await this.#timed('restore', this.#stand.restore(this.#point, target))
    await rm(target)
    const peer = path.join(this.#stand.socketFolder, 'peer.sock')
    const peerArgs = ['-r', '-t', '-e', '8', '-f', 'raw', '-k', peer, '-x', DISK, image]
    await using server = await Service.start('qemu-nbd', path.join(this.#folder, 'peer.log'), 'qemu-nbd', peerArgs)
    await server.until(() => answers(peer), READY_MS)
    const reads = this.#context.quick ? QUICK_READS : READS
    const peerUri = `nbd+unix:///${DISK}?socket=${peer}`
    const peerCopy = await this.#timed('nbdcopy from qemu-nbd', nbdcopy(peerUri, target), server)
    await rm(target)
    const peerRead = await this.#timed('nbdcopy from qemu-nbd to nowhere', nbdcopy(peerUri, 'null:'), server)
    const peerRandom = await readRandomly(peer, DISK, reads)
    // a fresh export for each, so that none finds what another has fetched
    const copy = await this.#exported((uri, own) => this.#timed('nbdcopy from the export', nbdcopy(uri, target), own))
    await rm(target)
    const read = await this.#exported((uri, own) =>
      this.#timed('nbdcopy from the export to nowhere', nbdcopy(uri, 'null:'), own),
    )
    const random = await this.#exported((_uri, _own, socket) => readRandomly(socket, DISK, reads))
    this.#context.say(`random reads: p50 ${random.p50.toFixed(2)} ms, qemu-nbd ${peerRandom.p50.toFixed(2)} ms`)
    return { restore, copy, peerCopy, read, peerRead, random, peerRandom }
  }

  async #exported<R>(work: (uri: string, server: Service, socket: string) => Promise<R>): Promise<R> {
    const socket = path.join(this.#stand.socketFolder, 'point.sock')
    const { program, args } = this.#stand.command('export', this.#point, '--disk', DISK, '--socket', socket)
    await using server = await Service.start('export', path.join(this.#folder, 'export.log'), program, args)
    await server.until(() => answers(socket), READY_MS)
    return await work(`nbd+unix:///${DISK}?socket=${socket}`, server, socket)
  }

  async #timed(what: string, command: Command, server: Watched | null = null): Promise<Measurement> {
    const { signal, say, folder } = this.#context
    const watched = [this.#stand.gateway, ...(server === null ? [] : [server])]
    const measured = await measure(command, { watched, syncFolder: folder, signal })
    say(`${measured.seconds.toFixed(2).padStart(7)} s  ${what}`)
    return measured
  }
}

/** Whether a server gives the disk on a socket. */
const answers = async (socketPath: string): Promise<boolean> => {
  try {
    await using _client = await NbdClient.connect({ socketPath, exportName: DISK, contexts: [] })
    return true
  } catch {
    return false
  }
}

const METHOD = [
  `Gateway and export are processes of their own on this machine, connected by WebSocket on loopback; the page cache is warm.
Each export is a fresh one with its default cache (64 MiB). A copy is made by nbdcopy, four connections, and synced within its
time, as a restore is. Random reads come one after the other over one connection, at places that hold data, after the map of
the whole disk was asked for.`,
]

export const run: Scenario['run'] = async (context): Promise<Report> => {
  const { cache, folder, quick, rounds, signal, say } = context
  const size = quick ? QUICK_IMAGE_BYTES : IMAGE_BYTES
  await requireSpace(cache, SPACE_FACTOR * size)
  say('making the image, where it is not there from an earlier run')
  const image = await benchImage(cache, size, signal)
  await using stand = await Stand.start({ folder: path.join(folder, 'stand'), qcow2: image.qcow2, size, signal })
  const { output } = await measure(stand.backup('--wait'), { syncFolder: folder, signal })
  const { point } = v.parse(backupSchema, JSON.parse(output))
  const measured: Round[] = []
  for (let round = 0; round < rounds; round++)
    measured.push(await new ExportRound(context, stand, point.id).run(image.raw))
  const of = (value: (round: Round) => number): number => median(measured.map(value))
  const speed = (server: string, pick: (round: Round) => Measurement): string[] => [
    of((round) => pick(round).seconds).toFixed(2),
    (size / 2 ** 20 / of((round) => pick(round).seconds)).toFixed(0),
    ...['gateway', server].map((name) =>
      of((round) => pick(round).processes.find((one) => one.name === name)?.cpuSeconds ?? 0).toFixed(2),
    ),
  ]
  const times = {
    title: `The whole disk of ${gibibytes(size)}, medians of ${rounds}`,
    heading: ['', 's', 'MiB/s', 'gateway CPU s', 'server CPU s'],
    rows: [
      ['restore (its own CPU)', ...speed('command', ({ restore }) => restore)],
      ['nbdcopy from the export to a file', ...speed('export', ({ copy }) => copy)],
      ['nbdcopy from qemu-nbd to a file', ...speed('qemu-nbd', ({ peerCopy }) => peerCopy)],
      ['nbdcopy from the export to nowhere', ...speed('export', ({ read }) => read)],
      ['nbdcopy from qemu-nbd to nowhere', ...speed('qemu-nbd', ({ peerRead }) => peerRead)],
    ],
  }
  const milliseconds = (value: (round: Round) => Latencies): string[] => [
    of((round) => value(round).p50).toFixed(2),
    of((round) => value(round).p99).toFixed(2),
  ]
  const random = {
    title: 'Random reads of 64 KiB, medians of all rounds',
    heading: ['', 'p50 ms', 'p99 ms'],
    rows: [
      ['export', ...milliseconds((round) => round.random)],
      ['qemu-nbd', ...milliseconds((round) => round.peerRandom)],
    ],
  }
  return {
    tables: [times, random],
    goals: [
      judge(
        'copy from the export / restore, speed',
        of(({ restore, copy }) => restore.seconds / copy.seconds),
        { atLeast: 0.8 },
      ),
      judge(
        'random 64 KiB read from the export, p50',
        of((round) => round.random.p50),
        { atMost: 2 },
        'ms',
      ),
    ],
    notes: METHOD,
    details: measured.map(({ restore, copy, read, random: own, peerRandom }) => ({
      restoreSeconds: restore.seconds,
      copySeconds: copy.seconds,
      readSeconds: read.seconds,
      random: own,
      peerRandom,
    })),
  }
}
