// Where the bytes of a pushed disk wait to be uploaded: files of equal length, each of which goes once the gateway has it.
import { closeSync, constants, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { VarveError } from '../../protocol/errors.ts'

/** Of the disk in one file, in bytes. */
export const PART_BYTES = 64 * 1024 * 1024

/** Files that are open at once: a guest writes here and there. */
const OPEN_MAX = 16

/** Where a disk is spooled: a folder, and the disk's number in its lease. */
export interface SpoolPlace {
  readonly folder: string
  readonly index: number
}

const partFile = ({ folder, index }: SpoolPlace, part: number): string => join(folder, `${index}.${part}.push`)

/** The number of the disk that a file of the folder is of; null for every other file. */
export const diskOfFile = (name: string): number | null => {
  const index = /^(\d{1,4})\.\d+\.push$/u.exec(name)?.[1]
  return index === undefined ? null : Number(index)
}

/** The ranges of a range that lie within one part each. */
function* within(offset: number, length: number): Generator<{ part: number; at: number; from: number; bytes: number }> {
  for (let from = 0; from < length;) {
    const part = Math.floor((offset + from) / PART_BYTES)
    const at = offset + from - part * PART_BYTES
    const bytes = Math.min(length - from, PART_BYTES - at)
    yield { part, at, from, bytes }
    from += bytes
  }
}

/** Writes, for the process that QEMU writes to. What is written lasts as long as the host runs, as the lease does. */
export class SpoolWriter {
  readonly #place: SpoolPlace
  /** File descriptors by part, the one used last at the end. */
  readonly #open = new Map<number, number>()
  readonly #parts = new Set<number>()
  #keptFrom = 0

  constructor(place: SpoolPlace) {
    this.#place = place
  }

  /** The system's error where it cannot be written. */
  write(offset: number, bytes: Buffer): void {
    for (const { part, at, from, bytes: length } of within(offset, bytes.length)) {
      const file = this.#fileOf(part)
      for (let done = 0; done < length;) done += writeSync(file, bytes, from + done, length - done, at + done)
    }
  }

  /** Removes what lies below an offset, as far as whole files do. */
  discard(to: number): void {
    const keptFrom = Math.floor(to / PART_BYTES)
    if (keptFrom <= this.#keptFrom) return
    this.#keptFrom = keptFrom
    for (const part of this.#parts) if (part < keptFrom) this.#remove(part)
  }

  /** Removes everything. */
  clear(): void {
    for (const part of this.#parts) this.#remove(part)
  }

  #fileOf(part: number): number {
    const file = this.#open.get(part) ?? this.#openPart(part)
    this.#open.delete(part)
    this.#open.set(part, file)
    return file
  }

  #openPart(part: number): number {
    for (const [oldest, file] of this.#open) {
      if (this.#open.size < OPEN_MAX) break
      closeSync(file)
      this.#open.delete(oldest)
    }
    const { O_CREAT, O_RDWR, O_NOFOLLOW } = constants
    this.#parts.add(part)
    const file = openSync(partFile(this.#place, part), O_CREAT | O_RDWR | O_NOFOLLOW, 0o600)
    this.#open.set(part, file)
    // a chunk is read whole, also where its end was written with zeroes
    ftruncateSync(file, PART_BYTES)
    return file
  }

  #remove(part: number): void {
    const file = this.#open.get(part)
    if (file !== undefined) closeSync(file)
    this.#open.delete(part)
    this.#parts.delete(part)
    rmSync(partFile(this.#place, part), { force: true })
  }
}

/** Reads, for the threads that upload. */
export class SpoolReader implements AsyncDisposable {
  readonly #place: SpoolPlace
  readonly #open = new Map<number, Promise<FileHandle>>()

  constructor(place: SpoolPlace) {
    this.#place = place
  }

  async readInto(offset: number, bytes: Buffer): Promise<void> {
    for (const { part, at, from, bytes: length } of within(offset, bytes.length)) {
      const file = await this.#fileOf(part)
      for (let done = 0; done < length;) {
        const { bytesRead } = await file.read(bytes, from + done, length - done, at + done)
        if (bytesRead === 0) throw new VarveError('LEASE_LOST', 'what QEMU wrote of a disk is not there any more')
        done += bytesRead
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const files = [...this.#open.values()]
    this.#open.clear()
    await Promise.allSettled(files.map(async (file) => (await file).close()))
  }

  async #fileOf(part: number): Promise<FileHandle> {
    const known = this.#open.get(part)
    if (known !== undefined) return await known
    const opening = open(partFile(this.#place, part), 'r')
    this.#open.set(part, opening)
    try {
      return await opening
    } catch (cause) {
      throw new VarveError('LEASE_LOST', 'what QEMU wrote of a disk is not there any more', { cause })
    } finally {
      // the first files are not read again
      const oldest = this.#open.size > OPEN_MAX ? this.#open.entries().next().value : undefined
      if (oldest !== undefined) {
        this.#open.delete(oldest[0])
        void oldest[1].then((file) => file.close()).catch(() => {})
      }
    }
  }
}
