// A file or device that is flushed to the disk while it is still being written, so that little is left for the end.
import type { FileHandle } from 'node:fs/promises'
import { targetError } from './target-error.ts'

/** Bytes after which written data is flushed to the disk. */
const FLUSH_BYTES = 64 * 1024 * 1024

/** It closes the file; errors name it by `name`. */
export class FlushedFile implements AsyncDisposable {
  readonly #file: FileHandle
  readonly #name: string
  #bytes = 0
  #flushing: Promise<void> | null = null
  #failure: Error | null = null

  constructor(file: FileHandle, name: string) {
    this.#file = file
    this.#name = name
  }

  /** TARGET_INVALID; also for an earlier flush that failed, so that a restore to a failing disk ends soon. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;)
        at += (await this.#file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten
      this.#wrote(bytes.length)
    } catch (error) {
      throw targetError(`cannot write ${this.#name}`, error)
    }
  }

  /** Resolves when no flush is under way, whatever became of it. */
  async flushed(): Promise<void> {
    await this.#flushing
  }

  /** Makes durable all that was written; TARGET_INVALID. */
  async seal(): Promise<void> {
    try {
      await this.flushed()
      // a later sync would not report what an earlier flush has lost
      this.#check()
      await this.#file.sync()
    } catch (error) {
      throw targetError(`cannot write ${this.#name}`, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flushed()
    await this.#file.close()
  }

  #wrote(bytes: number): void {
    this.#check()
    this.#bytes += bytes
    if (this.#bytes < FLUSH_BYTES || this.#flushing !== null) return
    this.#bytes = 0
    this.#flushing = this.#flush()
  }

  /** Never rejects. */
  async #flush(): Promise<void> {
    try {
      await this.#file.datasync()
    } catch (error) {
      this.#failure = error as Error
    } finally {
      this.#flushing = null
    }
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure
  }
}
