// What it costs to keep a store: prune, collection and verification beside restic and borg, and beside the number of
// restore points.
import { collectionCost } from './keep-cost.ts'
import { FULL, OPERATIONS, QUICK, Repositories, type Operation, type Sample, type Sizes } from './keep-repositories.ts'
import { CHURN_SHARE, PIECE_BYTES } from './keep-versions.ts'
import { requireSpace } from './host.ts'
import { inParts, judge, type Goal, type Table, type Work } from './scenario.ts'
import { median } from './statistics.ts'

/** Disk space that a run may take at one time, as a multiple of the disk's size. */
const SPACE_FACTOR = 20

const PROGRAMS = ['Varve', 'restic', 'borg', 'borg, 64 KiB'] as const
type Program = (typeof PROGRAMS)[number]

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2)

/** Medians over the rounds. */
class Timings {
  readonly #samples: readonly Sample[]

  constructor(samples: readonly Sample[]) {
    this.#samples = samples
  }

  has(program: Program, operation: Operation): boolean {
    return this.#of(program, operation).length > 0
  }

  middle(program: Program, operation: Operation, value: (sample: Sample) => number): number {
    return median(this.#of(program, operation).map(value))
  }

  /** Of several commands one after the other; those that a program does not have take nothing. */
  seconds(program: Program, ...operations: Operation[]): number {
    const own = operations.filter((operation) => this.has(program, operation))
    return own.reduce((sum, operation) => sum + this.middle(program, operation, ({ seconds }) => seconds), 0)
  }

  #of(program: Program, operation: Operation): readonly Sample[] {
    return this.#samples.filter((sample) => sample.program === program && sample.operation === operation)
  }
}

const timesTable = (timings: Timings): Table => {
  const rows = (Object.keys(OPERATIONS) as Operation[]).flatMap((operation) =>
    PROGRAMS.filter((program) => timings.has(program, operation)).map((program) => {
      const middle = (value: (sample: Sample) => number): number => timings.middle(program, operation, value)
      const peak = (index: number): number => middle(({ processes }) => (processes[index]?.peakBytes ?? 0) / 1e6)
      const cpu = ({ processes }: Sample): number => processes.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)
      return [
        `${program}: ${OPERATIONS[operation]}`,
        middle(({ seconds }) => seconds).toFixed(2),
        middle(cpu).toFixed(2),
        middle(({ otherCpuSeconds }) => otherCpuSeconds).toFixed(2),
        peak(0).toFixed(0),
        program === 'Varve' ? peak(1).toFixed(0) : '',
      ]
    }),
  )
  const heading = ['command', 'seconds', 'CPU s', 'CPU s of others', 'peak MB: command', 'gateway']
  return { title: 'Whole commands on repositories with the same versions', heading, rows }
}

const sizesTable = (sizes: readonly Sizes[]): Table => ({
  title: 'Repositories, all files',
  heading: ['program', 'GB with all versions', 'GB after', 'freed'],
  rows: PROGRAMS.flatMap((program) =>
    sizes
      .filter((one) => one.program === program)
      .map(({ before, after }) => [program, gigabytes(before), gigabytes(after), gigabytes(before - after)]),
  ),
})

const goals = (timings: Timings, sizes: readonly Sizes[]): Goal[] =>
  (['restic', 'borg', 'borg, 64 KiB'] as const).flatMap((peer) => {
    const ratio = (title: string, theirs: readonly Operation[], ours: readonly Operation[]): Goal =>
      judge(`${peer} / Varve: ${title}`, timings.seconds(peer, ...theirs) / timings.seconds('Varve', ...ours), {
        atLeast: 1,
      })
    const size = (program: Program): number => sizes.find((one) => one.program === program)?.after ?? Number.NaN
    return [
      ratio('forget and give space back', ['forget', 'reclaim'], ['forget', 'reclaim']),
      ratio('check with all data read', ['data'], ['data']),
      ratio('check of the structure / gc --dry-run', ['structure'], ['dryRun']),
      ratio('check of the structure / repair --check', ['structure'], ['repairCheck']),
      judge(`${peer} / Varve: size after it`, size(peer) / size('Varve'), { atLeast: 1 }),
    ]
  })

const besidePeers: Work = async (context) => {
  const extent = context.quick ? QUICK : FULL
  const { diskBytes, versions, keep } = extent
  await requireSpace(context.folder, SPACE_FACTOR * diskBytes)
  const repositories = new Repositories(context, extent)
  await repositories.build()
  for (let round = 0; round < context.rounds; round++) await repositories.round()
  const { samples, sizes } = repositories
  const timings = new Timings(samples)
  return {
    tables: [timesTable(timings), sizesTable(sizes)],
    goals: goals(timings, sizes),
    notes: [
      `${versions} versions of a disk of ${diskBytes / 2 ** 20} MiB; each replaces ${CHURN_SHARE * 100} % of it in pieces of ${PIECE_BYTES / 1024} KiB at random places that are multiples of 4 KiB, half of them bytes that compress to half, the others bytes that do not. ` +
        `All programs back up the same bytes; Varve’s newest point was restored and compared. All but the newest ${keep} versions are forgotten. Each round begins with a fresh copy of each repository and with another program.`,
      'Varve: a running gateway, the commands beside it; prune and gc are two commands, whose sum is compared. restic 5 % (--max-unused), borg compact 10 % and gc 10 % (--threshold 90) of what is dead may stay. ' +
        'restic: forget --prune does both. borg: prune, then compact; no encryption. Varve’s repair --check reads every pack, as borg’s check reads every segment; restic’s check does not read data.',
      'Scattered pieces are hard on large chunks: borg with the fixed 4 MiB of the data path’s scenario stores nearly the whole disk again for each version, restic with 1 MiB on average about half of it. That is not fair to borg, so it is measured with chunks of 64 KiB as well, as Varve has them; restic’s cannot be chosen.',
    ],
    details: { extent, sizes, samples },
  }
}

export const parts = { beside: besidePeers, cost: collectionCost }

export const run = inParts(parts)
