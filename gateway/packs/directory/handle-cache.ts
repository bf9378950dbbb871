// A bounded cache of files open for reading.
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'

/** Files kept open when nobody reads them. */
const HANDLES_MAX = 128

interface Entry {
  readonly handle: Promise<FileHandle>
  users: number
  /** Set when the entry left the cache while in use: its last user closes it. */
  dropped: boolean
}

const notAFile = (file: string, cause?: unknown): VarveError =>
  new VarveError('DATA_DAMAGED', `${path.basename(file)} is not a file`, cause === undefined ? {} : { cause })

/** Opens a file for reading; DATA_DAMAGED for a folder, a pipe, a socket or a device, without blocking on any of them. */
const openFile = async (file: string): Promise<FileHandle> => {
  let handle: FileHandle
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw hasCode(error, 'ENXIO') || hasCode(error, 'ENODEV') ? notAFile(file, error) : error
  }
  try {
    if ((await handle.stat()).isFile()) return handle
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  throw notAFile(file)
}

export class HandleCache implements AsyncDisposable {
  readonly #entries = new Map<string, Entry>()
  #closed = false

  /** Runs `work` with the file open for reading; DATA_DAMAGED where it is not a file, STORE_FAILED once the cache is closed. */
  async use<R>(file: string, work: (handle: FileHandle) => Promise<R>): Promise<R> {
    if (this.#closed) throw new VarveError('STORE_FAILED', 'the datastore is closed')
    const entry = this.#entries.get(file) ?? { handle: openFile(file), users: 0, dropped: false }
    // moved to the end of the map's order, where the least recently used is first
    this.#entries.delete(file)
    this.#entries.set(file, entry)
    entry.users++
    try {
      return await work(await entry.handle)
    } catch (error) {
      this.#forget(file, entry)
      throw error
    } finally {
      entry.users--
      await this.#release(entry)
      await this.#trim()
    }
  }

  /** Closes the file, as soon as nobody reads it. */
  async drop(file: string): Promise<void> {
    const entry = this.#entries.get(file)
    if (entry === undefined) return
    this.#forget(file, entry)
    await this.#release(entry)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    for (const file of this.#entries.keys()) await this.drop(file)
  }

  #forget(file: string, entry: Entry): void {
    entry.dropped = true
    if (this.#entries.get(file) === entry) this.#entries.delete(file)
  }

  async #release(entry: Entry): Promise<void> {
    if (!entry.dropped || entry.users > 0) return
    const handle = await entry.handle.catch(() => null)
    await handle?.close()
  }

  async #trim(): Promise<void> {
    if (this.#entries.size <= HANDLES_MAX) return
    for (const [file, entry] of this.#entries) {
      if (entry.users > 0) continue
      await this.drop(file)
      if (this.#entries.size <= HANDLES_MAX) return
    }
  }
}
