// What it costs eight uploads that others read beside them: lists of restore points, usage and verification at a steady pace.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { BESIDE_BACKUPS_BYTES_PER_SECOND } from '../../gateway/scheduler/pace.ts'
import { requireSpace } from './host.ts'
import { INTERVALS_MS, READERS, type ReaderKind } from './readers-kinds.ts'
import { AGENTS, POINTS, QUICK_POINTS, ReadersStand, type Turn } from './readers-stand.ts'
import { judge, type Goal, type Report, type Scenario, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const MIB = 2 ** 20

/** What each agent uploads in one turn, in bytes; nothing of it compresses or is known. */
const DISK_BYTES = 128 * MIB
const QUICK_DISK_BYTES = 16 * MIB

/** How often each kind has its turn in one round, on one gateway. */
const CYCLES = 2

/** What reading may make of the seconds of the uploads. */
const RATIO_MAX = 1.05

/** Disk space that a run takes besides what is uploaded, in bytes. */
const OTHER_SPACE_BYTES = 4 * 2 ** 30

/** A turn with a reader between two without. */
interface Pair {
  readonly kind: ReaderKind
  readonly turn: Turn
  /** Mean seconds of the turns before and after it. */
  readonly aloneSeconds: number
}

interface Round {
  readonly pairs: readonly Pair[]
  readonly alone: readonly Turn[]
}

const KINDS = Object.keys(READERS) as ReaderKind[]

const oneRound = async (context: ScenarioContext, round: number): Promise<Round> => {
  const { signal, quick, say } = context
  const folder = path.join(context.folder, `round-${round}`)
  await mkdir(folder)
  try {
    const points = quick ? QUICK_POINTS : POINTS
    const size = { diskBytes: quick ? QUICK_DISK_BYTES : DISK_BYTES, points }
    await using stand = await ReadersStand.start(context, folder, size)
    const turn = async (kind: ReaderKind | null): Promise<Turn> => {
      signal.throwIfAborted()
      const done = await stand.turn(kind)
      say(
        `${done.seconds.toFixed(2).padStart(7)} s  ${AGENTS} uploads, ${kind === null ? 'alone' : READERS[kind].title}`,
      )
      return done
    }
    // the first one warms the gateway up
    await turn(null)
    const alone = [await turn(null)]
    const pairs: Pair[] = []
    for (const kind of Array.from({ length: quick ? 1 : CYCLES }, () => KINDS).flat()) {
      const done = await turn(kind)
      const before = alone.at(-1)!
      const after = await turn(null)
      alone.push(after)
      pairs.push({ kind, turn: done, aloneSeconds: (before.seconds + after.seconds) / 2 })
    }
    return { pairs, alone }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const spread = (values: readonly number[]): string =>
  `${Math.min(...values).toFixed(2)}–${Math.max(...values).toFixed(2)}`

const HEADING = [
  'beside 8 uploads',
  'seconds',
  'range',
  'with / without',
  'range',
  'MB/s in all',
  'CPU s: gateway',
  'calls',
  'p50 ms',
  'p99 ms',
  'MB/s verified',
]

const row = (title: string, turns: readonly Turn[], ratios: readonly number[]): string[] => {
  const seconds = turns.map((turn) => turn.seconds)
  const of = (value: (turn: Turn) => number): number => median(turns.map(value))
  const reading = turns[0]?.reading
  const calls = reading?.spread === undefined ? [] : turns.flatMap((turn) => turn.reading?.spread ?? [])
  const called = (key: 'count' | 'p50Ms' | 'p99Ms', digits: number): string =>
    calls.length === 0 ? '' : median(calls.map((one) => one[key])).toFixed(digits)
  const verified = (turn: Turn): number => (turn.reading?.verifiedBytes ?? 0) / turn.seconds / 1e6
  return [
    title,
    median(seconds).toFixed(2),
    spread(seconds),
    ratios.length === 0 ? '' : median(ratios).toFixed(3),
    ratios.length === 0 ? '' : spread(ratios),
    of((turn) => turn.bytes / turn.seconds / 1e6).toFixed(0),
    of((turn) => turn.gatewayCpuSeconds).toFixed(2),
    called('count', 0),
    called('p50Ms', 1),
    called('p99Ms', 1),
    reading?.verifiedBytes === undefined ? '' : of(verified).toFixed(1),
  ]
}

export const run: Scenario['run'] = async (context): Promise<Report> => {
  await requireSpace(context.folder, (2 + 2 * CYCLES * KINDS.length + 2) * AGENTS * DISK_BYTES + OTHER_SPACE_BYTES)
  const rounds: Round[] = []
  for (let round = 1; round <= context.rounds; round++) rounds.push(await oneRound(context, round))
  const alone = rounds.flatMap((round) => round.alone)
  const of = (kind: ReaderKind): Pair[] => rounds.flatMap(({ pairs }) => pairs.filter((pair) => pair.kind === kind))
  const ratios = (kind: ReaderKind): number[] => of(kind).map(({ turn, aloneSeconds }) => turn.seconds / aloneSeconds)
  const rowOf = (kind: ReaderKind): string[] =>
    row(
      READERS[kind].title,
      of(kind).map(({ turn }) => turn),
      ratios(kind),
    )
  const goalOf = (kind: ReaderKind): Goal =>
    judge(
      `${AGENTS} uploads with / without ${READERS[kind].title}`,
      median(ratios(kind)),
      READERS[kind].judged ? { atMost: RATIO_MAX } : null,
    )
  return {
    tables: [
      { title: 'Uploads while others read', heading: HEADING, rows: [row('nobody', alone, []), ...KINDS.map(rowOf)] },
    ],
    goals: KINDS.map(goalOf),
    notes: [
      `Each of ${AGENTS} agents has a QEMU of its own and is in a tenant of its own; before each turn its whole disk of ${DISK_BYTES / MIB} MiB is written
with bytes that do not compress, so its increment is all of it. Seconds run from the calls that start all backups at once to the end of
the last job. Turns with a reader stand between two without; each is compared with the mean of these two.`,
      `Who reads is an operator of another tenant, over one session: that tenant has one 1 GiB image in ${POINTS.toLocaleString('en')} restore points.
A page of points (250) every ${INTERVALS_MS.list} ms; usage every ${INTERVALS_MS.usage} ms; store.verify of everything, again and again, at the pace at which
upkeep verifies beside backups (${BESIDE_BACKUPS_BYTES_PER_SECOND / MIB} MiB/s), and as fast as it can, as a person may start it. Calls of one kind wait for one another,
and what they waited counts.`,
    ],
    details: { rounds },
  }
}
