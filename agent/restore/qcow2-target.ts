// A qcow2 target: qemu-img makes the file, qemu-nbd serves it on a private socket, and it gets its name when complete.
import { execFile } from 'node:child_process'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import type { NbdClient } from '../nbd/client.ts'
import { ALLOCATION_CONTEXT, WINDOW_BYTES } from '../nbd/extents.ts'
import { ALLOCATION_ZERO } from '../nbd/wire.ts'
import { FileTarget, type FileContent } from './file-target.ts'
import { ImageServer, toolError } from './image-server.ts'
import type { Naming } from './new-file.ts'

/** How long a look at an image's header may take, in milliseconds. */
const INFO_LIMIT_MS = 30_000

const run = promisify(execFile)

/** An error of an image that is written over NBD, as one of the target that it is. */
export const writeError = (final: string, error: unknown): VarveError => {
  const full = error instanceof VarveError && error.details['errno'] === 'ENOSPC'
  return full
    ? new VarveError('TARGET_INVALID', `cannot write ${final}: no space left`, { cause: error })
    : asVarveError(error)
}

/** Makes an empty image in a file that exists already, as qemu-img would make it readable by everyone. */
const makeImage = async (file: string, size: number): Promise<void> => {
  try {
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(size)])
  } catch (error) {
    throw toolError('qemu-img', error)
  }
}

const imageInfo = v.object({ 'virtual-size': v.number(), format: v.literal('qcow2') })

/** What an image may lead out of its file by. */
const LEADS_OUT = ['backing-filename', 'full-backing-filename', 'encrypted']

/** Whether a file is an image of this size, as a restore that was broken off leaves it, and all of it lies in this file. */
export const isPlainImage = async (file: string, size: number): Promise<boolean> => {
  try {
    const { stdout } = await run('qemu-img', ['info', '-f', 'qcow2', '--output=json', file], { timeout: INFO_LIMIT_MS })
    const said: unknown = JSON.parse(stdout)
    if (!v.is(imageInfo, said) || said['virtual-size'] !== size) return false
    return !LEADS_OUT.some((key) => key in said) && !stdout.includes('"data-file"')
  } catch (error) {
    if (hasCode(error, 'ENOENT') || /lock/u.test((error as Error).message)) throw toolError('qemu-img', error)
    // broken off before there was one
    return false
  }
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
  static async open(temporary: string, final: string, size: number, isKept: boolean): Promise<Qcow2File> {
    if (!isKept || !(await isPlainImage(temporary, size))) await makeImage(temporary, size)
    const contexts = [ALLOCATION_CONTEXT]
    return new Qcow2File(temporary, final, await ImageServer.start(temporary, 'qcow2', { contexts }))
  }

  get #nbd(): NbdClient {
    return this.#server.client
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#nbd.write(offset, bytes)
    } catch (error) {
      throw writeError(this.#final, error)
    }
  }

  /** By the server that it has. */
  async serve(): Promise<{ readonly socketPath: string } & AsyncDisposable> {
    return { socketPath: this.#server.socketPath, [Symbol.asyncDispose]: async () => {} }
  }

  async cut(offset: number): Promise<void> {
    const { size } = this.#nbd
    try {
      for (let at = offset; at < size;) {
        const status = await this.#nbd.blockStatus(at, Math.min(WINDOW_BYTES, size - at))
        for (const { length, flags } of status.get(ALLOCATION_CONTEXT) ?? []) {
          // zeroing what is not there would make tables of it
          if ((flags & ALLOCATION_ZERO) === 0) await this.#nbd.writeZeroes(at, length, { mayTrim: true })
          at += length
        }
      }
    } catch (error) {
      throw writeError(this.#final, error)
    }
  }

  async seal(): Promise<void> {
    try {
      await this.#nbd.flush()
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

/** A qcow2 file, new and reading as zeroes, or one to go on with; TARGET_INVALID, TARGET_IN_USE, TOOL_MISSING. */
export const makeQcow2File = (final: string, size: number, naming: Naming): Promise<FileTarget> =>
  FileTarget.make(final, naming, (temporary, isKept) => Qcow2File.open(temporary, final, size, isKept))
