// Our part of a round: full, re-read, restore and increments, with checks that what is timed is also right.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { run } from '../rig/run.ts'
import { CHUNK_BYTES, compressedBytes, writeRandomly } from './guest-writes.ts'
import type { BenchImage } from './image.ts'
import type { Command } from './measure.ts'
import type { OperationId, Recorder } from './recorder.ts'
import { Stand } from './stand.ts'

/** The chunk size that the increments are compared with, in bytes. */
const WIDE_CHUNK_BYTES = 4 * 2 ** 20

const COPY_TIMEOUT_MS = 5 * 60_000

const backupSchema = v.object({
  point: v.string(),
  reason: v.string(),
  bytesRead: v.number(),
  bytesSent: v.number(),
  bytesStored: v.number(),
  disks: v.tuple([v.object({ dirtyBytes: v.number() })]),
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

class VarveRound {
  readonly #options: RoundOptions
  readonly #stand: Stand

  constructor(options: RoundOptions, stand: Stand) {
    this.#options = options
    this.#stand = stand
  }

  async run(): Promise<void> {
    const { image, verify } = this.#options
    const { point } = await this.#backup('varve-full', 'first')
    await this.#backup('varve-reread', 'requested', '--full')
    await this.#timedRestore(point)
    if (verify) await this.#compare(point, image.raw)
    await this.#copies()
    for (const count of [1000, 10_000] as const) await this.#increment(count)
  }

  /** Times a backup; fails unless it was made for the expected reason. */
  async #backup(
    operation: OperationId,
    reason: string,
    ...options: string[]
  ): Promise<{ point: string; dirtyBytes: number }> {
    const { recorder } = this.#options
    const { agent, gateway, qemu } = this.#stand
    const output = await recorder.time(operation, this.#stand.backup(...options), [agent, gateway, qemu])
    const { point, reason: found, disks, bytesRead, bytesSent, bytesStored } = v.parse(backupSchema, lastLine(output))
    expectEqual(`reason of ${operation}`, found, reason)
    const [{ dirtyBytes }] = disks
    recorder.note({ bytesRead, bytesSent, bytesStored, dirtyBytes })
    return { point, dirtyBytes }
  }

  async #timedRestore(point: string): Promise<void> {
    const { folder, recorder } = this.#options
    const target = path.join(folder, 'restored.raw')
    const output = await recorder.time('varve-restore', this.#stand.restore(point, target), [this.#stand.gateway])
    recorder.note(v.parse(restoreSchema, lastLine(output)))
    await rm(target)
  }

  /** nbdcopy beside us: the same disk through the same QEMU. */
  async #copies(): Promise<void> {
    const { folder, recorder } = this.#options
    const target = path.join(folder, 'copied.raw')
    await this.#stand.exported(async (uri) => {
      await recorder.time('nbdcopy-null', nbdcopy(uri, 'null:'), [this.#stand.qemu])
      await recorder.time('nbdcopy-raw', nbdcopy(uri, target), [this.#stand.qemu])
    })
    await rm(target)
  }

  async #increment(count: 1000 | 10_000): Promise<void> {
    const { image, verify, folder, recorder, signal } = this.#options
    // The same seed in every round, so that the rounds do the same.
    const touched = await writeRandomly(this.#stand, image.size, count, count)
    const { point, dirtyBytes } = await this.#backup(`varve-incremental-${count}`, 'bitmap')
    expectEqual('dirty bytes', dirtyBytes, touched.size * CHUNK_BYTES)
    if (!verify) return
    const disk = path.join(folder, 'disk.raw')
    await this.#stand.exported((uri) => run('nbdcopy', [uri, disk], { timeoutMs: COPY_TIMEOUT_MS, signal }))
    await this.#compare(point, disk)
    const wide = new Set([...touched].map((chunk) => Math.floor((chunk * CHUNK_BYTES) / WIDE_CHUNK_BYTES)))
    recorder.note({
      compressedChunkBytes: await compressedBytes(disk, touched, CHUNK_BYTES),
      compressedWideChunkBytes: await compressedBytes(disk, wide, WIDE_CHUNK_BYTES),
    })
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

export const varveRound = async (options: RoundOptions): Promise<void> => {
  const { folder, image, signal } = options
  const standFolder = path.join(folder, 'stand')
  try {
    await using stand = await Stand.start({ folder: standFolder, qcow2: image.qcow2, size: image.size, signal })
    try {
      await new VarveRound(options, stand).run()
    } catch (error) {
      if (!signal.aborted) console.error(await stand.logTails())
      throw error
    }
  } finally {
    await rm(standFolder, { recursive: true, force: true })
  }
}
