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
import type { DiskFiller, FilledDisk, MachineState } from './filling.ts'
import { hasBacking, mapImage, syncImage } from './image-map.ts'

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

export interface FillerOptions {
  readonly qmp: string
  readonly disks: readonly FilledDisk[]
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

type BlockJob = v.InferOutput<typeof blockJobsSchema>[number]

/** A disk, its job's id, and the node of its image. */
interface Copied {
  readonly disk: FilledDisk
  readonly id: string
  readonly node: string
}

const jobOf = (index: number): string => `varve-instant-${index}`

export class Filler implements DiskFiller {
  state: MachineState = 'off'
  hasRun = false
  readonly #options: FillerOptions
  #client: QmpClient | null = null
  #speed: number
  #flushedMs = 0
  #contMs = 0

  constructor(options: FillerOptions) {
    this.#options = options
    this.#speed = options.speed
  }

  hurry(): void {
    this.#speed = 0
  }

  async tick(): Promise<void> {
    const client = await this.#connected()
    const { disks } = this.#options
    if (client === null) return void (await Promise.all(disks.map((disk) => disk.lookAtImage())))
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
      const index = this.#options.disks.findIndex((_, at) => jobOf(at) === data['device'])
      const disk = event === 'BLOCK_JOB_COMPLETED' && this.#options.disks[index]
      if (disk && typeof data['error'] === 'string') disk.stuck = `QEMU gave up: ${data['error']}`
    })
    void client.closed.then(() => this.#client === client && this.#leave())
    return client
  }

  #leave(): void {
    this.#client?.close()
    this.#client = null
    this.state = 'off'
    for (const disk of this.#options.disks) disk.left()
  }

  async #work(client: QmpClient): Promise<void> {
    const nodes = await parsed(nodesSchema, client.execute('query-named-block-nodes', { flat: true }))
    const jobs = await parsed(jobsSchema, client.execute('query-jobs'))
    const blockJobs = await parsed(blockJobsSchema, client.execute('query-block-jobs'))
    const isFlushDue = performance.now() - this.#flushedMs > FLUSH_MS
    for (const [index, disk] of this.#options.disks.entries()) {
      const id = jobOf(index)
      const named = await Promise.all(
        nodes.map(async (node) => node.drv === 'qcow2' && (await same(node.file, disk.of.file))),
      )
      const node = nodes[named.indexOf(true)]?.['node-name']
      if (disk.alone) continue
      if (node === undefined) {
        disk.stuck = 'the machine runs without it'
        continue
      }
      const job = jobs.find((one) => one.id === id)
      const copy = blockJobs.find(({ device }) => device === id)
      if (isFlushDue) await this.#flush(client, node)
      if (copy !== undefined) disk.doneBytes = copy.offset
      if (job === undefined) await this.#begin(client, { disk, id, node })
      else if (job.status === 'pending') await this.#settle(client, { disk, id, node })
      else if (copy !== undefined) await this.#keepGoing(client, { disk, id, copy })
    }
    if (isFlushDue) this.#flushedMs = performance.now()
    await this.#lookAtGuest(client)
  }

  /** Writes out what QEMU has of the image in its memory. Its answer tells nothing: the file does. */
  async #flush(client: QmpClient, node: string): Promise<void> {
    await client.execute('human-monitor-command', { 'command-line': `qemu-io ${node} flush` })
  }

  async #begin(client: QmpClient, { disk, id, node }: Copied): Promise<void> {
    // one whose job ended while nobody looked
    if (!(await hasBacking(disk.of.file))) return void (await disk.stand())
    if (performance.now() < disk.retryMs) return
    disk.retryMs = performance.now() + RETRY_MS
    await client.execute('block-stream', {
      'job-id': id,
      device: node,
      'on-error': 'stop',
      speed: this.#speed,
      'auto-finalize': false,
    })
  }

  /** Everything is copied: lets the job take the backing file away once the image is seen to need none. */
  async #settle(client: QmpClient, { disk, id, node }: Copied): Promise<void> {
    if (performance.now() < disk.retryMs) return
    disk.doneBytes = disk.of.size
    await this.#flush(client, node)
    const { missingBytes } = await mapImage(disk.of.file)
    if (missingBytes === 0) {
      // just what was seen is durable then
      await syncImage(disk.of.file)
      disk.stuck = null
      await client.execute('job-finalize', { id })
      return
    }
    disk.stuck = `${missingBytes} bytes that QEMU has copied are not in the file yet`
    disk.retryMs = performance.now() + RETRY_MS
  }

  async #keepGoing(
    client: QmpClient,
    { disk, id, copy }: { readonly disk: FilledDisk; readonly id: string; readonly copy: BlockJob },
  ): Promise<void> {
    const { speed, paused, 'io-status': io } = copy
    if (speed !== this.#speed) await client.execute('block-job-set-speed', { device: id, speed: this.#speed })
    if (!paused && io === 'ok') {
      disk.stuck = null
      return
    }
    disk.stuck = io === 'nospace' ? 'its file system has no space left' : 'what is missing could not be read'
    if (performance.now() < disk.retryMs || !this.#options.canServe()) return
    disk.retryMs = performance.now() + RETRY_MS
    await client.execute('block-job-resume', { device: id })
  }

  /** Counts what the guest writes, and lets one go on that QEMU has stopped since a read failed. */
  async #lookAtGuest(client: QmpClient): Promise<void> {
    const blocks = await parsed(blocksSchema, client.execute('query-block'))
    const stats = await parsed(statsSchema, client.execute('query-blockstats'))
    let isFull = false
    let isFailed = false
    for (const disk of this.#options.disks) {
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
