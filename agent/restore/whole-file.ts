// A file that has its name already, as a restore was killed between two names: held against the image, and never written.
import { lstat, open, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import type { LeftContent } from './kept.ts'
import type { TargetFormat } from './format.ts'
import { ImageServer } from './image-server.ts'
import { partialName } from './new-file.ts'
import { isPlainImage } from './qcow2-target.ts'
import { checkUnused, type KnownMachine } from './target-guard.ts'
import type { Target } from './target.ts'
import { targetError } from './target-error.ts'

const taken = (file: string): VarveError =>
  new VarveError('TARGET_EXISTS', `${file} exists, and is not the disk that is restored; --force replaces it`)

/** Removes the name that a file had before it got its own, where it still has both. */
const removeEarlierName = async (file: string): Promise<void> => {
  const partial = partialName(file)
  const [one, other] = await Promise.all([stat(file), lstat(partial).catch(() => null)])
  if (other?.isFile() === true && other.ino === one.ino && other.dev === one.dev) await rm(partial)
}

/** Its `cut` is TARGET_EXISTS where the file is not the disk up to its end. */
export class WholeFile implements Target, LeftContent {
  readonly #file: string
  readonly #size: number
  readonly #format: TargetFormat

  private constructor(file: string, size: number, format: TargetFormat) {
    this.#file = file
    this.#size = size
    this.#format = format
  }

  /** TARGET_EXISTS for what cannot be the disk; TARGET_IN_USE, TARGET_INVALID, TOOL_MISSING. */
  static async open(
    file: string,
    { size, format, machines = [] }: { size: number; format: TargetFormat; machines?: readonly KnownMachine[] },
  ): Promise<WholeFile> {
    await checkUnused(file, machines, new AbortController().signal)
    try {
      const fits = format === 'raw' ? (await stat(file)).size === size : await isPlainImage(file, size)
      if (!fits) throw taken(file)
      await removeEarlierName(file)
    } catch (error) {
      throw targetError(`cannot look at ${file}`, error)
    }
    return new WholeFile(file, size, format)
  }

  serve(): Promise<ImageServer> {
    return ImageServer.start(this.#file, this.#format, { readOnly: true })
  }

  async cut(offset: number): Promise<void> {
    if (offset < this.#size) throw taken(this.#file)
  }

  async write(): Promise<void> {
    throw taken(this.#file)
  }

  async zero(): Promise<void> {
    throw taken(this.#file)
  }

  async seal(): Promise<void> {
    try {
      await using file = await open(this.#file, 'r')
      await file.sync()
    } catch (error) {
      throw targetError(`cannot make ${this.#file} durable`, error)
    }
  }

  async check(): Promise<void> {}

  async publish(): Promise<readonly string[]> {
    await syncFolder(path.dirname(this.#file))
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
