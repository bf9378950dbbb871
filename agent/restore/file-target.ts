// A target that is a new file: its content is written under a temporary name, and it gets its own when it is complete.
import { NewFile, type Naming } from './new-file.ts'
import type { Target } from './target.ts'
import { targetError } from './target-error.ts'

/** The content of a new file, in one of the formats; what was not written reads as zeroes. */
export interface FileContent extends AsyncDisposable {
  write(offset: number, bytes: Uint8Array): Promise<void>
  /** Makes durable all that was written; nothing is written after it. */
  seal(): Promise<void>
  /** Serves it to be read, until that is disposed; nothing is written meanwhile. */
  serve(): Promise<{ readonly socketPath: string } & AsyncDisposable>
  /** Removes everything from an offset on: it reads as zeroes then. */
  cut(offset: number): Promise<void>
}

export class FileTarget implements Target {
  readonly #place: NewFile
  readonly #content: FileContent
  readonly #resources: AsyncDisposable

  /** There is content of an earlier restore, to be read and cut before anything is written. */
  readonly isKept: boolean

  private constructor(place: NewFile, content: FileContent, resources: AsyncDisposable) {
    this.isKept = place.isKept
    this.#place = place
    this.#content = content
    this.#resources = resources
  }

  /**
   * `open` opens the content in the file that has the temporary name, which is empty unless it is kept. TARGET_INVALID,
   * TARGET_IN_USE, and its errors.
   */
  static async make(
    final: string,
    naming: Naming,
    open: (temporary: string, isKept: boolean) => Promise<FileContent>,
  ): Promise<FileTarget> {
    await using resources = new AsyncDisposableStack()
    const place = resources.use(await NewFile.make(final, naming))
    try {
      const content = resources.use(await open(place.temporary, place.isKept))
      return new FileTarget(place, content, resources.move())
    } catch (error) {
      throw targetError(`cannot write ${final}`, error)
    }
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#content.write(offset, bytes)
  }

  /** What was not written reads as zeroes already. */
  async zero(): Promise<void> {}

  serve(): Promise<{ readonly socketPath: string } & AsyncDisposable> {
    return this.#content.serve()
  }

  cut(offset: number): Promise<void> {
    return this.#content.cut(offset)
  }

  seal(): Promise<void> {
    return this.#content.seal()
  }

  check(): Promise<void> {
    return this.#place.check()
  }

  publish(): Promise<readonly string[]> {
    return this.#place.publish()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]()
  }
}
