// A pack of the directory engine: one file that is written at its end and synced in place.
import type { FileHandle } from 'node:fs/promises'
import { VarveError } from '../../../protocol/errors.ts'
import { failpoint, failpointsArmed } from '../../common/failpoint.ts'
import { storeError } from '../../common/store-error.ts'
import type { PackFile } from '../pack-store.ts'

/** Writes all of `bytes` at `offset`: one write may take only a part of them. */
export const writeAll = async (handle: FileHandle, bytes: Uint8Array, offset: number, file: string): Promise<void> => {
  // tests make every write a partial one
  let end = failpointsArmed() ? bytes.length >> 1 : bytes.length
  for (let done = 0; done < bytes.length; end = bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, end - done, offset + done)
    done += bytesWritten
    if (done < bytes.length) failpoint('pack.append.half', file)
  }
}

export class DirectoryPackFile implements PackFile {
  readonly #handle: FileHandle
  readonly #file: string
  #bytes: number
  #broken = false

  constructor(handle: FileHandle, file: string, bytes: number) {
    this.#handle = handle
    this.#file = file
    this.#bytes = bytes
  }

  get bytes(): number {
    return this.#bytes
  }

  get broken(): boolean {
    return this.#broken
  }

  append(bytes: Uint8Array): Promise<void> {
    return this.#guard('writing to a pack', async () => {
      failpoint('pack.append', this.#file)
      await writeAll(this.#handle, bytes, this.#bytes, this.#file)
      this.#bytes += bytes.length
    })
  }

  sync(): Promise<void> {
    return this.#guard('syncing a pack', async () => {
      failpoint('pack.sync', this.#file)
      await this.#handle.datasync()
      failpoint('pack.synced', this.#file)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }

  async #guard(doing: string, work: () => Promise<void>): Promise<void> {
    if (this.#broken) throw new VarveError('STORE_FAILED', 'a write to this pack failed before: it takes no more')
    try {
      await work()
    } catch (error) {
      // after a failed sync the kernel may have dropped the bytes and would call a second sync a success
      this.#broken = true
      throw storeError(error, doing)
    }
  }
}
