// One machine of a scripted day: a real QEMU with its agent, beside a model that knows what each restore point must hold.
import { createHash } from 'node:crypto'
import { open, rm, truncate, writeFile, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import type { Dice } from '../support/model-dice.ts'
import { churn, CHUNK_BYTES, firstContent, type Change } from './day-churn.ts'
import { backupFigures, type BackupFigures, type Host, type Site } from './fleet-site.ts'
import { deviceCommand } from './guest-writes.ts'
import { DISK } from './stand.ts'

const DIGEST_BYTES = 32

/** Bytes of a restored file that are read at once. */
const READ_BYTES = 16 * CHUNK_BYTES

const COMMAND_TIMEOUT_MS = 5 * 60_000

const digestOf = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

export interface Backup {
  readonly point: string
  readonly seconds: number
  readonly figures: BackupFigures
}

/** An acknowledged restore point and the digest of every chunk of the disk at its instant. */
interface Known {
  readonly point: string
  readonly digests: Buffer
}

export class DayMachine implements AsyncDisposable {
  readonly host: Host
  /** Acknowledged restore points, oldest first. */
  readonly points: Known[] = []
  readonly held = new Set<string>()
  readonly #folder: string
  readonly #sizeBytes: number
  /** What the disk holds by the model; sparse. */
  readonly #model: FileHandle
  readonly #digests: Buffer
  readonly #dirty = new Set<number>()
  readonly #signal: AbortSignal

  private constructor(parts: {
    host: Host
    folder: string
    sizeBytes: number
    model: FileHandle
    signal: AbortSignal
  }) {
    this.host = parts.host
    this.#folder = parts.folder
    this.#sizeBytes = parts.sizeBytes
    this.#model = parts.model
    this.#signal = parts.signal
    const chunks = parts.sizeBytes / CHUNK_BYTES
    this.#digests = Buffer.alloc(chunks * DIGEST_BYTES)
    for (let chunk = 0; chunk < chunks; chunk++) this.#dirty.add(chunk)
  }

  /** Makes the disk and its model, and starts QEMU and agent. */
  static async make(options: {
    site: Site
    tenant: string
    index: number
    folder: string
    sizeBytes: number
    signal: AbortSignal
  }): Promise<DayMachine> {
    const { site, tenant, index, folder, sizeBytes, signal } = options
    const name = `machine-${index}`
    const raw = path.join(folder, `${name}.model`)
    await writeFile(raw, '')
    await truncate(raw, sizeBytes)
    const model = await open(raw, 'r+')
    try {
      for (const { offset, bytes } of firstContent(index, sizeBytes)) await model.write(bytes, 0, bytes.length, offset)
      const file = path.join(folder, `${name}.qcow2`)
      await run('qemu-img', ['convert', '-q', '-f', 'raw', '-O', 'qcow2', raw, file], { signal })
      const disks = [{ id: DISK, format: 'qcow2' as const, file, size: sizeBytes }]
      const host = await site.addHost({ name, tenant, disks })
      return new DayMachine({ host, folder, sizeBytes, model, signal })
    } catch (error) {
      await model.close()
      throw error
    }
  }

  get name(): string {
    return this.host.name
  }

  /** Guest writes on the disk and on the model. */
  async churn(dice: Dice): Promise<void> {
    for (const change of churn(dice, this.#sizeBytes)) {
      const length = change.kind === 'write' ? change.bytes.length : change.length
      if (await this.#guest(change))
        await this.#onModel(change.offset, change.kind === 'write' ? change.bytes : Buffer.alloc(length))
      for (let at = change.offset; at < change.offset + length; at += CHUNK_BYTES)
        this.#dirty.add(Math.floor(at / CHUNK_BYTES))
      this.#dirty.add(Math.floor((change.offset + length - 1) / CHUNK_BYTES))
    }
  }

  /** A whole backup command, timed; the machine is not written to meanwhile. */
  async backup(reason: string): Promise<Backup> {
    const digests = await this.#current()
    const { program, args } = this.host.backup()
    const startMs = performance.now()
    const output = await run(program, args, { timeoutMs: COMMAND_TIMEOUT_MS, signal: this.#signal })
    const seconds = (performance.now() - startMs) / 1000
    const figures = backupFigures(output, reason)
    this.points.push({ point: figures.point, digests })
    return { point: figures.point, seconds, figures }
  }

  /** Restores a point with the agent's command and compares every chunk with the model; throws where one differs. */
  async compare({ point, digests }: Known, onChunk: (digest: Buffer, chunk: Buffer) => void): Promise<void> {
    const target = path.join(this.#folder, `${this.name}.restored`)
    const { program, args } = this.host.restore(point, DISK, target)
    await run(program, args, { timeoutMs: COMMAND_TIMEOUT_MS, signal: this.#signal })
    await using restored = await open(target)
    const { size } = await restored.stat()
    if (size !== this.#sizeBytes) throw new Error(`point ${point} of ${this.name} was restored with ${size} bytes`)
    const buffer = Buffer.alloc(READ_BYTES)
    for (let offset = 0; offset < size; offset += READ_BYTES) {
      const { bytesRead } = await restored.read(buffer, 0, READ_BYTES, offset)
      for (let at = 0; at < bytesRead; at += CHUNK_BYTES) {
        const chunk = buffer.subarray(at, at + CHUNK_BYTES)
        const place = ((offset + at) / CHUNK_BYTES) * DIGEST_BYTES
        const digest = digestOf(chunk)
        if (!digest.equals(digests.subarray(place, place + DIGEST_BYTES)))
          throw new Error(
            `point ${point} of ${this.name} differs from the disk of its instant at offset ${offset + at}`,
          )
        onChunk(digest, chunk)
      }
    }
    await rm(target)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model.close()
  }

  /**
   * Makes one change through the guest's device; false where QEMU took no heed of a discard, as it may. A write's outcome
   * is not waited for:
   * one that was refused shows when the next point is compared.
   */
  async #guest(change: Change): Promise<boolean> {
    const { machine, socketFolder } = this.host
    const say = (command: string): Promise<unknown> =>
      machine.control.execute('human-monitor-command', deviceCommand(command))
    if (change.kind === 'write') {
      const file = path.join(socketFolder, 'change')
      await writeFile(file, change.bytes)
      await say(`write -q -s ${file} ${change.offset} ${change.bytes.length}`)
      return true
    }
    if (change.kind === 'zero') {
      await say(`write -q -z ${change.unmap ? '-u ' : ''}${change.offset} ${change.length}`)
      return true
    }
    await machine.guestDiscard(DISK, change.offset, change.length)
    return machine.guestIo(DISK, `read -P 0 ${change.offset} ${change.length}`).then(
      () => true,
      () => false,
    )
  }

  async #onModel(offset: number, bytes: Buffer): Promise<void> {
    await this.#model.write(bytes, 0, bytes.length, offset)
  }

  /** The digests of all chunks as the disk is now. */
  async #current(): Promise<Buffer> {
    const chunk = Buffer.alloc(CHUNK_BYTES)
    for (const index of this.#dirty) {
      await this.#model.read(chunk, 0, CHUNK_BYTES, index * CHUNK_BYTES)
      digestOf(chunk).copy(this.#digests, index * DIGEST_BYTES)
    }
    this.#dirty.clear()
    return Buffer.from(this.#digests)
  }
}
