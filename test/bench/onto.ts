// Restores onto an image that is there: where one percent of it differs, beside a restore of the whole disk.
import { copyFile, rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { CHUNK_BYTES, writeRandomly } from './guest-writes.ts'
import { requireSpace } from './host.ts'
import { benchImage } from './image.ts'
import { measure, type Measurement } from './measure.ts'
import { gibibytes } from './report.ts'
import { judge, type Report, type Scenario, type ScenarioContext } from './scenario.ts'
import { DISK, Stand } from './stand.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = 4 * GIB
const QUICK_IMAGE_BYTES = GIB

/** Disk space that a run may take at one time, as a multiple of the image's size. */
const SPACE_FACTOR = 6

/** Share of the chunks in which something is written between the two points, at random places. */
const CHANGED_SHARE = 0.01

const backupSchema = v.object({ point: v.object({ id: v.string() }) })
const answerSchema = v.object({ bytesReceived: v.number(), bytesRead: v.optional(v.number(), 0) })

/** What is timed. */
const KINDS = [
  { name: 'whole', title: 'restore to a new file' },
  { name: 'onto', title: 'restore --onto' },
  { name: 'base', title: 'restore --onto --base' },
  { name: 'again', title: 'restore --onto, where nothing differs' },
] as const
type Kind = (typeof KINDS)[number]['name']

interface Sample {
  readonly measured: Measurement
  readonly bytesReceived: number
  readonly bytesRead: number
}

class OntoRound {
  readonly #context: ScenarioContext
  readonly #stand: Stand
  readonly #points: { readonly before: string; readonly after: string }

  constructor(context: ScenarioContext, stand: Stand, points: { before: string; after: string }) {
    this.#context = context
    this.#stand = stand
    this.#points = points
  }

  /** `image` holds what the first point has. */
  async run(image: string): Promise<Readonly<Record<Kind, Sample>>> {
    const { before } = this.#points
    const target = path.join(this.#context.folder, 'target.raw')
    const copy = async (): Promise<void> => {
      await rm(target, { force: true })
      await copyFile(image, target)
    }
    try {
      const whole = await this.#timed('whole', '--to', target)
      await copy()
      const onto = await this.#timed('onto', '--onto', target)
      const again = await this.#timed('again', '--onto', target)
      await copy()
      const base = await this.#timed('base', '--onto', target, '--base', before)
      return { whole, onto, again, base }
    } finally {
      await rm(target, { force: true })
    }
  }

  async #timed(kind: Kind, ...args: string[]): Promise<Sample> {
    const { signal, say, folder } = this.#context
    const command = this.#stand.command('restore', this.#points.after, '--disk', DISK, ...args, '--json')
    const measured = await measure(command, { watched: [this.#stand.gateway], syncFolder: folder, signal })
    say(`${measured.seconds.toFixed(2).padStart(7)} s  ${KINDS.find(({ name }) => name === kind)!.title}`)
    return { measured, ...v.parse(answerSchema, JSON.parse(measured.output)) }
  }
}

const METHOD = [
  `Gateway and agent's program are processes of their own on this machine, connected by WebSocket on loopback; the page cache is
warm. Between two restore points 4 KiB were written in one of a hundred chunks of 64 KiB, at random places. Each restore goes
onto a fresh copy of what the first point holds, and is synced within its time.`,
]

export const run: Scenario['run'] = async (context): Promise<Report> => {
  const { cache, folder, quick, rounds, signal, say } = context
  const size = quick ? QUICK_IMAGE_BYTES : IMAGE_BYTES
  await requireSpace(cache, SPACE_FACTOR * size)
  say('making the image, where it is not there from an earlier run')
  const image = await benchImage(cache, size, signal)
  await using stand = await Stand.start({ folder: path.join(folder, 'stand'), qcow2: image.qcow2, size, signal })
  const backup = async (): Promise<string> => {
    const { output } = await measure(stand.backup('--wait'), { syncFolder: folder, signal })
    return v.parse(backupSchema, JSON.parse(output)).point.id
  }
  const before = await backup()
  // each write lies in another chunk as a rule
  await writeRandomly(stand, size, Math.floor((size / CHUNK_BYTES) * CHANGED_SHARE), 11)
  const round = new OntoRound(context, stand, { before, after: await backup() })
  const measured: Readonly<Record<Kind, Sample>>[] = []
  for (let count = 0; count < rounds; count++) measured.push(await round.run(image.raw))
  const of = (value: (samples: Readonly<Record<Kind, Sample>>) => number): number => median(measured.map(value))
  const cpu = ({ measured: { processes } }: Sample, process: string): number =>
    processes.find(({ name }) => name === process)?.cpuSeconds ?? 0
  const row = (kind: Kind, title: string): string[] => [
    title,
    of((samples) => samples[kind].measured.seconds).toFixed(2),
    (of((samples) => samples[kind].bytesRead) / 2 ** 20).toFixed(0),
    (of((samples) => samples[kind].bytesReceived) / 2 ** 20).toFixed(1),
    of((samples) => cpu(samples[kind], 'command')).toFixed(2),
    of((samples) => cpu(samples[kind], 'gateway')).toFixed(2),
  ]
  return {
    tables: [
      {
        title: `A disk of ${gibibytes(size)} of which 1 % of the chunks differ, medians of ${rounds}`,
        heading: ['', 's', 'MiB read there', 'MiB received', 'own CPU s', 'gateway CPU s'],
        rows: KINDS.map(({ name, title }) => row(name, title)),
      },
    ],
    goals: [
      judge(
        'restore --onto / whole restore, bytes received',
        of(({ onto, whole }) => onto.bytesReceived / whole.bytesReceived),
        { atMost: 0.05 },
      ),
      judge(
        'restore --onto / whole restore, time',
        of(({ onto, whole }) => onto.measured.seconds / whole.measured.seconds),
        { atMost: 0.5 },
      ),
    ],
    notes: METHOD,
    details: measured.map((samples) =>
      Object.fromEntries(
        KINDS.map(({ name }) => {
          const { measured: timed, bytesReceived, bytesRead } = samples[name]
          return [name, { seconds: timed.seconds, bytesReceived, bytesRead }]
        }),
      ),
    ),
  }
}
