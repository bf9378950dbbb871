// Our part of a round: full, re-read, restore and increments, with checks that what is timed is also right.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { run } from '../rig/run.ts'
import { dirtyRead } from './dirty-read.ts'
import { CHUNK_BYTES, compressedBytes, writeRandomly } from './guest-writes.ts'
import type { BenchImage } from './image.ts'
import type { Command } from './measure.ts'
import type { OperationId, Recorder } from './recorder.ts'
import { DISK, Stand } from './stand.ts'

/** The chunk size that the increments are compared with, in bytes. */
const WIDE_CHUNK_BYTES = 4 * 2 ** 20

const COPY_TIMEOUT_MS = 5 * 60_000

const backupSchema = v.object({
  point: v.object({
    id: v.string(),
    reason: v.string(),
    bytesRead: v.number(),
    bytesSent: v.number(),
    bytesStored: v.number(),
    disks: v.tuple([v.object({ changedBytes: v.number() })]),
  }),
})

const restoreSchema = v.object({ bytesReceived: v.number() })

const lastLine = (output: string): unknown => JSON.parse(output.trimEnd().split('\n').at(-1) ?? '')

const expectEqual = <T>(what: string, found: T, expected: T): void => {
  if (found !== expected) throw new Error(`${what}: ${String(found)}, expected ${String(expected)}`)
}

const nbdcopy = (source: string, target: string): Command => ({
  name: 'nbdcopy',
  program: 'nbdcopy',
  args: [source, target],
})

export interface RoundOptions {
  readonly image: BenchImage
  readonly folder: string
  readonly recorder: Recorder
  /** Compare what is restored with the disk, byte for byte, and work out what increments cost at least. */
  readonly verify: boolean
  readonly signal: AbortSignal
}

type Work = () => Promise<unknown>

class VarveRound {
  readonly #options: RoundOptions
  readonly #stand: Stand

  constructor(options: RoundOptions, stand: Stand) {
    this.#options = options
    this.#stand = stand
  }

  /** Ours beside what other programs take for the same through the same QEMU. */
  async plain(): Promise<void> {
    const { image, verify, folder } = this.#options
    const { point } = await this.#backup('varve-full', 'first')
    await this.#inTurn(
      () => this.#backup('varve-reread', 'requested', '--full'),
      () => this.#copy('nbdcopy-null', 'null:'),
    )
    await this.#inTurn(
      () => this.#timedRestore('varve-restore', point),
      () => this.#copy('nbdcopy-raw', path.join(folder, 'copied.raw')),
    )
    if (verify) await this.#compare(point, image.raw)
    await this.#increment('varve-incremental-1000', 1000, 'nbdsh-1000')
    await this.#increment('varve-incremental-10000', 10_000, 'nbdsh-10000')
  }

  /** Ours over TLS, without peers. */
  async tls(): Promise<void> {
    const { point } = await this.#backup('tls-full', 'first')
    await this.#backup('tls-reread', 'requested', '--full')
    await this.#timedRestore('tls-restore', point)
    await this.#increment('tls-incremental-10000', 10_000, null)
  }

  /** Every second round the other way round, so that neither is always the one that comes after. */
  async #inTurn(...works: readonly Work[]): Promise<void> {
    const { round } = this.#options.recorder
    for (const work of round % 2 === 1 ? works : works.toReversed()) await work()
  }

  /** Times a backup; fails unless it was made for the expected reason. */
  async #backup(
    operation: OperationId,
    reason: string,
    ...options: string[]
  ): Promise<{ point: string; changedBytes: number }> {
    const { recorder } = this.#options
    const { agent, gateway, qemu } = this.#stand
    const output = await recorder.time(operation, this.#stand.backup(...options), [agent, gateway, qemu])
    const { point: made } = v.parse(backupSchema, lastLine(output))
    const { id: point, reason: found, disks, bytesRead, bytesSent, bytesStored } = made
    expectEqual(`reason of ${operation}`, found, reason)
    const [{ changedBytes }] = disks
    recorder.note({ bytesRead, bytesSent, bytesStored, changedBytes })
    return { point, changedBytes }
  }

  async #timedRestore(operation: OperationId, point: string): Promise<void> {
    const { folder, recorder } = this.#options
    const target = path.join(folder, 'restored.raw')
    const output = await recorder.time(operation, this.#stand.restore(point, target), [this.#stand.gateway])
    recorder.note(v.parse(restoreSchema, lastLine(output)))
    await rm(target)
  }

  /** The same disk through the same QEMU, into a file or to nowhere. */
  async #copy(operation: OperationId, target: string): Promise<void> {
    const { recorder } = this.#options
    await this.#stand.exported((uri) => recorder.time(operation, nbdcopy(uri, target), [this.#stand.qemu]))
    await rm(target, { force: true })
  }

  /**
   * Random writes, then a timed backup and, as `reader`, a timed read of the same dirty clusters by a bitmap of the bench's
   * own.
   */
  async #increment(operation: OperationId, count: number, reader: OperationId | null): Promise<void> {
    const { image, verify, recorder } = this.#options
    const { control } = this.#stand.machine
    const bitmap = { node: DISK, name: operation }
    await control.execute('block-dirty-bitmap-add', bitmap)
    // The same seed in every round, so that the rounds do the same.
    const touched = await writeRandomly(this.#stand, image.size, count, count)
    // a read-only export shows only what records no more
    await control.execute('block-dirty-bitmap-disable', bitmap)
    const changedBytes = touched.size * CHUNK_BYTES
    const backup = async (): Promise<void> => {
      const made = await this.#backup(operation, 'bitmap')
      expectEqual('dirty bytes', made.changedBytes, changedBytes)
      if (verify) await this.#withCopy((disk) => this.#check(made.point, disk, reader === null ? null : touched))
    }
    const read = async (operation: OperationId): Promise<void> => {
      const { qemu } = this.#stand
      const timed = (uri: string): Promise<string> => recorder.time(operation, dirtyRead(uri, bitmap.name), [qemu])
      expectEqual('bytes that nbdsh read', Number(await this.#stand.exported(timed, [bitmap.name])), changedBytes)
    }
    await this.#inTurn(backup, ...(reader === null ? [] : [() => read(reader)]))
    await control.execute('block-dirty-bitmap-remove', bitmap)
  }

  /** Compares an increment with the disk, and notes with the backup what the touched chunks take at least. */
  async #check(point: string, disk: string, touched: ReadonlySet<number> | null): Promise<void> {
    await this.#compare(point, disk)
    if (touched === null) return
    const wide = new Set([...touched].map((chunk) => Math.floor((chunk * CHUNK_BYTES) / WIDE_CHUNK_BYTES)))
    this.#options.recorder.note({
      compressedChunkBytes: await compressedBytes(disk, touched, CHUNK_BYTES),
      compressedWideChunkBytes: await compressedBytes(disk, wide, WIDE_CHUNK_BYTES),
    })
  }

  /** A raw copy of the disk as it is now, for as long as `work` runs. */
  async #withCopy(work: (file: string) => Promise<void>): Promise<void> {
    const { folder, signal } = this.#options
    const disk = path.join(folder, 'disk.raw')
    await this.#stand.exported((uri) => run('nbdcopy', [uri, disk], { timeoutMs: COPY_TIMEOUT_MS, signal }))
    await work(disk)
    await rm(disk)
  }

  /** Restores a point and compares it with a file. */
  async #compare(point: string, expected: string): Promise<void> {
    const { folder, signal } = this.#options
    const options = { timeoutMs: COPY_TIMEOUT_MS, signal }
    const target = path.join(folder, 'compared.raw')
    const { program, args } = this.#stand.restore(point, target)
    await run(program, args, options)
    await run('cmp', [target, expected], options)
    await rm(target)
  }
}

const round = async (options: RoundOptions, tls: boolean): Promise<void> => {
  const { folder, image, signal } = options
  const standFolder = path.join(folder, 'stand')
  try {
    await using stand = await Stand.start({ folder: standFolder, qcow2: image.qcow2, size: image.size, tls, signal })
    try {
      const varve = new VarveRound(options, stand)
      await (tls ? varve.tls() : varve.plain())
    } catch (error) {
      if (!signal.aborted) console.error(await stand.logTails())
      throw error
    }
  } finally {
    await rm(standFolder, { recursive: true, force: true })
  }
}

export const varveRound = (options: RoundOptions): Promise<void> => round(options, false)

export const tlsRound = (options: RoundOptions): Promise<void> => round(options, true)
