// A qcow2 target: qemu-img makes the file, qemu-nbd serves it on a private socket, and it gets its name when complete.
import { execFile } from 'node:child_process'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { FileTarget, type FileContent } from './file-target.ts'
import { ImageServer, toolError } from './image-server.ts'
import type { Naming } from './new-file.ts'

const run = promisify(execFile)

/** An error of an image that is written over NBD, as one of the target that it is. */
export const writeError = (final: string, error: unknown): VarveError => {
  const full = error instanceof VarveError && error.details['errno'] === 'ENOSPC'
  return full
    ? new VarveError('TARGET_INVALID', `cannot write ${final}: no space left`, { cause: error })
    : asVarveError(error)
}

/** The image in a file that exists, served by a program of its own. */
class Qcow2File implements FileContent {
  readonly #temporary: string
  readonly #final: string
  readonly #server: ImageServer

  private constructor(temporary: string, final: string, server: ImageServer) {
    this.#temporary = temporary
    this.#final = final
    this.#server = server
  }

  /** `final` names it in errors. */
  static async open(temporary: string, final: string, size: number): Promise<Qcow2File> {
    try {
      // the file exists already, as qemu-img would make it readable by everyone
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', temporary, String(size)])
    } catch (error) {
      throw toolError('qemu-img', error)
    }
    return new Qcow2File(temporary, final, await ImageServer.start(temporary, 'qcow2'))
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#server.client.write(offset, bytes)
    } catch (error) {
      throw writeError(this.#final, error)
    }
  }

  async seal(): Promise<void> {
    try {
      await this.#server.client.flush()
    } catch (error) {
      throw writeError(this.#final, error)
    }
    await this.#server.close()
    await using file = await open(this.#temporary, 'r')
    await file.sync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
  }
}

/** A new qcow2 file, whose clusters read as zeroes until they are written; TARGET_INVALID, TARGET_IN_USE, TOOL_MISSING. */
export const makeQcow2File = (final: string, size: number, naming: Naming): Promise<FileTarget> =>
  FileTarget.make(final, naming, (temporary) => Qcow2File.open(temporary, final, size))
