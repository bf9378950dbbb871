// What others notice of a first full backup: another tenant's calls, the gateway's event loop, the guest's writes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import * as v from 'valibot'
import { systemClock } from '../../protocol/host/clock.ts'
import { dial } from '../../protocol/host/dial.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { run } from '../rig/run.ts'
import { eventually } from '../support/temp.ts'
import { deviceCommand, WRITE_BYTES } from './guest-writes.ts'
import type { BenchImage } from './image.ts'
import { touchFreeMemory } from './memory.ts'
import { Paced, type Spread } from './paced.ts'
import { randomIntegers } from './random.ts'
import { judge, type Goal, type Table } from './scenario.ts'
import { DISK, Stand } from './stand.ts'

const CALL_INTERVAL_MS = 10
const WRITE_INTERVAL_MS = 10

/** How long is looked without a backup, and beside nbdcopy, in milliseconds. */
const ALONE_MS = 5000

const LOOP_P99_MS_MAX = 50
const CALLS_P99_MS_MAX = 60
const WRITES_P50_MS_MAX = 3.2
const WRITES_P99_MS_MAX = 58

/** What is done with the disk as of one instant, by a shell that is given its URI: only read, and read at a compressor's pace. */
const CONTROLS = {
  copied: 'nbdcopy "$0" null:',
  compressed: 'set -o pipefail; nbdcopy "$0" - | zstd -q -1 -T2 >/dev/null',
} as const

const graphSchema = v.object({
  nodes: v.array(v.object({ id: v.number(), type: v.string(), name: v.string() })),
  edges: v.array(v.object({ parent: v.number(), child: v.number() })),
})

const spreadSchema = v.object({ count: v.number(), p50Ms: v.number(), p99Ms: v.number(), mostMs: v.number() })

/** What was seen without and with a backup. */
export interface Beside {
  readonly calls: { readonly alone: Spread; readonly beside: Spread }
  readonly writes: Readonly<Record<'alone' | 'beside' | keyof typeof CONTROLS, Spread>>
  readonly loop: { readonly alone: Spread; readonly beside: Spread }
}

export interface BesideOptions {
  readonly image: BenchImage
  readonly folder: string
  readonly signal: AbortSignal
}

/** True once the machine's device reaches its disk only through the filter of a backup job. */
const isFiltered = async (stand: Stand): Promise<boolean> => {
  const { nodes, edges } = v.parse(graphSchema, await stand.machine.control.execute('x-debug-query-block-graph'))
  const disk = nodes.find(({ name, type }) => name === DISK && type === 'block-driver')
  const above = edges
    .filter(({ child }) => child === disk?.id)
    .map(({ parent }) => nodes.find(({ id }) => id === parent))
  return nodes.some(({ type }) => type === 'block-job') && !above.some((node) => node?.type === 'block-backend')
}

class Observer {
  readonly #stand: Stand
  readonly #peer: Peer
  readonly #loopFile: string
  readonly #size: number
  readonly #integer = randomIntegers(WRITE_BYTES)

  constructor(stand: Stand, peer: Peer, loopFile: string, size: number) {
    this.#stand = stand
    this.#peer = peer
    this.#loopFile = loopFile
    this.#size = size
  }

  calls(): Paced {
    return new Paced(CALL_INTERVAL_MS, () => this.#peer.call('machines.list', {}))
  }

  /** One 4 KiB write at a time, by the machine's own device. */
  writes(): Paced {
    return new Paced(WRITE_INTERVAL_MS, () => {
      const offset = this.#integer(this.#size / WRITE_BYTES) * WRITE_BYTES
      const command = deviceCommand(`write -q ${offset} ${WRITE_BYTES}`)
      return this.#stand.machine.control.execute('human-monitor-command', command)
    })
  }

  /** How late the gateway's event loop was since this was asked last. */
  async loop(): Promise<Spread> {
    await rm(this.#loopFile, { force: true })
    process.kill(this.#stand.gateway.pid, 'SIGUSR2')
    const text = await eventually(() => readFile(this.#loopFile, 'utf8').catch(() => null))
    return v.parse(spreadSchema, JSON.parse(text))
  }
}

/** Runs a first full backup and gives how others fared from its instant to its end. */
const besideBackup = async (stand: Stand, observer: Observer, signal: AbortSignal): Promise<Spread[]> => {
  const { program, args } = stand.backup()
  await observer.loop()
  await using calls = observer.calls()
  const child = spawn(program, args, { stdio: 'ignore', signal })
  const closed = once(child, 'close')
  closed.catch(() => {})
  await eventually(() => isFiltered(stand))
  await using writes = observer.writes()
  const [code] = await closed
  const spreads = [await calls.stop(), await writes.stop(), await observer.loop()]
  if (code !== 0) throw new Error(`the backup ended with ${String(code)}`)
  return spreads
}

const alone = async (observer: Observer, signal: AbortSignal): Promise<Spread[]> => {
  await observer.loop()
  await using calls = observer.calls()
  await using writes = observer.writes()
  await sleep(ALONE_MS, undefined, { signal })
  return [await calls.stop(), await writes.stop(), await observer.loop()]
}

/** How the guest's writes fare while another program reads the disk as of one instant, again and again for a while. */
const writesBesideReader = async (stand: Stand, observer: Observer, size: number, script: string): Promise<Spread> =>
  stand.exportedInstant(size, async (uri) => {
    const endMs = performance.now() + ALONE_MS
    await using writes = observer.writes()
    do await run('bash', ['-c', script, uri])
    while (performance.now() < endMs)
    return await writes.stop()
  })

/** Starts a gateway and a machine of its own; nothing of this is in the timed operations. */
export const observeBeside = async ({ image, folder, signal }: BesideOptions): Promise<Beside> => {
  const standFolder = path.join(folder, 'stand')
  const loopFile = path.join(folder, 'loop.json')
  const preload = pathToFileURL(path.join(import.meta.dirname, 'loop-delay.ts'))
  preload.searchParams.set('to', loopFile)
  const gatewayNode = ['--import', preload.href]
  const { qcow2, size } = image
  await using stand = await Stand.start({ folder: standFolder, qcow2, size, gatewayNode, signal })
  const token = await stand.addViewer('other')
  const session = { gateway: stand.url, ca: null, token, program: 'bench', serving: false, handlers: {} }
  const { peer } = await dial({ ...session, clock: systemClock })
  try {
    const observer = new Observer(stand, peer, loopFile, size)
    const before = await alone(observer, signal)
    const copied = await writesBesideReader(stand, observer, size, CONTROLS.copied)
    const compressed = await writesBesideReader(stand, observer, size, CONTROLS.compressed)
    await touchFreeMemory(standFolder, size, signal)
    const beside = await besideBackup(stand, observer, signal)
    const pair = (index: number): { alone: Spread; beside: Spread } => ({
      alone: before[index]!,
      beside: beside[index]!,
    })
    return { calls: pair(0), writes: { ...pair(1), copied, compressed }, loop: pair(2) }
  } finally {
    peer.close(new VarveError('CANCELLED', 'the bench is over'))
  }
}

const milliseconds = (value: number): string => value.toFixed(2)

export const besideTable = ({ calls, writes, loop }: Beside): Table => {
  const row = (title: string, { count, p50Ms, p99Ms, mostMs }: Spread): string[] => [
    title,
    ...[p50Ms, p99Ms, mostMs].map(milliseconds),
    String(count),
  ]
  return {
    title: 'What others notice, milliseconds',
    heading: ['', 'p50', 'p99', 'most', 'count'],
    rows: [
      row("another tenant's calls, no backup", calls.alone),
      row("another tenant's calls, beside a first full", calls.beside),
      row("gateway's event loop delay, no backup", loop.alone),
      row("gateway's event loop delay, first full", loop.beside),
      row("guest's 4 KiB writes, no backup", writes.alone),
      row("guest's 4 KiB writes, beside nbdcopy of the same to null", writes.copied),
      row("guest's 4 KiB writes, beside zstd -1 -T2 behind nbdcopy of the same", writes.compressed),
      row("guest's 4 KiB writes, beside a first full", writes.beside),
    ],
  }
}

/** What a reader adds to the time of a write, as a part of what a first full adds, 1 for as much. */
const shares = ({ alone, beside, ...others }: Beside['writes']): Goal[] =>
  (['copied', 'compressed'] as const).flatMap((reader) =>
    (['p50Ms', 'p99Ms'] as const).map((key) => {
      const part = (others[reader][key] - alone[key]) / (beside[key] - alone[key])
      const by = reader === 'copied' ? 'nbdcopy to null' : 'zstd behind nbdcopy'
      return judge(`${by} / first full: added to the guest's writes, ${key.slice(0, 3)}`, part, null)
    }),
  )

export const besideGoals = ({ calls, writes, loop }: Beside): Goal[] => [
  judge("gateway's event loop delay in a first full, p99", loop.beside.p99Ms, { atMost: LOOP_P99_MS_MAX }, 'ms'),
  judge("another tenant's calls beside a first full, p99", calls.beside.p99Ms, { atMost: CALLS_P99_MS_MAX }, 'ms'),
  judge("guest's writes beside a first full, p50", writes.beside.p50Ms, { atMost: WRITES_P50_MS_MAX }, 'ms'),
  judge("guest's writes beside a first full, p99", writes.beside.p99Ms, { atMost: WRITES_P99_MS_MAX }, 'ms'),
  ...shares(writes),
]
