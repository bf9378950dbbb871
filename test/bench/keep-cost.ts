// What a collection costs beside unique data: stores with few and with very many restore points of one machine.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { CHUNK_BYTES_DEFAULT } from '../../protocol/chunk.ts'
import { run } from '../rig/run.ts'
import { Site } from './fleet-site.ts'
import { KeepCommands, type Keeping } from './keep-commands.ts'
import { measure } from './measure.ts'
import { judge, type Goal, type Report, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30
const TENANT = 'bench'

/** From the fewest points to the most, time per unique data may grow by so much. */
const GROWTH_MAX = 1.5

/** Of a store that is nearly empty: what it takes is start and end of the work. */
const EMPTY_CHUNKS = 64

const FILL_TIMEOUT_MS = 20 * 60_000

interface Extent {
  /** Chunks of the disk, all present in the first point. */
  readonly diskChunks: number
  readonly points: readonly number[]
  /** Chunks that each further point replaces where all stores have the same churn. */
  readonly churnChunks: number
  /** The same for all further points together where all stores have the same unique data. */
  readonly totalChunks: number
  /** How often each command that changes nothing is timed. */
  readonly times: number
}

const FULL: Extent = { diskChunks: 16_384, points: [10, 100, 1000], churnChunks: 64, totalChunks: 16_384, times: 3 }
const QUICK: Extent = { diskChunks: 1024, points: [10, 100], churnChunks: 16, totalChunks: 1024, times: 1 }

const VARIANTS = {
  churn: 'the same churn for each point',
  data: 'the same unique data in all',
} as const
type Variant = keyof typeof VARIANTS

const filled = v.object({ points: v.number(), chunks: v.number(), seconds: v.number() })
const fillProgram = path.join(import.meta.dirname, 'keep-fill.ts')

/** Medians of a command: the whole of it, and the work alone as the gateway reports it. */
interface Cost {
  readonly seconds: number
  readonly workSeconds: number
}

interface StoreCosts {
  readonly variant: Variant
  readonly points: number
  readonly uniqueBytes: number
  readonly nodes: number
  readonly rows: number
  readonly dryRun: Cost
  readonly verify: Cost
  readonly pruneSeconds: number
  /** After pruning half of the points. */
  readonly collect: Cost & {
    readonly nodes: number
    readonly deadBytes: number
    readonly copiedBytes: number
    readonly freedBytes: number
  }
}

const churnOf = ({ churnChunks, totalChunks }: Extent, variant: Variant, points: number): number =>
  variant === 'churn' ? churnChunks : Math.round(totalChunks / (points - 1))

class CostRun {
  readonly #context: ScenarioContext
  readonly #site: Site
  readonly #commands: KeepCommands

  constructor(context: ScenarioContext, site: Site) {
    this.#context = context
    this.#site = site
    this.#commands = new KeepCommands(site.data, TENANT)
  }

  async run(times: number, points: number): Promise<Omit<StoreCosts, 'variant' | 'points'>> {
    const commands = this.#commands
    const dry = await this.#repeated(times, commands.collect('--dry-run'))
    const verified = await this.#repeated(times, commands.verify())
    const pruned = await this.#timed(commands.prune('--keep-last', String(points / 2)))
    if (pruned.report.removed !== points / 2)
      throw new Error(`${pruned.report.removed} of ${points} points were pruned`)
    const collected = await this.#repeated(1, commands.collect())
    const { report } = collected
    return {
      uniqueBytes: dry.report.live.bytes,
      nodes: dry.report.nodes,
      rows: dry.report.examined.records,
      dryRun: dry.cost,
      verify: verified.cost,
      pruneSeconds: pruned.seconds,
      collect: {
        ...collected.cost,
        nodes: report.nodes,
        deadBytes: report.dead.bytes,
        copiedBytes: report.bytesRewritten,
        freedBytes: report.bytesBefore - report.bytesAfter,
      },
    }
  }

  /** A command so many times; its last report. */
  async #repeated<R extends { durationMs: number }>(
    times: number,
    keeping: Pick<Keeping<never>, 'command'> & { read(output: string): R },
  ): Promise<{ cost: Cost; report: R }> {
    const runs = []
    for (let count = 0; count < times; count++) runs.push(await this.#timed(keeping))
    const cost = {
      seconds: median(runs.map(({ seconds }) => seconds)),
      workSeconds: median(runs.map(({ report }) => report.durationMs / 1000)),
    }
    return { cost, report: runs.at(-1)!.report }
  }

  async #timed<R>({
    command,
    read,
  }: Pick<Keeping<never>, 'command'> & { read(output: string): R }): Promise<{ seconds: number; report: R }> {
    const { folder, signal } = this.#context
    const { seconds, output } = await measure(command, { syncFolder: folder, watched: [this.#site.gateway], signal })
    return { seconds, report: read(output) }
  }
}

const oneStore = async (
  context: ScenarioContext,
  extent: Extent,
  variant: Variant,
  points: number,
): Promise<StoreCosts> => {
  const { signal, say } = context
  const folder = path.join(context.folder, `cost-${variant}-${points}`)
  await mkdir(folder)
  try {
    const site = path.join(folder, 'site')
    await mkdir(site)
    const numbers = [extent.diskChunks, points, churnOf(extent, variant, points)].map(String)
    const args = [fillProgram, path.join(site, 'gateway'), TENANT, ...numbers]
    const output = await run(process.execPath, args, { timeoutMs: FILL_TIMEOUT_MS, signal })
    const { chunks, seconds } = v.parse(filled, JSON.parse(output))
    say(`${points} points, ${VARIANTS[variant]}: filled with ${chunks} chunks in ${seconds.toFixed(0)} s`)
    await using gateway = await Site.start(site)
    const costs = await gateway.explained(signal, () => new CostRun(context, gateway).run(extent.times, points))
    const { uniqueBytes, dryRun, collect } = costs
    say(
      `  ${(uniqueBytes / GIB).toFixed(2)} GiB unique: gc --dry-run ${dryRun.workSeconds.toFixed(2)} s, ` +
        `gc after pruning half ${collect.workSeconds.toFixed(2)} s`,
    )
    return { variant, points, ...costs }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const perGib = (seconds: number, uniqueBytes: number): number => seconds / (uniqueBytes / GIB)

const row = ({
  variant,
  points,
  uniqueBytes,
  nodes,
  rows,
  dryRun,
  verify,
  collect,
  pruneSeconds,
}: StoreCosts): string[] => [
  `${points} points, ${VARIANTS[variant]}`,
  (uniqueBytes / GIB).toFixed(2),
  nodes.toLocaleString('en'),
  rows.toLocaleString('en'),
  dryRun.seconds.toFixed(2),
  dryRun.workSeconds.toFixed(3),
  perGib(dryRun.workSeconds, uniqueBytes).toFixed(3),
  verify.workSeconds.toFixed(2),
  perGib(verify.workSeconds, uniqueBytes).toFixed(2),
  pruneSeconds.toFixed(2),
  collect.workSeconds.toFixed(2),
  (collect.copiedBytes / 2 ** 20).toFixed(0),
  (collect.freedBytes / 2 ** 20).toFixed(0),
]

const HEADING = [
  'store',
  'unique GiB',
  'nodes read',
  'rows examined',
  'gc --dry-run s',
  'its work s',
  's/GiB',
  'verify: work s',
  's/GiB',
  'prune half s',
  'gc then: work s',
  'MiB copied',
  'freed',
]

const goalsOf = (costs: readonly StoreCosts[], variant: Variant, floorSeconds: number): Goal[] => {
  const own = costs.filter((one) => one.variant === variant)
  const [first, last] = [own[0]!, own.at(-1)!]
  const ratio = (value: (one: StoreCosts) => number): number => value(last) / value(first)
  const title = `gc --dry-run per unique GiB, ${last.points} points / ${first.points}, ${VARIANTS[variant]}`
  const whole = ratio(({ dryRun, uniqueBytes }) => perGib(dryRun.workSeconds, uniqueBytes))
  const net = ratio(({ dryRun, uniqueBytes }) => perGib(dryRun.workSeconds - floorSeconds, uniqueBytes))
  return [
    judge(title, whole, { atMost: GROWTH_MAX }),
    judge(`${title}, less what an empty store takes`, net, { atMost: GROWTH_MAX }),
  ]
}

export const collectionCost = async (context: ScenarioContext): Promise<Report> => {
  const extent = context.quick ? QUICK : FULL
  const floor = await oneStore(context, { ...extent, diskChunks: EMPTY_CHUNKS, churnChunks: 8 }, 'churn', 2)
  const costs: StoreCosts[] = []
  for (const variant of Object.keys(VARIANTS) as Variant[])
    for (const points of extent.points) costs.push(await oneStore(context, extent, variant, points))
  const { diskChunks, churnChunks, totalChunks, times } = extent
  const mebibytes = (chunks: number): number => (chunks * CHUNK_BYTES_DEFAULT) / 2 ** 20
  return {
    tables: [
      { title: 'Collection and verification beside unique data', heading: HEADING, rows: [...costs, floor].map(row) },
    ],
    goals: (Object.keys(VARIANTS) as Variant[]).flatMap((variant) => goalsOf(costs, variant, floor.dryRun.workSeconds)),
    notes: [
      `Stores of one machine with a disk of ${mebibytes(diskChunks)} MiB, full of bytes that do not compress, filled by a program through the gateway’s own writers: chunks, trees, manifests and catalog are real. ` +
        `Each further point replaces ${mebibytes(churnChunks)} MiB in runs of 8 chunks at random places, or its part of ${mebibytes(totalChunks)} MiB that all further points replace together. ` +
        `A gateway runs; “work” is the time that its report tells, without the command’s start; each command that changes nothing is timed ${times} times, medians. The store in the last row has ${EMPTY_CHUNKS} chunks: what a collection takes there, it takes everywhere. Unique data is what the dry run calls live, trees and manifests included. ` +
        'The second gc comes after a prune of the older half; it copies what lives in packs below 90 %.',
    ],
    details: { extent, costs, floor },
  }
}
