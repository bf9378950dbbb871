// The pack store of one machine: a file per pack in a directory, `<root>/<tenant uuid>/<first two digits>/<pack uuid>.pack`.
import { constants, existsSync, type Dirent } from 'node:fs'
import { access, open, readdir, realpath, rm, stat, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { failpoint } from '../../common/failpoint.ts'
import { storeError } from '../../common/store-error.ts'
import { Ballast } from '../../folder/ballast.ts'
import { FolderLock } from '../../folder/folder-lock.ts'
import { diskSpace } from '../../folder/reserve.ts'
import { freshBytes } from '../../../protocol/host/bytes.ts'
import { syncFolder } from '../../../protocol/host/durable.ts'
import { makeFolder } from '../../folder/durable-folder.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { isUuid } from '../format.ts'
import {
  strangePacks,
  type PackCosts,
  type PackEntry,
  type PackFile,
  type PackName,
  type PackSpace,
  type PackStore,
} from '../pack-store.ts'
import { DirectoryPackFile, writeAll } from './directory-pack-file.ts'
import { layEpoch, readEpoch } from './epoch-file.ts'
import { HandleCache } from './handle-cache.ts'
import { OWN_NAMES, PACK_SUFFIX } from './names.ts'
import { packBytesOn } from './pack-bytes.ts'
import { layMarker, readMarker } from './packs-marker.ts'

const FILE_MODE = 0o600

/** Reads of a disk: so many at once keep it busy, and so many bytes are read in the time of another seek. */
const COSTS: PackCosts = { concurrency: 8, readGapBytes: 64 * 1024 }

/** The disk that a folder lies on, or would. */
const spaceOf = (root: string): Promise<PackSpace> => diskSpace(existsSync(root) ? root : path.dirname(root))

export class DirectoryPackStore implements PackStore {
  readonly costs = COSTS
  readonly packBytesMax: number
  readonly place: string
  readonly ballast: Ballast
  readonly #root: string
  readonly #handles = new HandleCache()
  #id: string | null
  #lock: FolderLock | null = null
  #locked = false

  private constructor(root: string, id: string | null, packBytesMax: number) {
    this.#root = root
    this.#id = id
    this.place = root
    this.packBytesMax = packBytesMax
    this.ballast = Ballast.below(root)
  }

  /**
   * Opens a folder, with the marker of this id if one is named: STORE_FAILED where that is absent. Creates nothing; its parent
   * must exist.
   */
  static async open(root: string, id: string | null = null): Promise<DirectoryPackStore> {
    const found = readMarker(root)
    if (id !== null && found !== id) throw strangePacks()
    const { totalBytes } = await spaceOf(root)
    return new DirectoryPackStore(root, found, packBytesOn(totalBytes))
  }

  get id(): string | null {
    return this.#id
  }

  /**
   * Once marked, packs count as absent only while the marker is there: without it the file system is not mounted, which is
   * STORE_FAILED.
   */
  async confirm(): Promise<void> {
    if (this.#id !== null && readMarker(this.#root) !== this.#id) throw strangePacks()
  }

  async writable(): Promise<void> {
    await this.confirm()
    try {
      // tells a file system that is mounted to be read only even to root
      await access(this.#root, constants.W_OK | constants.X_OK)
    } catch (error) {
      throw storeError(error, 'looking whether the folder of packs takes new ones')
    }
  }

  async mark(id: string): Promise<void> {
    await this.#make()
    await layMarker(this.#root, id)
    this.#id = id
  }

  async lock(): Promise<void> {
    this.#locked = true
    if (existsSync(this.#root)) this.#lock ??= await FolderLock.take(this.#root)
  }

  space(): Promise<PackSpace> {
    return spaceOf(this.#root)
  }

  async epoch(): Promise<number | null> {
    return readEpoch(this.#root)
  }

  layEpoch(epoch: number): Promise<void> {
    return layEpoch(this.#root, epoch)
  }

  async create(name: PackName, header: Uint8Array): Promise<PackFile> {
    const file = this.#path(name)
    const folder = path.dirname(file)
    let handle: FileHandle | null = null
    try {
      // otherwise it would be written into an empty mount point
      await this.confirm()
      failpoint('pack.create', file)
      if (this.#id === null) await this.#make()
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
    const bytes = freshBytes(length)
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
      // reads must not find what only an open handle keeps
      if (found === null) await this.#handles.drop(file)
      // a folder, a pipe or a device of this name is no pack
      return found?.isFile() === true ? found.size : null
    } catch (error) {
      throw storeError(error, 'looking at a pack')
    }
  }

  async remove(names: readonly PackName[]): Promise<ReadonlyMap<string, VarveError>> {
    const failed = new Map<string, VarveError>()
    for (const name of names) {
      try {
        await this.#removeOne(name)
      } catch (error) {
        failed.set(name.pack, asVarveError(error))
      }
    }
    return failed
  }

  async *list(tenant?: string): AsyncGenerator<PackEntry> {
    await this.confirm()
    for (const entry of await this.#entries('')) {
      if (OWN_NAMES.has(entry.name) || (tenant !== undefined && entry.name !== tenant)) continue
      if (isUuid(entry.name) && (await this.#kindOf(entry.name, entry)) === 'folder')
        yield* this.#listTenant(entry.name)
      else yield { unknown: entry.name }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handles[Symbol.asyncDispose]()
    await this.#lock?.[Symbol.asyncDispose]()
  }

  async #make(): Promise<void> {
    try {
      await makeFolder(this.#root)
    } catch (error) {
      throw storeError(error, 'making the folder for packs')
    }
    if (this.#locked) await this.lock()
  }

  async #removeOne(name: PackName): Promise<void> {
    const file = this.#path(name)
    try {
      await this.confirm()
      failpoint('pack.remove', file)
      await this.#handles.drop(file)
      // if it is a link, its target takes the space; only a file of the same name counts as the pack
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

  /**
   * The result of `work`; null where a file is absent, which counts only if the marker is there before and after another try.
   * STORE_FAILED.
   */
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

  async *#listTenant(tenant: string): AsyncGenerator<PackEntry> {
    for (const prefix of await this.#entries(tenant)) {
      const folder = path.join(tenant, prefix.name)
      if ((await this.#kindOf(folder, prefix)) === 'folder') yield* this.#listFolder(tenant, folder)
      else yield { unknown: folder }
    }
  }

  async *#listFolder(tenant: string, folder: string): AsyncGenerator<PackEntry> {
    for (const entry of await this.#entries(folder)) {
      const relative = path.join(folder, entry.name)
      const name = { tenant, pack: entry.name.slice(0, -PACK_SUFFIX.length) }
      // a file that is not exactly at its place is not one of our packs
      const ours = isUuid(name.pack) && this.#path(name) === path.join(this.#root, relative)
      yield ours && (await this.#kindOf(relative, entry)) === 'file' ? { name } : { unknown: relative }
    }
  }

  /** What lies in a folder below the root; nothing where a store without a marker has no folder yet. */
  async #entries(relative: string): Promise<Dirent[]> {
    try {
      return await readdir(path.join(this.#root, relative), { withFileTypes: true })
    } catch (error) {
      if (this.#id === null && relative === '' && hasCode(error, 'ENOENT')) return []
      throw error
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
