// What a guest pays for its backup: how long its writes take, what scratch space they need, and how long the backup takes, by the
// way in which the machine is read and by its QEMU, beside no backup.
//
// VARVE_BENCH_QEMUS names further QEMUs as NAME=PROGRAM, with commas between; else there is that of the system.
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestDisk } from '../rig/guest.ts'
import { run as runProgram } from '../rig/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { requireSpace } from './host.ts'
import { randomBytesOf } from './random.ts'
import type { Report, Scenario, ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'
import { makeWritingGuest, WritingGuest, WRITE_BYTES, type Latencies } from './writing-guest.ts'

const MIB = 2 ** 20
const DISK_BYTES = 512 * MIB
const QUICK_DISK_BYTES = 64 * MIB
const PIECE_BYTES = 16 * MIB

/** How long the guest writes without a backup: alone, and before an increment. */
const ALONE_MS = 15_000
const BETWEEN_MS = 8_000

/** How often the size of the scratch images is looked at. */
const LOOK_MS = 100

/** Ways by name: the lines of the machine's configuration; null for no backup. A way is left out where its QEMU is older. */
const WAYS: Readonly<Record<string, { readonly lines: readonly string[] | null; readonly fromMajor: number }>> = {
  none: { lines: null, fromMajor: 0 },
  'fleecing off': { lines: ['fleecing = "off"'], fromMajor: 0 },
  'fleecing on': { lines: ['fleecing = "on"'], fromMajor: 9 },
}

interface Lap {
  readonly kind: string
  readonly seconds: number
  readonly guest: Latencies
  readonly qemu: Latencies
  /** Milliseconds from the start, and bytes. */
  readonly scratch: readonly (readonly [number, number])[]
}

interface Measured {
  readonly qemu: string
  readonly version: string
  readonly way: string
  readonly laps: readonly Lap[]
}

const qemus = (): readonly (readonly [name: string, program: string])[] => {
  const named = (process.env['VARVE_BENCH_QEMUS'] ?? '').split(',').filter((one) => one !== '')
  if (named.length === 0) return [['system', 'qemu-system-x86_64']]
  return named.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)])
}

/** What the scratch images of the agent take. */
const scratchBytes = async (host: Host): Promise<number> => {
  const files = await readdir(path.join(host.stateFolder, 'scratch'), { recursive: true }).catch(() => [])
  const sizes = files.map((file) =>
    stat(path.join(host.stateFolder, 'scratch', file)).then(
      (found) => (found.isFile() ? found.blocks * 512 : 0),
      () => 0,
    ),
  )
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
}

class Laps {
  readonly #guest: WritingGuest
  readonly #host: Host

  constructor(guest: WritingGuest, host: Host) {
    this.#guest = guest
    this.#host = host
  }

  /** What the guest's writes took while the work was done. */
  async lap(kind: string, work: () => Promise<unknown>): Promise<Lap> {
    await this.#guest.reset()
    const startedMs = performance.now()
    const scratch: [number, number][] = []
    const over = new AbortController()
    const looking = (async () => {
      while (!over.signal.aborted) {
        scratch.push([Math.round(performance.now() - startedMs), await scratchBytes(this.#host)])
        await sleep(LOOK_MS)
      }
    })()
    try {
      await work()
    } finally {
      over.abort()
    }
    const seconds = (performance.now() - startedMs) / 1000
    await looking
    return { kind, seconds, guest: this.#guest.latencies(), qemu: await this.#guest.histogram(), scratch }
  }
}

/** A raw disk full of incompressible bytes. */
const makeSource = async (folder: string, size: number): Promise<string> => {
  const file = path.join(folder, 'source.raw')
  await using handle = await open(file, 'w')
  for (let at = 0; at < size; at += PIECE_BYTES)
    await handle.write(randomBytesOf(at + 1, PIECE_BYTES), 0, PIECE_BYTES, at)
  return file
}

const makeDisks = async (source: string, folder: string): Promise<GuestDisk[]> =>
  await Promise.all(
    ['vda', 'vdb'].map(async (id): Promise<GuestDisk> => {
      const file = path.join(folder, `${id}.qcow2`)
      await runProgram('qemu-img', ['convert', '-q', '-f', 'raw', '-O', 'qcow2', source, file])
      return { id, file, format: 'qcow2' }
    }),
  )

const megabytes = (bytes: number): string => (bytes / MIB).toFixed(1)

const peakOf = ({ scratch }: Lap): number => Math.max(0, ...scratch.map(([, bytes]) => bytes))

/** One row: the medians over the rounds. */
const rowOf = (name: string, laps: readonly Lap[]): string[] => {
  const of = (value: (lap: Lap) => number): number => median(laps.map(value))
  const two = (value: (lap: Lap) => number): string => of(value).toFixed(2)
  return [
    name,
    of((lap) => lap.guest.count / lap.seconds).toFixed(1),
    ...[(lap: Lap) => lap.guest.p50, (lap: Lap) => lap.guest.p99, (lap: Lap) => lap.guest.longest].map(two),
    ...[(lap: Lap) => lap.qemu.p50, (lap: Lap) => lap.qemu.p99, (lap: Lap) => lap.qemu.longest].map(two),
    megabytes(of(peakOf)),
    two((lap) => lap.seconds),
  ]
}

const HEADING = [
  '',
  'writes / s',
  ...['guest', 'QEMU'].flatMap((who) => ['p50', 'p99', 'longest'].map((what) => `${who} ${what}`)),
  'scratch peak MiB',
  'backup s',
]

const tableOf = (measured: readonly Measured[], kind: string): Report['tables'][number] => ({
  title: `${kind}: latency of a guest's write in ms, scratch space, and the backup`,
  heading: HEADING,
  rows: [...new Set(measured.map(({ version, way }) => `QEMU ${version}, ${way}`))].flatMap((name) => {
    const laps = measured
      .filter(({ version, way }) => `QEMU ${version}, ${way}` === name)
      .flatMap((one) => one.laps.filter((lap) => lap.kind === kind || lap.kind === 'none'))
    return laps.length === 0 ? [] : [rowOf(name, laps)]
  }),
})

const METHOD = [
  `A real Linux guest under TCG writes blocks of ${WRITE_BYTES / 1024} KiB at random places of two disks in turn, each with O_DIRECT, with
a pause of 5 ms; the guest says how long each write took, and QEMU's latency histograms (block-latency-histogram-set) say the same as the
disk's device sees it; their values are upper ends of steps of a fifth. Both disks are qcow2 and full of incompressible bytes. Gateway,
agent and guest share the machine: much of a write's time is the processor that the backup takes. Of no backup ${ALONE_MS / 1000} s are measured,
of an increment ${BETWEEN_MS / 1000} s of writes are read.`,
]

/** One guest of one QEMU, read in one way. */
const measure = async (
  context: ScenarioContext,
  at: { readonly host: Host; readonly image: WritingImage; readonly source: string; readonly folder: string },
  one: { readonly qemu: string; readonly program: string; readonly way: string; readonly machine: Machine },
): Promise<Measured | null> => {
  const { host, image, source, folder } = at
  const { qemu, program, way, machine } = one
  const { lines, fromMajor } = WAYS[way]!
  const disksFolder = path.join(context.folder, machine.name)
  await mkdir(disksFolder)
  try {
    const disks = await makeDisks(source, disksFolder)
    await using guest = await WritingGuest.boot({
      image,
      program,
      folder,
      name: machine.name,
      disks,
      qmpPath: machine.qmp,
    })
    const { version } = guest
    if (Number.parseInt(version, 10) < fromMajor) return null
    const laps = new Laps(guest, host)
    const done: Lap[] = []
    if (lines === null) done.push(await laps.lap('none', () => sleep(context.quick ? BETWEEN_MS : ALONE_MS)))
    else {
      done.push(await laps.lap('full', () => host.backup(machine.name)))
      await sleep(BETWEEN_MS)
      done.push(await laps.lap('incremental', () => host.backup(machine.name)))
    }
    for (const lap of done)
      context.say(
        `QEMU ${version}, ${way}, ${lap.kind}: ${lap.seconds.toFixed(1)} s, ${lap.guest.count} writes, p99 ${lap.guest.p99.toFixed(1)} ms, scratch at most ${megabytes(peakOf(lap))} MiB`,
      )
    return { qemu, version, way, laps: done }
  } finally {
    await rm(disksFolder, { recursive: true, force: true })
  }
}

type WritingImage = Awaited<ReturnType<typeof makeWritingGuest>>

interface Machine {
  readonly name: string
  readonly qmp: string
}

export const run: Scenario['run'] = async (context): Promise<Report> => {
  const { cache, folder, quick, rounds, say } = context
  const size = quick ? QUICK_DISK_BYTES : DISK_BYTES
  await requireSpace(cache, 8 * size)
  say('making the disk and the guest, where they are not there from an earlier run')
  const source = await makeSource(folder, size)
  const image = await makeWritingGuest(folder)
  await using stand = await Stand.start()
  const sockets = stand.folder.path
  const all = Array.from({ length: rounds }, (_, round) =>
    qemus().flatMap(([qemu, program], first) =>
      Object.keys(WAYS).map((way, second) => {
        const name = `m${round}-${first}-${second}`
        return { qemu, program, way, machine: { name, qmp: path.join(sockets, name) } }
      }),
    ),
  ).flat()
  const tables = all.flatMap(({ way, machine }) =>
    WAYS[way]!.lines === null
      ? []
      : ['[[machine]]', `name = "${machine.name}"`, `qmp = "${machine.qmp}"`, ...WAYS[way]!.lines],
  )
  const host = await stand.addHost({ name: 'bench', settings: { tables } })
  await host.start()
  const measured: Measured[] = []
  for (const one of all) {
    context.signal.throwIfAborted()
    const found = await measure(context, { host, image, source, folder: sockets }, one)
    if (found !== null) measured.push(found)
  }
  return {
    tables: ['full', 'incremental'].map((kind) => tableOf(measured, kind)),
    goals: [],
    notes: METHOD,
    details: measured,
  }
}
