// Raw targets: a sparse file that gets its name at the end, or a block device that is written in place.
import { randomUUID } from 'node:crypto'
import { link, open, rename, rm, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import type { Target } from './target.ts'

/** Bytes after which what was written begins its way to the disk, so that little is left for the end. */
const FLUSH_BYTES = 64 * 1024 * 1024

/** Zeroes written at once to a block device, in bytes. */
const ZERO_BYTES = 1024 * 1024

/** What the place that was chosen is to blame for; anything else is INTERNAL. */
const TARGET_ERRNOS: ReadonlySet<string | undefined> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EFBIG',
  'EROFS',
  'EACCES',
  'EPERM',
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'ENAMETOOLONG',
])

/** An error of the file system in a sentence; a VarveError stays as it is. */
export const targetError = (what: string, error: unknown): VarveError => {
  if (error instanceof VarveError) return error
  const { code, message } = error as NodeJS.ErrnoException
  return new VarveError(TARGET_ERRNOS.has(code) ? 'TARGET_INVALID' : 'INTERNAL', `${what}: ${message}`, {
    cause: error,
  })
}

/** What link(2) says on a file system that has no hard links, such as FAT. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'])

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

/** Sends a file to the disk while it is still being written. */
class Flusher {
  readonly #file: FileHandle
  #bytes = 0
  #running: Promise<void> | null = null
  #failure: Error | null = null

  constructor(file: FileHandle) {
    this.#file = file
  }

  /** To be told of every write; throws what an earlier flush met, so that a restore to a failing disk ends soon. */
  wrote(bytes: number): void {
    if (this.#failure !== null) throw this.#failure
    this.#bytes += bytes
    if (this.#bytes < FLUSH_BYTES || this.#running !== null) return
    this.#bytes = 0
    this.#running = this.#flush()
  }

  /** Resolves when nothing is on its way any more; rejects where something did not get there, which a later sync would not tell. */
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

const syncFolder = async (folder: string): Promise<void> => {
  await using handle = await open(folder, 'r')
  await handle.sync()
}

/** Takes a name that nothing has; false where the file system has no hard links. */
const linkNew = async (temporary: string, final: string): Promise<boolean> => {
  try {
    await link(temporary, final)
    return true
  } catch (error) {
    if (NO_LINKS.has((error as NodeJS.ErrnoException).code)) return false
    throw error
  }
}

/** Gives a finished file its name; without `force` an existing one is never replaced, even one made meanwhile. */
export const publish = async (temporary: string, final: string, force: boolean): Promise<void> => {
  try {
    if (!force && (await linkNew(temporary, final))) await rm(temporary)
    else {
      // without hard links the name is taken by an empty file first, so that here too nothing made meanwhile is lost
      if (!force) await (await open(final, 'wx', 0o600)).close()
      await rename(temporary, final)
    }
    await syncFolder(path.dirname(final))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST')
      throw new VarveError('TARGET_EXISTS', `${final} exists; --force replaces it`)
    throw targetError(`cannot give ${final} its name`, error)
  }
}

/** A temporary name beside the final one, so that the rename stays on one file system. */
export const temporaryName = (final: string): string =>
  path.join(path.dirname(final), `.${path.basename(final)}.${randomUUID().slice(0, 8)}.varve-restore`)

export class RawFileTarget implements Target {
  readonly #file: FileHandle
  readonly #flusher: Flusher
  readonly #temporary: string
  readonly #final: string
  readonly #force: boolean
  #committed = false

  private constructor(file: FileHandle, temporary: string, final: string, force: boolean) {
    this.#file = file
    this.#flusher = new Flusher(file)
    this.#temporary = temporary
    this.#final = final
    this.#force = force
  }

  static async create(final: string, size: number, force: boolean): Promise<RawFileTarget> {
    const temporary = temporaryName(final)
    try {
      const file = await open(temporary, 'wx', 0o600)
      const target = new RawFileTarget(file, temporary, final, force)
      try {
        await file.truncate(size)
        return target
      } catch (error) {
        await target[Symbol.asyncDispose]()
        throw error
      }
    } catch (error) {
      throw targetError(`cannot write beside ${final}`, error)
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#file, offset, bytes)
      this.#flusher.wrote(bytes.length)
    } catch (error) {
      throw targetError(`cannot write ${this.#final}`, error)
    }
  }

  /** The file is new and sparse, so zeroes are there already. */
  async zero(): Promise<void> {}

  async commit(): Promise<void> {
    await syncFile(this.#file, this.#flusher, this.#final)
    await publish(this.#temporary, this.#final, this.#force)
    this.#committed = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flusher.done().catch(() => {})
    await this.#file.close()
    if (!this.#committed) await rm(this.#temporary, { force: true })
  }
}

export class BlockDeviceTarget implements Target {
  readonly #file: FileHandle
  readonly #flusher: Flusher
  readonly #path: string

  private constructor(file: FileHandle, device: string) {
    this.#file = file
    this.#flusher = new Flusher(file)
    this.#path = device
  }

  /** Opens a device that nothing else has open or mounted; TARGET_INVALID when it is too small or in use. */
  static async open(device: string, size: number): Promise<BlockDeviceTarget> {
    let file: FileHandle
    try {
      // on a block device O_EXCL means: fail while it is mounted or otherwise held
      file = await open(device, 0o2 | 0o200)
    } catch (error) {
      throw new VarveError('TARGET_INVALID', `cannot open ${device}: ${(error as Error).message}`, { cause: error })
    }
    const target = new BlockDeviceTarget(file, device)
    try {
      await target.#checkSize(size)
    } catch (error) {
      await file.close()
      throw error
    }
    return target
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

  async commit(): Promise<void> {
    await syncFile(this.#file, this.#flusher, this.#path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flusher.done().catch(() => {})
    await this.#file.close()
  }

  async #checkSize(size: number): Promise<void> {
    if (size === 0) return
    // the size of a device is not in its inode: its last byte is there or not
    const { bytesRead } = await this.#file.read(new Uint8Array(1), 0, 1, size - 1)
    if (bytesRead === 0)
      throw new VarveError('TARGET_INVALID', `${this.#path} is smaller than the disk's ${size} bytes`)
  }
}
