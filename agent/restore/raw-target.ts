// Raw targets: a sparse file that gets its name at the end, or a block device written in place.
import { open, type FileHandle } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { NewFile, type Naming } from './new-file.ts'
import type { RestoreNotes } from './restore-notes.ts'
import { deviceBusy, guardTarget, type KnownMachine } from './target-guard.ts'
import type { SteppedTarget } from './target.ts'
import { targetError } from './target-error.ts'

/** Bytes after which written data is flushed to the disk, so that little is left for the end. */
const FLUSH_BYTES = 64 * 1024 * 1024

/** Zeroes written at once to a block device, in bytes. */
const ZERO_BYTES = 1024 * 1024

const writeAll = async (file: FileHandle, offset: number, bytes: Uint8Array): Promise<void> => {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten
}

const syncFile = async (file: FileHandle, flusher: Flusher, name: string): Promise<void> => {
  try {
    await flusher.done()
    await file.sync()
  } catch (error) {
    throw targetError(`cannot write ${name}`, error)
  }
}

/** Flushes a file to the disk while it is still being written. */
class Flusher {
  readonly #file: FileHandle
  #bytes = 0
  #running: Promise<void> | null = null
  #failure: Error | null = null

  constructor(file: FileHandle) {
    this.#file = file
  }

  /** Called for every write; throws the error of an earlier flush, so that a restore to a failing disk ends soon. */
  wrote(bytes: number): void {
    if (this.#failure !== null) throw this.#failure
    this.#bytes += bytes
    if (this.#bytes < FLUSH_BYTES || this.#running !== null) return
    this.#bytes = 0
    this.#running = this.#flush()
  }

  /** Resolves when no flush is under way; rejects with a failed flush, which a later sync would not report. */
  async done(): Promise<void> {
    await this.#running
    if (this.#failure !== null) throw this.#failure
  }

  async #flush(): Promise<void> {
    try {
      await this.#file.datasync()
    } catch (error) {
      this.#failure = error as Error
    } finally {
      this.#running = null
    }
  }
}

export class RawFileTarget implements SteppedTarget {
  readonly #file: FileHandle
  readonly #flusher: Flusher
  readonly #place: NewFile

  private constructor(file: FileHandle, place: NewFile) {
    this.#file = file
    this.#flusher = new Flusher(file)
    this.#place = place
  }

  static async create(final: string, size: number, naming: Naming): Promise<RawFileTarget> {
    await using resources = new AsyncDisposableStack()
    const place = resources.use(await NewFile.make(final, naming))
    try {
      const file = resources.use(await open(place.temporary, 'r+'))
      await file.truncate(size)
      const target = new RawFileTarget(file, place)
      resources.move()
      return target
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EFBIG')
        throw new VarveError(
          'TARGET_INVALID',
          `cannot write ${final}: its file system, or a limit of this user (ulimit -f), does not allow a raw file of ${sizeText(size)} (EFBIG): use --format qcow2, whose file holds only what is in use, or another file system, such as XFS`,
          { cause: error },
        )
      throw targetError(`cannot write ${final}`, error)
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#file, offset, bytes)
      this.#flusher.wrote(bytes.length)
    } catch (error) {
      throw targetError(`cannot write ${this.#place.final}`, error)
    }
  }

  /** The file is new and sparse, so it reads as zeroes already. */
  async zero(): Promise<void> {}

  seal(): Promise<void> {
    return syncFile(this.#file, this.#flusher, this.#place.final)
  }

  check(): Promise<void> {
    return this.#place.check()
  }

  publish(): Promise<readonly string[]> {
    return this.#place.publish()
  }

  async commit(): Promise<readonly string[]> {
    await this.seal()
    await this.check()
    return await this.publish()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flusher.done().catch(() => {})
    await this.#file.close()
    await this.#place[Symbol.asyncDispose]()
  }
}

export class BlockDeviceTarget implements SteppedTarget {
  readonly #file: FileHandle
  readonly #flusher: Flusher
  readonly #path: string
  readonly #held: AsyncDisposable

  private constructor(file: FileHandle, device: string, held: AsyncDisposable) {
    this.#file = file
    this.#flusher = new Flusher(file)
    this.#path = device
    this.#held = held
  }

  /**
   * Opens a device that nothing else has open, mounted or locked, and keeps it exclusively; TARGET_IN_USE names the user,
   * TARGET_INVALID when it is too small or cannot be opened.
   */
  static async open(
    device: string,
    size: number,
    {
      machines = [],
      notes,
      rdev,
    }: {
      readonly machines?: readonly KnownMachine[]
      readonly notes?: RestoreNotes
      /** The device that it has to be, as stat numbers it. */
      readonly rdev?: number | undefined
    } = {},
  ): Promise<BlockDeviceTarget> {
    await using resources = new AsyncDisposableStack()
    let file: FileHandle
    try {
      // on a block device O_EXCL means: fail while it is mounted or otherwise held
      file = resources.use(await open(device, 0o2 | 0o200))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EBUSY') throw await deviceBusy(device, machines)
      throw targetError(`cannot write ${device}`, error)
    }
    if (rdev !== undefined && (await file.stat()).rdev !== rdev)
      throw new VarveError('RESTORE_FORBIDDEN', `${device} is not the device that it was when the restore began`)
    await checkSize(file, device, size)
    // a running QEMU does not claim a device in the kernel
    resources.use(await guardTarget(device, machines))
    if (notes !== undefined) resources.use(await notes.begin(device, null))
    return new BlockDeviceTarget(file, device, resources.move())
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#file, offset, bytes)
      this.#flusher.wrote(bytes.length)
    } catch (error) {
      throw targetError(`cannot write ${this.#path}`, error)
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    const zeroes = new Uint8Array(Math.min(ZERO_BYTES, length))
    for (let at = 0; at < length; at += zeroes.length)
      await this.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)))
  }

  seal(): Promise<void> {
    return syncFile(this.#file, this.#flusher, this.#path)
  }

  /** It is held exclusively until the end. */
  async check(): Promise<void> {}

  async publish(): Promise<readonly string[]> {
    return []
  }

  async commit(): Promise<readonly string[]> {
    await this.seal()
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flusher.done().catch(() => {})
    await this.#held[Symbol.asyncDispose]()
  }
}

/** A device's inode has no size, so its last byte is read. */
const checkSize = async (file: FileHandle, device: string, size: number): Promise<void> => {
  if (size === 0) return
  const { bytesRead } = await file.read(new Uint8Array(1), 0, 1, size - 1)
  if (bytesRead === 0) throw new VarveError('TARGET_INVALID', `${device} is smaller than the disk's ${size} bytes`)
}
