// A gateway with eight machines whose disks are new each time they are backed up, and a tenant that others read.
import { copyFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { systemClock } from '../../protocol/host/clock.ts'
import { dial } from '../../protocol/host/dial.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { gatewayProgram } from '../demo/commands.ts'
import { run } from '../rig/run.ts'
import { Watch } from './fleet-peaks.ts'
import { Site, type Host } from './fleet-site.ts'
import { deviceCommand } from './guest-writes.ts'
import { benchImage } from './image.ts'
import { randomBytesOf } from './random.ts'
import { READERS, type ReaderKind, type Reading } from './readers-kinds.ts'
import type { ScenarioContext } from './scenario.ts'
import { DISK } from './stand.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

export const AGENTS = 8

/** Restore points of the tenant that is read. */
export const POINTS = 1000
export const QUICK_POINTS = 50

const READ_IMAGE_BYTES = GIB
const READ_TENANT = 'read'

/** What one write of a guest brings, in bytes. */
const WRITE_BYTES = 16 * MIB

const COMMAND_TIMEOUT_MS = 10 * 60_000

/** Of one turn: all machines backed up at once. */
export interface Turn {
  /** From the calls that start the backups to the end of the last. */
  readonly seconds: number
  readonly bytes: number
  readonly gatewayCpuSeconds: number
  /** Of who read meanwhile; null when nobody did. */
  readonly reading: Reading | null
}

export interface StandSize {
  readonly diskBytes: number
  readonly points: number
}

interface Uploader {
  readonly host: Host
  /** Of an operator of its tenant. */
  readonly peer: Peer
}

const operatorOf = async (site: Site, tenant: string): Promise<Peer> => {
  const args = ['token', 'issue', '--tenant', tenant, '--role', 'operator', '--data', site.data]
  const token = (await run(process.execPath, [gatewayProgram, ...args], { label: 'varve-gateway token issue' })).trim()
  const session = { gateway: site.url, ca: null, token, program: 'bench', serving: false, handlers: {} }
  return (await dial({ ...session, clock: systemClock })).peer
}

/** A whole backup of the tenant's machine; gives the bytes that were sent. */
const backup = async (peer: Peer, machine: string): Promise<number> => {
  const { job } = await peer.call('backup.start', { machine, full: false })
  const { state, bytesSent } = await peer.open('jobs.watch', { job }).result
  if (state !== 'committed') throw new Error(`the backup of ${machine} ended as ${state}`)
  return bytesSent
}

export class ReadersStand implements AsyncDisposable {
  readonly #site: Site
  readonly #uploaders: readonly Uploader[]
  readonly #reader: Peer
  readonly #folder: string
  readonly #diskBytes: number
  readonly #signal: AbortSignal
  readonly #stack: AsyncDisposableStack
  #turns = 0

  private constructor(parts: {
    site: Site
    uploaders: readonly Uploader[]
    reader: Peer
    folder: string
    diskBytes: number
    signal: AbortSignal
    stack: AsyncDisposableStack
  }) {
    this.#site = parts.site
    this.#uploaders = parts.uploaders
    this.#reader = parts.reader
    this.#folder = parts.folder
    this.#diskBytes = parts.diskBytes
    this.#signal = parts.signal
    this.#stack = parts.stack
  }

  /** Everything lies in the folder, which the caller removes. */
  static async start(
    context: ScenarioContext,
    folder: string,
    { diskBytes, points }: StandSize,
  ): Promise<ReadersStand> {
    const { cache, signal, say } = context
    say(`starting ${AGENTS} machines and a tenant with ${points} restore points`)
    await using stack = new AsyncDisposableStack()
    const site = stack.use(await Site.start(path.join(folder, 'site')))
    const joined = async (tenant: string): Promise<Peer> =>
      stack.adopt(await operatorOf(site, tenant), (peer) =>
        peer.close(new VarveError('CANCELLED', 'the bench is over')),
      )
    const image = await benchImage(cache, READ_IMAGE_BYTES, signal)
    const file = path.join(folder, 'read.qcow2')
    await copyFile(image.qcow2, file)
    const disks = [{ id: DISK, format: 'qcow2' as const, file, size: image.size }]
    await site.addHost({ name: READ_TENANT, tenant: READ_TENANT, disks })
    const reader = await joined(READ_TENANT)
    await backup(reader, READ_TENANT)
    const fill = path.join(import.meta.dirname, 'scale-fill.ts')
    const filled = [fill, 'points', site.data, READ_TENANT, READ_TENANT, String(points - 1)]
    await run(process.execPath, filled, { timeoutMs: COMMAND_TIMEOUT_MS, signal })
    const uploaders: Uploader[] = []
    for (let index = 1; index <= AGENTS; index++) {
      const name = `host-${index}`
      const own = { id: DISK, format: 'qcow2' as const, file: path.join(folder, `${name}.qcow2`), size: diskBytes }
      const host = await site.addHost({ name, tenant: name, disks: [own] })
      const peer = await joined(name)
      // of an empty disk, so that all others are increments
      await backup(peer, name)
      uploaders.push({ host, peer })
    }
    return new ReadersStand({ site, uploaders, reader, folder, diskBytes, signal, stack: stack.move() })
  }

  /** Writes all disks anew and backs all machines up at once, while somebody reads. */
  async turn(kind: ReaderKind | null): Promise<Turn> {
    return await this.#site.explained(this.#signal, async () => {
      await this.#writeDisks()
      await using watch = await Watch.start([this.#site.gateway])
      await using reader = kind === null ? null : READERS[kind].start(this.#reader)
      const startMs = performance.now()
      const sent = await Promise.all(this.#uploaders.map(({ host, peer }) => backup(peer, host.name)))
      const seconds = (performance.now() - startMs) / 1000
      const reading = (await reader?.stop()) ?? null
      const [use] = await watch.end()
      const bytes = this.#diskBytes * sent.length
      if (sent.some((each) => each < this.#diskBytes)) throw new Error(`${sent.join(', ')} bytes were sent of ${bytes}`)
      return { seconds, bytes, gatewayCpuSeconds: use!.cpuSeconds, reading }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  async #writeDisks(): Promise<void> {
    const turn = this.#turns++
    const file = path.join(this.#folder, 'written')
    for (let offset = 0; offset < this.#diskBytes; offset += WRITE_BYTES) {
      await writeFile(file, randomBytesOf(turn * (this.#diskBytes / WRITE_BYTES) + offset / WRITE_BYTES, WRITE_BYTES))
      const command = deviceCommand(`write -q -s ${file} ${offset} ${WRITE_BYTES}`)
      const write = ({ host }: Uploader): Promise<unknown> =>
        host.machine.control.execute('human-monitor-command', command)
      await Promise.all(this.#uploaders.map(write))
    }
    await run('sync', ['-f', this.#folder])
  }
}
