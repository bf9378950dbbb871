// The pack store of one machine: a file per pack in a directory, `<root>/<tenant uuid>/<first two digits>/<pack uuid>.pack`.
import { constants, type Dirent } from 'node:fs'
import { open, readdir, realpath, rm, stat, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { failpoint, failpointsArmed } from '../../common/failpoint.ts'
import { syncFolder } from '../../../protocol/host/durable.ts'
import { makeFolder } from '../../folder/folders.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { isUuid } from '../format.ts'
import { HandleCache } from './handle-cache.ts'
import { OWN_NAMES, PACK_SUFFIX } from '../../folder/layout.ts'
import type { PackFile, PackName, PackStore } from '../pack-store.ts'
import { readMarker, strangePacks } from './packs-marker.ts'
import { storeError } from '../../common/store-error.ts'

const FILE_MODE = 0o600

/** Writes all of `bytes` at `offset`: one write may take only a part of them. */
const writeAll = async (handle: FileHandle, bytes: Uint8Array, offset: number, file: string): Promise<void> => {
  // a test sees every write as one that took only a part
  let end = failpointsArmed() ? bytes.length >> 1 : bytes.length
  for (let done = 0; done < bytes.length; end = bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, end - done, offset + done)
    done += bytesWritten
    if (done < bytes.length) failpoint('pack.append.half', file)
  }
}

class DirectoryPackFile implements PackFile {
  readonly #handle: FileHandle
  readonly #path: string
  #bytes: number
  #broken = false

  constructor(handle: FileHandle, path: string, bytes: number) {
    this.#handle = handle
    this.#path = path
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
      failpoint('pack.append', this.#path)
      await writeAll(this.#handle, bytes, this.#bytes, this.#path)
      this.#bytes += bytes.length
    })
  }

  sync(): Promise<void> {
    return this.#guard('syncing a pack', async () => {
      failpoint('pack.sync', this.#path)
      await this.#handle.datasync()
      failpoint('pack.synced', this.#path)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }

  async #guard(doing: string, work: () => Promise<void>): Promise<void> {
    if (this.#broken) throw new VarveError('STORE_FAILED', 'this pack had a failed write and takes no more')
    try {
      await work()
    } catch (error) {
      // after a failed sync the kernel may have dropped the bytes and would call a second sync a success
      this.#broken = true
      throw storeError(error, doing)
    }
  }
}

export class DirectoryPackStore implements PackStore {
  readonly #root: string
  readonly #handles = new HandleCache()
  /** The uuid in the folder's marker; null where it had none when it was opened, and then none is looked for. */
  readonly id: string | null

  private constructor(root: string, id: string | null) {
    this.#root = root
    this.id = id
  }

  /**
   * Opens the folder whose marker has this id: STORE_FAILED where that is not there. Without an id any folder, which is made if needed (its parent must
   * exist). From then on nothing counts as absent unless the marker of the folder is there: else its file system is not, which is STORE_FAILED.
   */
  static async open(root: string, id: string | null = null): Promise<DirectoryPackStore> {
    try {
      if (id === null) await makeFolder(root)
    } catch (error) {
      throw storeError(error, 'making the folder for packs')
    }
    const found = readMarker(root)
    if (id !== null && found !== id) throw strangePacks()
    return new DirectoryPackStore(root, found)
  }

  /** STORE_FAILED unless the folder has the marker that it was opened with. */
  async confirm(): Promise<void> {
    if (this.id !== null && readMarker(this.#root) !== this.id) throw strangePacks()
  }

  async create(name: PackName, header: Uint8Array): Promise<PackFile> {
    const file = this.#path(name)
    const folder = path.dirname(file)
    let handle: FileHandle | null = null
    try {
      // an empty mount point would take it
      await this.confirm()
      failpoint('pack.create', file)
      await makeFolder(path.dirname(folder))
      await makeFolder(folder)
      handle = await open(file, 'wx', FILE_MODE)
      await writeAll(handle, header, 0, file)
      await handle.sync()
      await syncFolder(folder)
      failpoint('pack.created', file)
      return new DirectoryPackFile(handle, file, header.length)
    } catch (error) {
      await handle?.close()
      if (hasCode(error, 'EEXIST')) throw new VarveError('EXISTS', 'there is a pack of this name already')
      throw storeError(error, 'making a pack')
    }
  }

  async open(name: PackName, bytes: number): Promise<PackFile> {
    const file = this.#path(name)
    let handle: FileHandle | null = null
    try {
      // a pipe of this name must not keep us waiting for its other end
      handle = await this.#find(() => open(file, constants.O_RDWR | constants.O_NONBLOCK))
      if (handle === null) throw new VarveError('NOT_FOUND', `there is no pack ${name.pack}`)
      const { size } = await handle.stat()
      if (size !== bytes)
        throw new VarveError('DATA_DAMAGED', `pack ${name.pack} has ${size} bytes, not ${bytes}`, {
          details: { pack: name.pack, bytes: size, expectedBytes: bytes },
        })
      return new DirectoryPackFile(handle, file, bytes)
    } catch (error) {
      await handle?.close()
      throw storeError(error, 'opening a pack')
    }
  }

  async read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(new ArrayBuffer(length))
    let done = 0
    const file = this.#path(name)
    try {
      failpoint('pack.read', file)
      const found = await this.#find(() =>
        this.#handles.use(file, async (handle) => {
          while (done < length) {
            const { bytesRead } = await handle.read(bytes, done, length - done, offset + done)
            if (bytesRead === 0) break
            done += bytesRead
          }
          return true
        }),
      )
      if (found === null) throw new VarveError('NOT_FOUND', `there is no pack ${name.pack}`)
    } catch (error) {
      throw storeError(error, 'reading a pack')
    }
    if (done < length)
      throw new VarveError('DATA_DAMAGED', `pack ${name.pack} ends before byte ${offset + length}`, {
        details: { pack: name.pack, offset, length },
      })
    return bytes
  }

  async size(name: PackName): Promise<number | null> {
    const file = this.#path(name)
    try {
      const found = await this.#find(() => stat(file))
      // reads must not go on finding what an open handle alone keeps
      if (found === null) await this.#handles.drop(file)
      // a folder, a pipe or a device of this name holds no record
      return found?.isFile() === true ? found.size : null
    } catch (error) {
      throw storeError(error, 'looking at a pack')
    }
  }

  async remove(name: PackName): Promise<void> {
    const file = this.#path(name)
    try {
      await this.confirm()
      failpoint('pack.remove', file)
      await this.#handles.drop(file)
      // where it is a link, what takes the space lies elsewhere; only a file of the same name is taken for the pack
      const target = await realpath(file)
      if (target !== file && path.basename(target) === path.basename(file)) await rm(target, { force: true })
      await rm(file, { force: true })
      // a read may have opened it once more meanwhile, and would keep its space
      await this.#handles.drop(file)
      failpoint('pack.unlinked', file)
      await syncFolder(path.dirname(file))
      failpoint('pack.removed', file)
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw storeError(error, 'removing a pack')
    }
  }

  async *list(): AsyncGenerator<{ readonly name: PackName } | { readonly unknown: string }> {
    await this.confirm()
    for (const tenant of await readdir(this.#root, { withFileTypes: true })) {
      if (OWN_NAMES.has(tenant.name)) continue
      if (!isUuid(tenant.name) || (await this.#kindOf(tenant.name, tenant)) !== 'folder') {
        yield { unknown: tenant.name }
        continue
      }
      for (const prefix of await readdir(path.join(this.#root, tenant.name), { withFileTypes: true })) {
        const folder = path.join(tenant.name, prefix.name)
        if ((await this.#kindOf(folder, prefix)) === 'folder') yield* this.#listFolder(tenant.name, folder)
        else yield { unknown: folder }
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handles[Symbol.asyncDispose]()
  }

  /** What `work` finds; null where a file is not there, which counts only with the marker there before and after another look. STORE_FAILED. */
  async #find<R>(work: () => Promise<R>): Promise<R | null> {
    for (let looks = 1; ; looks++) {
      try {
        return await work()
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
      }
      await this.confirm()
      if (looks === 2) return null
    }
  }

  async *#listFolder(
    tenant: string,
    folder: string,
  ): AsyncGenerator<{ readonly name: PackName } | { readonly unknown: string }> {
    for (const entry of await readdir(path.join(this.#root, folder), { withFileTypes: true })) {
      const relative = path.join(folder, entry.name)
      const name = { tenant, pack: entry.name.slice(0, -PACK_SUFFIX.length) }
      // what does not lie exactly where its name says is not a pack of ours
      const ours = isUuid(name.pack) && this.#path(name) === path.join(this.#root, relative)
      yield ours && (await this.#kindOf(relative, entry)) === 'file' ? { name } : { unknown: relative }
    }
  }

  /** What lies at a path below the root. A symbolic link is what it leads to, as it is for every read. */
  async #kindOf(relative: string, entry: Dirent): Promise<'file' | 'folder' | 'other'> {
    const found = entry.isSymbolicLink() ? await stat(path.join(this.#root, relative)).catch(() => null) : entry
    if (found === null) return 'other'
    return found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other'
  }

  #path({ tenant, pack }: PackName): string {
    if (!isUuid(tenant) || !isUuid(pack)) throw new VarveError('INTERNAL', 'a pack name must be two uuids')
    return path.join(this.#root, tenant, pack.slice(0, 2), `${pack}${PACK_SUFFIX}`)
  }
}
