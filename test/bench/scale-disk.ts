// The cost of an increment beside the size of the disk: the same few writes on sparse disks of very different sizes.
import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import { backupFigures, Site, type BackupFigures, type Host } from './fleet-site.ts'
import { requireSpace } from './host.ts'
import { measure, type Command, type Measurement } from './measure.ts'
import { randomBytesOf } from './random.ts'
import { checkContent, writeBlocks, WRITES, type Written } from './scale-writes.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

const DISK = 'vda'
const DISKS = [
  { name: '100 GiB', host: 'small', bytes: 100 * GIB },
  { name: '1 TiB', host: 'large', bytes: 1024 * GIB },
] as const

/** Data that is on both disks from the start, in clumps that lie evenly over the disk. */
const CLUMP_BYTES = MIB
const CLUMPS = 256

/** Disk space that a run may take at one time, in bytes. */
const SPACE_BYTES = 4 * GIB

const INCREMENTS = 9
const QUICK_INCREMENTS = 3

const MAKE_TIMEOUT_MS = 120_000

const clumps = (diskBytes: number): Written =>
  new Map(
    Array.from({ length: CLUMPS }, (_, index) => [
      Math.floor(((index + 0.5) * diskBytes) / CLUMPS / CLUMP_BYTES) * CLUMP_BYTES,
      randomBytesOf(index, CLUMP_BYTES),
    ]),
  )

const makeDisk = async (file: string, diskBytes: number, folder: string): Promise<Written> => {
  const written = clumps(diskBytes)
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(diskBytes)])
  const source = path.join(folder, 'clump')
  const commands: string[] = []
  for (const [offset, bytes] of written) {
    await writeFile(`${source}.${offset}`, bytes)
    commands.push('-c', `write -q -s ${source}.${offset} ${offset} ${bytes.length}`)
  }
  await run('qemu-io', ['-f', 'qcow2', ...commands, file], { timeoutMs: MAKE_TIMEOUT_MS })
  for (const offset of written.keys()) await rm(`${source}.${offset}`)
  return written
}

interface Sample extends Omit<Measurement, 'output'> {
  readonly figures: BackupFigures
}

interface Subject {
  readonly name: string
  readonly bytes: number
  readonly host: Host
  readonly written: Written
  readonly first: Sample
  readonly increments: Sample[]
}

class Sparse {
  readonly #context: ScenarioContext
  readonly #site: Site

  constructor(context: ScenarioContext, site: Site) {
    this.#context = context
    this.#site = site
  }

  async run(): Promise<Subject[]> {
    const { folder, quick, say } = this.#context
    const subjects: Subject[] = []
    for (const { name, host: hostName, bytes } of DISKS) {
      say(`making a sparse disk of ${name} and its first backup`)
      const file = path.join(folder, `${hostName}.qcow2`)
      const written = await makeDisk(file, bytes, folder)
      const disk = { id: DISK, format: 'qcow2' as const, file, size: bytes }
      // tenants of their own, so that neither finds the other's chunks
      const host = await this.#site.addHost({ name: hostName, tenant: hostName, disks: [disk] })
      const first = await this.#backup(host, 'first')
      say(`${first.seconds.toFixed(2).padStart(7)} s  first full of ${name}`)
      subjects.push({ name, bytes, host, written, first, increments: [] })
    }
    const rounds = quick ? QUICK_INCREMENTS : INCREMENTS
    for (let round = 1; round <= rounds; round++)
      for (const { name, bytes, host, written, increments } of subjects) {
        await writeBlocks(host, bytes, round, written)
        const sample = await this.#backup(host, 'bitmap')
        increments.push(sample)
        say(`${sample.seconds.toFixed(2).padStart(7)} s  increment ${round} of ${name}`)
      }
    return subjects
  }

  /** Restores the newest point of a disk and reads back everything that was written; gives what the restore took. */
  async restore({ host, written, increments }: Subject): Promise<Measurement> {
    const target = path.join(this.#context.folder, 'restored.raw')
    const point = increments.at(-1)?.figures.point ?? ''
    const restored = await this.#measure(host.restore(point, DISK, target), host)
    await checkContent(target, written)
    await rm(target)
    return restored
  }

  async #backup(host: Host, reason: string): Promise<Sample> {
    const { output, ...measured } = await this.#measure(host.backup(), host)
    return { ...measured, figures: backupFigures(output, reason) }
  }

  #measure(command: Command, host: Host): Promise<Measurement> {
    const watched = [host.agent, this.#site.gateway, host.qemu]
    return measure(command, { watched, syncFolder: this.#context.folder, signal: this.#context.signal })
  }
}

const medianOf = (samples: readonly Sample[], value: (sample: Sample) => number): number => median(samples.map(value))

const use = (sample: Sample, process: string, key: 'cpuSeconds' | 'peakBytes'): number =>
  sample.processes.find(({ name }) => name === process)?.[key] ?? Number.NaN

const row = (title: string, samples: readonly Sample[]): string[] => {
  const cpu = (process: string): string => medianOf(samples, (sample) => use(sample, process, 'cpuSeconds')).toFixed(2)
  const peak = (process: string): string =>
    (medianOf(samples, (sample) => use(sample, process, 'peakBytes')) / 1e6).toFixed(0)
  const seconds = samples.map((sample) => sample.seconds)
  return [
    title,
    median(seconds).toFixed(2),
    `${Math.min(...seconds).toFixed(2)}–${Math.max(...seconds).toFixed(2)}`,
    ...['command', 'agent', 'gateway', 'QEMU'].map(cpu),
    medianOf(samples, ({ otherCpuSeconds }) => otherCpuSeconds).toFixed(2),
    ...['agent', 'gateway'].map(peak),
    (medianOf(samples, ({ figures }) => figures.bytesRead) / MIB).toFixed(1),
    (medianOf(samples, ({ figures }) => figures.bytesSent) / MIB).toFixed(2),
  ]
}

const HEADING = [
  'operation',
  'seconds',
  'range',
  'CPU s: command',
  'agent',
  'gateway',
  'QEMU',
  'anything else',
  'peak MB: agent',
  'gateway',
  'MiB read',
  'MiB sent',
]

const reportOf = (subjects: readonly Subject[], restored: Measurement, restoredName: string): Report => {
  const seconds = (subject: Subject): number => medianOf(subject.increments, (sample) => sample.seconds)
  const [small, large] = subjects
  if (small === undefined || large === undefined) throw new Error('two disks are compared')
  const peak = (process: string): number =>
    Math.max(...subjects.flatMap((one) => one.increments).map((sample) => use(sample, process, 'peakBytes'))) / 1e6
  return {
    tables: [
      {
        title: 'Sparse disks',
        heading: HEADING,
        rows: subjects.flatMap(({ name, first, increments }) => [
          row(`${name}: first full`, [first]),
          row(`${name}: incremental after ${WRITES} random 4 KiB writes`, increments),
        ]),
      },
    ],
    goals: [
      judge(`incremental on 100 GiB, ${WRITES} writes, command to exit`, seconds(small), { atMost: 0.25 }, 's'),
      judge('incremental on 1 TiB', seconds(large), { atMost: 1 }, 's'),
      judge('incremental on 1 TiB / on 100 GiB', seconds(large) / seconds(small), { atMost: 1.2 }),
      judge('peak memory of an agent in these increments', peak('agent'), { atMost: 200 }, 'MB'),
      judge('peak memory of the gateway in these increments', peak('gateway'), { atMost: 300 }, 'MB'),
      judge(`restore of the whole ${restoredName} disk, sparse`, restored.seconds, null, 's'),
    ],
    notes: [
      `Sparse disks: both hold the same ${(CLUMPS * CLUMP_BYTES) / MIB} MiB of random bytes in clumps of ${CLUMP_BYTES / MIB} MiB that lie evenly over the disk. ` +
        `The ${WRITES} writes before each increment are at random places of the whole disk. Times are of the whole command, its start included; the two disks take turns. ` +
        `The newest point of the ${restoredName} disk was restored and every written byte compared.`,
    ],
    details: {
      disks: subjects.map(({ name, bytes, first, increments }) => ({ name, bytes, first, increments })),
      restoreSeconds: restored.seconds,
    },
  }
}

export const sparseDisks = async (context: ScenarioContext): Promise<Report> => {
  const { folder, quick, signal } = context
  await requireSpace(folder, SPACE_BYTES)
  await using site = await Site.start(path.join(folder, 'site'))
  return await site.explained(signal, async () => {
    const sparse = new Sparse(context, site)
    const subjects = await sparse.run()
    const restored = quick ? subjects[0] : subjects[1]
    if (restored === undefined) throw new Error('there is nothing to restore')
    context.say(`restoring ${restored.name} and comparing it`)
    return reportOf(subjects, await sparse.restore(restored), restored.name)
  })
}
