// A long slow link between agent and gateway: how much of its rate a first backup uses, and what its delay costs a re-read.
import { copyFile, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { backupFigures, Site, type BackupFigures, type Host } from './fleet-site.ts'
import { requireSpace } from './host.ts'
import { benchImage, type BenchImage } from './image.ts'
import { checkLink, LinkProxyProcess, type LineSettings, type LinkCheck, type LinkStats } from './link-line.ts'
import { measure, type Measurement } from './measure.ts'
import { writeBlocks, WRITES } from './scale-writes.ts'
import { judge, type Goal, type Report, type Scenario, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30

/** What is sent over the link. */
const IMAGE_BYTES = GIB

/** What is read again over it: the image of the other scenarios, unless the run is a quick one. */
const REREAD_BYTES = 4 * GIB

const DISK = 'vda'

/** Disk space that a run may take at one time, as a multiple of the images. */
const SPACE_FACTOR = 3

const MEGABIT = 1e6
const LINK: LineSettings = { delayMs: 25, bitsPerSecond: 200 * MEGABIT }
const AT_ONCE: LineSettings = { delayMs: 0, bitsPerSecond: null }

const CHECK_MS = 4000
const QUICK_CHECK_MS = 2000

/** That the link may add to a re-read or an increment. */
const ROUND_TRIPS_MAX = 5

/** Backups of each kind in one round; they take turns. */
const PAIRS = 3

/** Shares of all bytes between which the steady part of a transfer lies. */
const STEADY_FROM = 0.02
const STEADY_TO = 0.98

/** Kinds of backup by the reason they are made for. */
const KINDS = { first: 'first full', requested: 're-read', bitmap: 'increment' } as const

interface Timed extends Omit<Measurement, 'output'> {
  readonly figures: BackupFigures
  readonly upBytes: number
  readonly downBytes: number
  /** From the first byte that crossed the proxy upwards to the last. */
  readonly transferSeconds: number
  /** Upward bits a second between two shares of all bytes, whole steps of 100 ms. */
  readonly steadyBitsPerSecond: number
  readonly proxyCpuSeconds: number
}

/** The same backups without the link's delay and with it. */
interface Pairs {
  readonly near: readonly Timed[]
  readonly far: readonly Timed[]
}

interface Round {
  readonly full: Timed
  readonly rereads: Pairs
  /** Each after the same number of small writes. */
  readonly increments: Pairs
}

interface Images {
  readonly sent: BenchImage
  readonly reread: BenchImage
}

/** The rate between the steps in which the given shares of all bytes had arrived. */
const steadyRate = ({ up: { bytes, steps, stepMs } }: LinkStats): number => {
  let before = 0
  let inside = 0
  let first: number | null = null
  let last = 0
  for (const [step, count] of steps) {
    if (before >= STEADY_FROM * bytes && before + count <= STEADY_TO * bytes) {
      first ??= step
      last = step
      inside += count
    }
    before += count
  }
  return first === null ? Number.NaN : (inside * 8000) / ((last - first + 1) * stepMs)
}

class LinkRound {
  readonly #context: ScenarioContext
  readonly #folder: string
  readonly #proxy: LinkProxyProcess
  readonly #site: Site
  #writes = 0

  constructor(context: ScenarioContext, folder: string, proxy: LinkProxyProcess, site: Site) {
    this.#context = context
    this.#folder = folder
    this.#proxy = proxy
    this.#site = site
  }

  async run({ sent, reread }: Images): Promise<Round> {
    const sender = await this.#host('sender', sent)
    const full = await this.#backup(sender, LINK, 'first')
    const increments = await this.#pairs(async (settings) => {
      await writeBlocks(sender, sent.size, ++this.#writes)
      return this.#backup(sender, settings, 'bitmap')
    })
    const reader = reread === sent ? sender : await this.#host('reader', reread)
    if (reader !== sender) await this.#backup(reader, AT_ONCE, 'first')
    const rereads = await this.#pairs((settings) => this.#backup(reader, settings, 'requested', '--full'))
    return { full, rereads, increments }
  }

  async #pairs(backup: (settings: LineSettings) => Promise<Timed>): Promise<Pairs> {
    const near: Timed[] = []
    const far: Timed[] = []
    for (let index = 0; index < PAIRS; index++) {
      near.push(await backup(AT_ONCE))
      far.push(await backup(LINK))
    }
    return { near, far }
  }

  /** A host behind the link, with a copy of an image and a tenant of its own. */
  async #host(name: string, { qcow2, size }: BenchImage): Promise<Host> {
    const file = path.join(this.#folder, `${name}.qcow2`)
    await copyFile(qcow2, file)
    await this.#proxy.set(AT_ONCE)
    const disks = [{ id: DISK, format: 'qcow2' as const, file, size }]
    return this.#site.addHost({ name, tenant: name, disks, url: `ws://127.0.0.1:${this.#proxy.port}` })
  }

  async #backup(host: Host, settings: LineSettings, reason: keyof typeof KINDS, ...options: string[]): Promise<Timed> {
    const { folder, signal, say } = this.#context
    await this.#proxy.set(settings)
    const before = await this.#proxy.reset()
    const watched = [host.agent, this.#site.gateway, host.qemu]
    const measured = await measure(host.backup(...options), { watched, syncFolder: folder, signal })
    const stats = await this.#proxy.stats()
    const { output, ...rest } = measured
    const where = settings.delayMs > 0 ? 'over the link' : 'without its delay'
    say(`${rest.seconds.toFixed(2).padStart(7)} s  ${KINDS[reason]} ${where}`)
    return {
      ...rest,
      figures: backupFigures(output, reason),
      upBytes: stats.up.bytes,
      downBytes: stats.down.bytes,
      transferSeconds: (stats.up.lastMs - stats.up.firstMs) / 1000,
      steadyBitsPerSecond: steadyRate(stats),
      proxyCpuSeconds: (stats.cpu.user + stats.cpu.system - before.cpu.user - before.cpu.system) / 1e6,
    }
  }
}

const oneRound = async (context: ScenarioContext, images: Images, round: number): Promise<Round> => {
  const folder = path.join(context.folder, `round-${round}`)
  await mkdir(folder, { recursive: true })
  try {
    await using site = await Site.start(path.join(folder, 'site'))
    return await site.explained(context.signal, async () => {
      await using proxy = await LinkProxyProcess.start(site.port)
      return await new LinkRound(context, folder, proxy, site).run(images)
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const middle = (samples: readonly Timed[], value: (sample: Timed) => number): number => median(samples.map(value))

const HEADING = [
  'operation',
  'seconds',
  'first to last byte',
  'MiB up',
  'MiB down',
  'Mbit/s in that time',
  'CPU s: agent',
  'gateway',
  'QEMU',
  'proxy',
  'peak MB: agent',
  'gateway',
]

const row = (title: string, samples: readonly Timed[]): string[] => {
  const of = (value: (sample: Timed) => number): number => middle(samples, value)
  const use = (process: string, key: 'cpuSeconds' | 'peakBytes'): number =>
    of((sample) => sample.processes.find(({ name }) => name === process)?.[key] ?? Number.NaN)
  return [
    title,
    of(({ seconds }) => seconds).toFixed(2),
    of(({ transferSeconds }) => transferSeconds).toFixed(2),
    (of(({ upBytes }) => upBytes) / 2 ** 20).toFixed(1),
    (of(({ downBytes }) => downBytes) / 2 ** 20).toFixed(2),
    (of(({ upBytes, transferSeconds }) => (upBytes * 8) / transferSeconds) / MEGABIT).toFixed(1),
    (of(({ steadyBitsPerSecond }) => steadyBitsPerSecond) / MEGABIT).toFixed(1),
    ...['agent', 'gateway', 'QEMU'].map((name) => use(name, 'cpuSeconds').toFixed(2)),
    of(({ proxyCpuSeconds }) => proxyCpuSeconds).toFixed(2),
    ...['agent', 'gateway'].map((name) => (use(name, 'peakBytes') / 1e6).toFixed(0)),
  ]
}

const notesOf = (check: LinkCheck): string[] => [
  `The link is a proxy in a process of its own: ${LINK.delayMs} ms delay and ${(LINK.bitsPerSecond ?? 0) / MEGABIT} Mbit/s in each direction, one token bucket a direction for all connections, ` +
    'bytes in order, reading stopped when more than the line and a queue of 256 KiB are full (the kernel’s socket buffers on both sides of it come on top). ' +
    `Measured with plain sockets before the run: round trip ${check.roundTripMs.toFixed(1)} ms idle, ${check.loadedRoundTripMs.toFixed(1)} ms beside a full upward line; ` +
    `${(check.upBitsPerSecond / MEGABIT).toFixed(1)} Mbit/s up, ${(check.downBitsPerSecond / MEGABIT).toFixed(1)} Mbit/s down.`,
  'Share of the link’s rate: every byte that the proxy delivered upwards (WebSocket frames, the command’s own connection included) × 8 ÷ the seconds from the first to the last of them, ' +
    'against the rate that plain sockets got; also over the whole command with its start. ' +
    `The steady part leaves out the first and last ${STEADY_FROM * 100} % of the bytes. "Without its delay" goes through the same proxy with neither delay nor rate.`,
]

const goalsOf = (rounds: readonly Round[], check: LinkCheck, rereadName: string): Goal[] => {
  const fulls = rounds.map(({ full }) => full)
  const share = (value: (sample: Timed) => number): number => middle(fulls, value) / check.upBitsPerSecond
  const secondsOf = (kind: 'rereads' | 'increments', where: keyof Pairs): number =>
    middle(
      rounds.flatMap((round) => round[kind][where]),
      ({ seconds }) => seconds,
    )
  const addedTrips = (kind: 'rereads' | 'increments'): number =>
    (1000 * (secondsOf(kind, 'far') - secondsOf(kind, 'near'))) / check.roundTripMs
  const bitsIn = (seconds: keyof Timed & ('seconds' | 'transferSeconds')) => (sample: Timed) =>
    (sample.upBytes * 8) / sample[seconds]
  return [
    judge('first full: share of the link’s rate from first to last byte', share(bitsIn('transferSeconds')), {
      atLeast: 0.9,
    }),
    judge('first full: share over the whole command', share(bitsIn('seconds')), null),
    judge(
      'first full: share in the steady part',
      share(({ steadyBitsPerSecond }) => steadyBitsPerSecond),
      null,
    ),
    judge(
      `re-read of ${rereadName} over the link / without its delay`,
      secondsOf('rereads', 'far') / secondsOf('rereads', 'near'),
      {
        atMost: 1.1,
      },
    ),
    judge('re-read: what the link adds, in round trips', addedTrips('rereads'), { atMost: ROUND_TRIPS_MAX }),
    judge('increment: what the link adds, in round trips', addedTrips('increments'), { atMost: ROUND_TRIPS_MAX }),
  ]
}

const reportOf = (rounds: readonly Round[], check: LinkCheck, images: Images): Report => {
  const name = ({ size }: BenchImage): string => `${size / GIB} GiB`
  const pairRows = (title: string, kind: 'rereads' | 'increments'): string[][] => [
    row(
      `${title}, over the link`,
      rounds.flatMap((round) => round[kind].far),
    ),
    row(
      `${title}, without its delay`,
      rounds.flatMap((round) => round[kind].near),
    ),
  ]
  const fulls = rounds.map(({ full }) => full)
  const rows = [
    row(`first full of ${name(images.sent)}, over the link`, fulls),
    ...pairRows(`re-read of ${name(images.reread)}, nothing new`, 'rereads'),
    ...pairRows(`incremental after ${WRITES} random 4 KiB writes`, 'increments'),
  ]
  return {
    tables: [{ title: 'Link of 50 ms round trip and 200 Mbit/s', heading: HEADING, rows }],
    goals: goalsOf(rounds, check, name(images.reread)),
    notes: notesOf(check),
    details: { check, rounds },
  }
}

export const run: Scenario['run'] = async (context) => {
  const { cache, folder, signal, quick, say } = context
  await requireSpace(folder, SPACE_FACTOR * (IMAGE_BYTES + REREAD_BYTES))
  say('measuring the delaying proxy itself')
  const check = await checkLink(LINK, quick ? QUICK_CHECK_MS : CHECK_MS)
  const sent = await benchImage(cache, IMAGE_BYTES, signal)
  const reread = quick ? sent : await benchImage(cache, REREAD_BYTES, signal)
  const rounds: Round[] = []
  for (let round = 1; round <= context.rounds; round++) rounds.push(await oneRound(context, { sent, reread }, round))
  return reportOf(rounds, check, { sent, reread })
}
