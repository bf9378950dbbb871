// Eight agents that upload at once to one gateway, beside one of them alone, and the gateway's memory with these and with more.
import { copyFile, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import { Watch, type Use } from './fleet-peaks.ts'
import { backupFigures, Site, type Host } from './fleet-site.ts'
import { requireSpace } from './host.ts'
import { benchImage, type BenchImage } from './image.ts'
import { machineCpuSeconds } from './process-use.ts'
import { judge, type Goal, type Report, type ScenarioContext, type Table } from './scenario.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = GIB
const DISK = 'vda'

/** Disk space that a run may take at one time, in bytes. */
const SPACE_BYTES = 24 * GIB

const AGENTS = 8

/** Only memory is looked at with so many, and only in the first round. */
const CROWD_AGENTS = 32
const QUICK_CROWD_AGENTS = 4

/** Of the gateway, in MB. */
const MEMORY_MB_MAX = { together: 300, crowd: 400 } as const

/** Median memory of the last third of the time by that of the middle third: what is not flat shows here. */
const GROWTH_MAX = 1.1

const BACKUP_TIMEOUT_MS = 10 * 60_000

/** With so many processes on the gateway's own machine an unlucky command waits for a core longer than commands wait by themselves. */
const PATIENCE = ['--timeout', '10m']

interface Upload {
  readonly host: string
  readonly seconds: number
  readonly plainBytes: number
  readonly sentBytes: number
}

interface Group {
  readonly uploads: readonly Upload[]
  /** From the start of the commands to the end of the last. */
  readonly seconds: number
  /** Cores that anything on the machine kept busy in that time, on average. */
  readonly busyCores: number
  /** The gateway first, then the agents. */
  readonly processes: readonly Use[]
}

interface Round {
  readonly alone: Group
  readonly together: Group
  /** Null after the first round. */
  readonly crowd: Group | null
}

const upload = async (host: Host, signal: AbortSignal): Promise<Upload> => {
  const { program, args } = host.backup(...PATIENCE)
  const startMs = performance.now()
  const output = await run(program, args, { timeoutMs: BACKUP_TIMEOUT_MS, signal })
  const { bytesRead, bytesSent } = backupFigures(output, 'first')
  const seconds = (performance.now() - startMs) / 1000
  return { host: host.name, seconds, plainBytes: bytesRead, sentBytes: bytesSent }
}

const uploadAll = async (site: Site, hosts: readonly Host[], folder: string, signal: AbortSignal): Promise<Group> => {
  const sync = (): Promise<string> => run('sync', ['-f', folder])
  await sync()
  await using watch = await Watch.start([site.gateway, ...hosts.map(({ agent }) => agent)])
  const cpuBefore = await machineCpuSeconds()
  const startMs = performance.now()
  const uploads = await Promise.all(hosts.map((host) => upload(host, signal)))
  await sync()
  const seconds = (performance.now() - startMs) / 1000
  const busyCores = ((await machineCpuSeconds()) - cpuBefore) / seconds
  return { uploads, seconds, busyCores, processes: await watch.end() }
}

type MakeImage = (from: string, to: string) => Promise<void>

/** An image over another one: there is not room for so many copies. */
const overlay = async (image: string, file: string): Promise<void> => {
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image, '-F', 'qcow2', file])
}

const oneRound = async (context: ScenarioContext, image: BenchImage, round: number): Promise<Round> => {
  const { quick, signal, say } = context
  const folder = path.join(context.folder, `round-${round}`)
  await mkdir(folder, { recursive: true })
  try {
    await using site = await Site.start(path.join(folder, 'site'))
    return await site.explained(signal, async () => {
      const host = async (name: string, make: MakeImage = copyFile): Promise<Host> => {
        const file = path.join(folder, `${name}.qcow2`)
        await make(image.qcow2, file)
        // a tenant of its own, so that nothing that another one sent is known
        return site.addHost({ name, tenant: name, disks: [{ id: DISK, format: 'qcow2', file, size: image.size }] })
      }
      const hosts = async (name: string, count: number, make: MakeImage = copyFile): Promise<Host[]> => {
        const made: Host[] = []
        while (made.length < count) made.push(await host(`${name}-${made.length + 1}`, make))
        return made
      }
      const warmUp = await host('warm-up')
      const single = await host('single')
      const many = await hosts('host', AGENTS)
      // what a first backup warms up in the gateway is warm for both groups
      await uploadAll(site, [warmUp], folder, signal)
      const alone = await uploadAll(site, [single], folder, signal)
      say(`${alone.seconds.toFixed(2).padStart(7)} s  one agent alone`)
      const together = await uploadAll(site, many, folder, signal)
      say(`${together.seconds.toFixed(2).padStart(7)} s  ${AGENTS} agents at once`)
      if (round > 1) return { alone, together, crowd: null }
      const more = await hosts('more', quick ? QUICK_CROWD_AGENTS : CROWD_AGENTS, overlay)
      const crowd = await uploadAll(site, more, folder, signal)
      say(`${crowd.seconds.toFixed(2).padStart(7)} s  ${more.length} agents at once`)
      return { alone, together, crowd }
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const plainBytes = ({ uploads }: Group): number => uploads.reduce((sum, one) => sum + one.plainBytes, 0)
const rate = (group: Group): number => plainBytes(group) / group.seconds / 1e6
const times = ({ uploads }: Group): number[] => uploads.map(({ seconds }) => seconds)
const gatewayUse = ({ processes }: Group): Use => processes[0]!
const agentUses = ({ processes }: Group): readonly Use[] => processes.slice(1)
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0)

const row = (title: string, groups: readonly Group[]): string[] => {
  const middle = (value: (group: Group) => number): number => median(groups.map(value))
  const agents = (pick: (use: Use) => number) => (group: Group) => Math.max(...agentUses(group).map(pick))
  return [
    title,
    middle(({ seconds }) => seconds).toFixed(2),
    middle(rate).toFixed(0),
    middle((group) => Math.min(...times(group))).toFixed(2),
    middle((group) => Math.max(...times(group))).toFixed(2),
    middle(({ busyCores }) => busyCores).toFixed(2),
    middle((group) => gatewayUse(group).cpuSeconds).toFixed(2),
    middle((group) => agentUses(group).reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)).toFixed(2),
    megabytes(middle((group) => gatewayUse(group).peakBytes)),
    megabytes(middle(agents((use) => use.peakBytes))),
    megabytes(middle(agents((use) => use.familyPeakBytes))),
  ]
}

const HEADING = [
  'first full backups',
  'seconds',
  'plain MB/s in all',
  'fastest agent s',
  'slowest',
  'busy cores',
  'CPU s: gateway',
  'agents in all',
  'peak MB: gateway',
  'worst agent',
  'with its helpers',
]

const agentsText = (count: number): string => (count === 1 ? 'one agent' : `${count} agents`)

const memoryRow = (groups: readonly Group[]): string[] => [
  agentsText(groups[0]!.uploads.length),
  ...[0, 1, 2].map((third) => megabytes(median(groups.map((group) => gatewayUse(group).thirdBytes[third]!)))),
  megabytes(median(groups.map((group) => gatewayUse(group).peakBytes))),
]

const memoryTable = (kinds: readonly (readonly Group[])[]): Table => ({
  title: 'Memory of the gateway while agents upload, MB',
  heading: ['first full backups', 'first third', 'middle third', 'last third', 'peak'],
  rows: kinds.map(memoryRow),
})

/** A group's memory in the last third of its time, by that in the middle third. */
const growthGoal = (groups: readonly Group[]): Goal => {
  const growth = groups.map((group) => gatewayUse(group).thirdBytes).map(([, middle, last]) => last / middle)
  const title = `memory of the gateway with ${agentsText(groups[0]!.uploads.length)} uploading: last third / middle third`
  return judge(title, median(growth), { atMost: GROWTH_MAX })
}

export const uploadsAtOnce = async (context: ScenarioContext): Promise<Report> => {
  await requireSpace(context.folder, SPACE_BYTES)
  const image = await benchImage(context.cache, IMAGE_BYTES, context.signal)
  const rounds: Round[] = []
  for (let round = 1; round <= context.rounds; round++) rounds.push(await oneRound(context, image, round))
  const alone = rounds.map((round) => round.alone)
  const together = rounds.map((round) => round.together)
  const crowd = rounds.flatMap((round) => round.crowd ?? [])
  const worst = (value: (group: Group) => number): number => median(together.map(value))
  const memoryGoal = (groups: readonly Group[], atMost: number): Goal => {
    const peak = median(groups.map((group) => gatewayUse(group).peakBytes / 1e6))
    return judge(`peak memory of the gateway with ${groups[0]!.uploads.length} agents`, peak, { atMost }, 'MB')
  }
  return {
    tables: [
      {
        title: `${AGENTS} agents at once on one gateway`,
        heading: HEADING,
        rows: [
          row('one agent alone', alone),
          row(`${AGENTS} agents at once`, together),
          row(`${crowd[0]!.uploads.length} agents at once`, crowd),
        ],
      },
      memoryTable([alone, together, crowd]),
    ],
    goals: [
      judge(
        `throughput of ${AGENTS} agents at once / of one alone`,
        median(together.map(rate)) / median(alone.map(rate)),
        {
          atLeast: 1.1,
        },
      ),
      judge(
        'slowest agent / fastest agent',
        worst((group) => Math.max(...times(group)) / Math.min(...times(group))),
        { atMost: 1.5 },
      ),
      memoryGoal(together, MEMORY_MB_MAX.together),
      memoryGoal(crowd, MEMORY_MB_MAX.crowd),
      ...[alone, together, crowd].map(growthGoal),
      judge(
        `peak memory of the worst of ${AGENTS} agents, without its helper processes`,
        worst((group) => Math.max(...agentUses(group).map((use) => use.peakBytes)) / 1e6),
        { atMost: 200 },
        'MB',
      ),
    ],
    notes: [
      `Each agent has a QEMU of its own with a copy of the ${IMAGE_BYTES / GIB} GiB image and is in a tenant of its own, so nothing that one sends is known of another. ` +
        'One more agent has backed up before, so that the gateway is warm. All commands start at the same moment; times include their start. Throughput is plain bytes read ÷ seconds until the last command has ended and its data is synced.',
      `Memory of the gateway is looked at every 100 ms from the start of the commands to the end of the last; thirds are of that time. The ${crowd[0]!.uploads.length} agents are another group of the first round, after the others and with images over the same one; goals of the gateway's memory with one agent are those of the data path.`,
    ],
    details: { rounds },
  }
}
