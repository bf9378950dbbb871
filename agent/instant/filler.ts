// Brings the disks of a running machine in over its monitor, and lets go of the export only of what is durable in its image.
//
// QEMU's stream job ends by taking the backing file out of the image's header, while the tables of what it has copied may be
// in its memory alone: a QEMU that is killed then has lost the disk. So the job waits before its end until the tables are seen
// in the file. It leaves by itself: QEMU 7.2 dies when its nodes are listed, by whomever, while a stream job that has ended is
// still there.
import { realpath } from 'node:fs/promises'
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { QmpClient } from '../qmp/client.ts'
import { hasBacking, mapImage, syncImage } from './image-map.ts'
import type { InstantDisk } from './record.ts'

/** How long a job or guest that met an error is left before it is let go on, in milliseconds. */
const RETRY_MS = 2_000

/** How often what has been brought in is made to outlive QEMU, in milliseconds. */
const FLUSH_MS = 10_000

const text = v.pipe(v.string(), v.maxLength(8192))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const nodesSchema = v.array(v.object({ 'node-name': text, drv: text, file: v.optional(text, '') }))
const jobsSchema = v.array(v.object({ id: text, status: text }))
const blockJobsSchema = v.array(
  v.object({ device: text, offset: natural, speed: natural, 'io-status': v.optional(text, 'ok'), paused: v.boolean() }),
)
const blocksSchema = v.array(
  v.object({
    device: text,
    qdev: v.optional(text, ''),
    'io-status': v.optional(text, 'ok'),
    inserted: v.optional(v.object({ file: v.optional(text, '') })),
  }),
)
const statsSchema = v.array(
  v.object({
    device: v.optional(text, ''),
    qdev: v.optional(text, ''),
    stats: v.object({ wr_bytes: natural }),
  }),
)
const statusSchema = v.object({ status: text })

/** `off`: no machine is on the disks, or none that has the monitor. */
export type MachineState = 'off' | 'running' | 'stopped' | 'io-error'

/** What is known of a disk now. */
export interface Filling {
  readonly alone: boolean
  /** How far the copy is, in bytes of the disk; what the guest has written before counts as it is passed. */
  readonly doneBytes: number
  readonly writtenBytes: number
  /** Why it does not get on; null where it does. */
  readonly stuck: string | null
}

export interface FillerOptions {
  readonly qmp: string
  readonly disks: readonly InstantDisk[]
  /** Bytes per second and disk; 0 for no limit. */
  readonly speed: number
  /** Whether what is read can be served now. */
  readonly canServe: () => boolean
}

const parsed = async <S extends v.GenericSchema>(schema: S, answer: Promise<unknown>): Promise<v.InferOutput<S>> => {
  const checked = v.safeParse(schema, await answer)
  if (checked.success) return checked.output
  throw new VarveError('QMP_PROTOCOL', 'what the machine says of its disks is not understood')
}

/** The file as the system has it, for comparison; QEMU names images as they were given. */
const same = async (a: string, b: string): Promise<boolean> => a === b || (await realpath(a).catch(() => a)) === b

interface Disk {
  readonly job: string
  readonly of: InstantDisk
  alone: boolean
  doneBytes: number
  /** Written on QEMUs that this process has seen end, and on the present one up to the last look. */
  writtenBefore: number
  writtenNow: number
  stuck: string | null
  retryMs: number
}

export class Filler implements Disposable {
  state: MachineState = 'off'
  /** A guest has run on the disks since this began. */
  hasRun = false
  readonly #options: FillerOptions
  readonly #disks: Disk[]
  #client: QmpClient | null = null
  #speed: number
  #flushedMs = 0
  #contMs = 0

  constructor(options: FillerOptions) {
    this.#options = options
    this.#speed = options.speed
    this.#disks = options.disks.map((of, index) => ({
      of,
      job: `varve-instant-${index}`,
      alone: of.alone,
      doneBytes: of.alone ? of.size : 0,
      writtenBefore: 0,
      writtenNow: 0,
      stuck: null,
      retryMs: 0,
    }))
  }

  get disks(): readonly Filling[] {
    return this.#disks.map(({ of, alone, doneBytes, writtenBefore, writtenNow, stuck }) => ({
      alone,
      doneBytes,
      // what was noted may be of the same QEMU: rather too little than too much
      writtenBytes: Math.max(of.writtenBytes, writtenBefore + writtenNow),
      stuck,
    }))
  }

  get isDone(): boolean {
    return this.#disks.every(({ alone }) => alone)
  }

  /** From now on as fast as it goes. */
  hurry(): void {
    this.#speed = 0
  }

  /** Looks at the machine once and does what is due; an error is one of this look. */
  async tick(): Promise<void> {
    const client = await this.#connected()
    if (client === null) return await this.#lookAtImages()
    try {
      await this.#work(client)
    } catch (thrown) {
      const error = asVarveError(thrown)
      // a QEMU that has ended, or one that hangs: the next look begins anew
      if (error.code === 'QMP_ERROR') throw error
      this.#leave()
      if (error.code !== 'QMP_UNAVAILABLE') throw error
    }
  }

  [Symbol.dispose](): void {
    this.#leave()
  }

  async #connected(): Promise<QmpClient | null> {
    if (this.#client !== null) return this.#client
    try {
      this.#client = await QmpClient.connect({ path: this.#options.qmp })
    } catch (thrown) {
      this.state = 'off'
      const { code, details } = asVarveError(thrown)
      if (code === 'QMP_UNAVAILABLE' && details['held'] !== true) return null
      throw thrown
    }
    const client = this.#client
    client.subscribe(({ event, data }) => {
      const disk = event === 'BLOCK_JOB_COMPLETED' && this.#disks.find(({ job }) => job === data['device'])
      if (disk && typeof data['error'] === 'string') disk.stuck = `QEMU gave up: ${data['error']}`
    })
    void client.closed.then(() => this.#client === client && this.#leave())
    return client
  }

  #leave(): void {
    this.#client?.close()
    this.#client = null
    this.state = 'off'
    for (const disk of this.#disks) {
      disk.writtenBefore += disk.writtenNow
      disk.writtenNow = 0
      if (!disk.alone) disk.doneBytes = 0
    }
  }

  async #work(client: QmpClient): Promise<void> {
    const nodes = await parsed(nodesSchema, client.execute('query-named-block-nodes', { flat: true }))
    const jobs = await parsed(jobsSchema, client.execute('query-jobs'))
    const blockJobs = await parsed(blockJobsSchema, client.execute('query-block-jobs'))
    const isFlushDue = performance.now() - this.#flushedMs > FLUSH_MS
    for (const disk of this.#disks) {
      const named = await Promise.all(
        nodes.map(async (node) => node.drv === 'qcow2' && (await same(node.file, disk.of.file))),
      )
      const node = nodes[named.indexOf(true)]?.['node-name']
      if (disk.alone) continue
      if (node === undefined) {
        disk.stuck = 'the machine runs without it'
        continue
      }
      const job = jobs.find(({ id }) => id === disk.job)
      const copy = blockJobs.find(({ device }) => device === disk.job)
      if (isFlushDue) await this.#flush(client, node)
      if (copy !== undefined) disk.doneBytes = copy.offset
      if (job === undefined) await this.#begin(client, disk, node)
      else if (job.status === 'pending') await this.#settle(client, disk, node)
      else if (copy !== undefined) await this.#keepGoing(client, disk, copy)
    }
    if (isFlushDue) this.#flushedMs = performance.now()
    await this.#lookAtGuest(client)
  }

  /** A QEMU that has ended may have cut a disk loose before. */
  async #lookAtImages(): Promise<void> {
    for (const disk of this.#disks) if (!disk.alone && !(await hasBacking(disk.of.file))) await this.#stand(disk)
  }

  /** Writes out what QEMU has of the image in its memory. Its answer tells nothing: the file does. */
  async #flush(client: QmpClient, node: string): Promise<void> {
    await client.execute('human-monitor-command', { 'command-line': `qemu-io ${node} flush` })
  }

  async #begin(client: QmpClient, disk: Disk, node: string): Promise<void> {
    // one whose job ended while nobody looked
    if (!(await hasBacking(disk.of.file))) return await this.#stand(disk)
    if (performance.now() < disk.retryMs) return
    disk.retryMs = performance.now() + RETRY_MS
    await client.execute('block-stream', {
      'job-id': disk.job,
      device: node,
      'on-error': 'stop',
      speed: this.#speed,
      'auto-finalize': false,
    })
  }

  /** Everything is copied: lets the job take the backing file away once the image is seen to need none. */
  async #settle(client: QmpClient, disk: Disk, node: string): Promise<void> {
    if (performance.now() < disk.retryMs) return
    disk.doneBytes = disk.of.size
    await this.#flush(client, node)
    const { missingBytes } = await mapImage(disk.of.file)
    if (missingBytes === 0) {
      // just what was seen is durable then
      await syncImage(disk.of.file)
      disk.stuck = null
      await client.execute('job-finalize', { id: disk.job })
      return
    }
    disk.stuck = `${missingBytes} bytes that QEMU has copied are not in the file yet`
    disk.retryMs = performance.now() + RETRY_MS
  }

  async #stand(disk: Disk): Promise<void> {
    const { isBacked, missingBytes } = await mapImage(disk.of.file)
    if (isBacked || missingBytes > 0) {
      disk.stuck = 'its image is not complete'
      return
    }
    await syncImage(disk.of.file)
    disk.alone = true
    disk.doneBytes = disk.of.size
    disk.stuck = null
  }

  async #keepGoing(
    client: QmpClient,
    disk: Disk,
    { speed, paused, 'io-status': io }: v.InferOutput<typeof blockJobsSchema>[number],
  ): Promise<void> {
    if (speed !== this.#speed) await client.execute('block-job-set-speed', { device: disk.job, speed: this.#speed })
    if (!paused && io === 'ok') {
      disk.stuck = null
      return
    }
    disk.stuck = io === 'nospace' ? 'its file system has no space left' : 'what is missing could not be read'
    if (performance.now() < disk.retryMs || !this.#options.canServe()) return
    disk.retryMs = performance.now() + RETRY_MS
    await client.execute('block-job-resume', { device: disk.job })
  }

  /** Counts what the guest writes, and lets one go on that QEMU has stopped since a read failed. */
  async #lookAtGuest(client: QmpClient): Promise<void> {
    const blocks = await parsed(blocksSchema, client.execute('query-block'))
    const stats = await parsed(statsSchema, client.execute('query-blockstats'))
    let isFull = false
    let isFailed = false
    for (const disk of this.#disks) {
      for (const block of blocks) {
        if (!(await same(block.inserted?.file ?? '', disk.of.file))) continue
        isFull ||= block['io-status'] === 'nospace'
        isFailed ||= block['io-status'] === 'failed'
        const found = stats.find(({ device, qdev }) =>
          block.device === '' ? qdev === block.qdev : device === block.device,
        )
        disk.writtenNow = found?.stats.wr_bytes ?? disk.writtenNow
      }
    }
    const { status } = await parsed(statusSchema, client.execute('query-status'))
    // a QEMU that has not begun has no guest yet
    this.hasRun ||= status !== 'prelaunch'
    this.state = status === 'running' ? 'running' : status === 'io-error' ? 'io-error' : 'stopped'
    if (status !== 'io-error' || !isFailed || isFull || !this.#options.canServe()) return
    if (performance.now() < this.#contMs) return
    this.#contMs = performance.now() + RETRY_MS
    await client.execute('cont')
  }
}
