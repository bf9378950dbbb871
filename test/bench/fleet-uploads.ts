// Eight agents that upload at once to one gateway, beside one of them alone.
import { copyFile, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import { Watch, type Use } from './fleet-peaks.ts'
import { backupFigures, Site, type Host } from './fleet-site.ts'
import { benchImage, type BenchImage } from './image.ts'
import { machineCpuSeconds } from './process-use.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = GIB
const DISK = 'vda'

const AGENTS = 8
const BACKUP_TIMEOUT_MS = 10 * 60_000

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
}

const upload = async (host: Host, signal: AbortSignal): Promise<Upload> => {
  const { program, args } = host.backup()
  const startMs = performance.now()
  const output = await run(program, args, { timeoutMs: BACKUP_TIMEOUT_MS, signal })
  const { bytesRead, bytesSent } = backupFigures(output, 'first')
  const seconds = (performance.now() - startMs) / 1000
  return { host: host.name, seconds, plainBytes: bytesRead, sentBytes: bytesSent }
}

const uploadAll = async (site: Site, hosts: readonly Host[], folder: string, signal: AbortSignal): Promise<Group> => {
  const sync = (): Promise<string> => run('sync', ['-f', folder])
  await sync()
  const watch = await Watch.start([site.gateway, ...hosts.map(({ agent }) => agent)])
  const cpuBefore = await machineCpuSeconds()
  const startMs = performance.now()
  const uploads = await Promise.all(hosts.map((host) => upload(host, signal)))
  await sync()
  const seconds = (performance.now() - startMs) / 1000
  const busyCores = ((await machineCpuSeconds()) - cpuBefore) / seconds
  return { uploads, seconds, busyCores, processes: await watch.end() }
}

const oneRound = async (context: ScenarioContext, image: BenchImage, round: number): Promise<Round> => {
  const { signal, say } = context
  const folder = path.join(context.folder, `round-${round}`)
  await mkdir(folder, { recursive: true })
  try {
    await using site = await Site.start(path.join(folder, 'site'))
    return await site.explained(signal, async () => {
      const host = async (name: string): Promise<Host> => {
        const file = path.join(folder, `${name}.qcow2`)
        await copyFile(image.qcow2, file)
        // a tenant of its own, so that nothing that another one sent is known
        return site.addHost({ name, tenant: name, disks: [{ id: DISK, format: 'qcow2', file, size: image.size }] })
      }
      const warmUp = await host('warm-up')
      const single = await host('single')
      const many: Host[] = []
      for (let index = 1; index <= AGENTS; index++) many.push(await host(`host-${index}`))
      // what a first backup warms up in the gateway is warm for both groups
      await uploadAll(site, [warmUp], folder, signal)
      const alone = await uploadAll(site, [single], folder, signal)
      say(`${alone.seconds.toFixed(2).padStart(7)} s  one agent alone`)
      const together = await uploadAll(site, many, folder, signal)
      say(`${together.seconds.toFixed(2).padStart(7)} s  ${AGENTS} agents at once`)
      return { alone, together }
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

export const uploadsAtOnce = async (context: ScenarioContext): Promise<Report> => {
  const image = await benchImage(context.cache, IMAGE_BYTES, context.signal)
  const rounds: Round[] = []
  for (let round = 1; round <= context.rounds; round++) rounds.push(await oneRound(context, image, round))
  const alone = rounds.map((round) => round.alone)
  const together = rounds.map((round) => round.together)
  const worst = (value: (group: Group) => number): number => median(together.map(value))
  return {
    tables: [
      {
        title: `${AGENTS} agents at once on one gateway`,
        heading: HEADING,
        rows: [row('one agent alone', alone), row(`${AGENTS} agents at once`, together)],
      },
    ],
    goals: [
      judge(
        `throughput of ${AGENTS} agents at once / of one alone`,
        median(together.map(rate)) / median(alone.map(rate)),
        {
          atLeast: 1,
        },
      ),
      judge(
        'slowest agent / fastest agent',
        worst((group) => Math.max(...times(group)) / Math.min(...times(group))),
        { atMost: 1.5 },
      ),
      judge(
        `peak memory of the gateway with ${AGENTS} agents`,
        worst((group) => gatewayUse(group).peakBytes / 1e6),
        { atMost: 300 },
        'MB',
      ),
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
    ],
    details: { rounds },
  }
}
