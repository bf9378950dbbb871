// The ballast: files that reserve space and inodes, removed when the disk is full so that reading and making room can still
// write.
import { randomFillSync } from 'node:crypto'
import { closeSync, existsSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { asVarveError } from '../../protocol/errors.ts'
import { makeFolder } from './durable-folder.ts'
import { diskSpace } from './reserve.ts'
import { BALLAST_NAME, PACKS_BALLAST_NAME, PROBE_NAME } from './layout.ts'
import { isFull, mayBeFull, storeError, storeFull } from '../common/store-error.ts'
import { hasCode } from '../../protocol/host/system-error.ts'

/** Length of each file of ballast, in bytes. */
export const BALLAST_FILE_BYTES = 1024 * 1024

const FILE_MODE = 0o600

/** Bytes that are written to see whether there is any space. */
const PROBE_BYTES = 64 * 1024

/** Most files of ballast. */
export const BALLAST_FILES_MAX = 80

/** A small disk has one file for so many of its bytes, at least one. */
const DISK_BYTES_PER_FILE = 16 * BALLAST_FILE_BYTES

/** Space that stays free besides the ballast that is used, for rows of the catalog, in bytes. */
const SPARE_BYTES = 256 * 1024

/** How often work of known size is tried. */
const TRIES_MAX = 4

/** Files of ballast on a disk of so many bytes. */
export const ballastFiles = (diskBytes: number): number =>
  Math.min(BALLAST_FILES_MAX, Math.max(1, Math.floor(diskBytes / DISK_BYTES_PER_FILE)))

/** Names of files of ballast. */
const BALLAST_FILE = /^\d{2}\.ballast$/u

/** Name of the file of this number, 0 to 99. */
export const ballastFileName = (number: number): string => `${String(number).padStart(2, '0')}.ballast`

const device = (folder: string): number | null => statSync(folder, { throwIfNoEntry: false })?.dev ?? null

/** The ballast in one folder, which may be absent: then there is nothing to free. Usable from any thread and process. */
export class Ballast {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  /** That of the catalog at this path. */
  static beside(catalog: string): Ballast {
    return new Ballast(path.join(path.dirname(catalog), BALLAST_NAME))
  }

  /** That of a folder of packs in a data folder: the catalog's, unless the packs have a file system of their own. */
  static below(packs: string): Ballast {
    const data = path.dirname(packs)
    const apart = (device(packs) ?? device(data)) !== device(data)
    return new Ballast(apart ? path.join(packs, PACKS_BALLAST_NAME) : path.join(data, BALLAST_NAME))
  }

  /** Names of the files that are there. */
  names(): string[] {
    try {
      return readdirSync(this.folder).filter((name) => BALLAST_FILE.test(name))
    } catch {
      return []
    }
  }

  /**
   * Makes missing files while as much as all of them stays free besides; null, or the bytes that would have to be free for the
   * rest. STORE_FULL, STORE_FAILED.
   */
  async fill(isStopped: () => boolean = () => false, look = diskSpace): Promise<number | null> {
    const disk = path.dirname(this.folder)
    const files = ballastFiles((await look(disk)).totalBytes)
    const there = new Set(this.names())
    const missing = Array.from({ length: files }, (_, number) => ballastFileName(number)).filter(
      (name) => !there.has(name),
    )
    // random bytes, which no file system can compress as it may zeroes
    const content = missing.length === 0 ? new Uint8Array(0) : randomFillSync(new Uint8Array(BALLAST_FILE_BYTES))
    for (const [made, name] of missing.entries()) {
      if (isStopped()) break
      const { freeBytes } = await look(disk)
      if (freeBytes < (files + 1) * BALLAST_FILE_BYTES) return (files + missing.length - made) * BALLAST_FILE_BYTES
      await this.#make(name, content)
    }
    return null
  }

  /** Removes at most so many files; their number. */
  giveBack(files: number): number {
    let given = 0
    for (const name of this.names().sort().reverse()) {
      if (given === files) break
      try {
        rmSync(path.join(this.folder, name))
        given++
      } catch (error) {
        // another process may have removed it
        if (!hasCode(error, 'ENOENT')) break
      }
    }
    return given
  }

  /**
   * Runs work; while the disk is full, removes ballast, more each time, and runs it again. STORE_FULL once nothing is left to
   * remove.
   */
  draw<R>(work: () => R): R {
    for (let files = 1; ; files *= 2) {
      try {
        return work()
      } catch (thrown) {
        if (!this.relieve(thrown, files)) throw thrown
      }
    }
  }

  /**
   * The same for long work that takes so many bytes: each time it frees just these, and only a few times, as another process may
   * take them.
   */
  async drawing<R>(bytes: number, work: () => Promise<R>): Promise<R> {
    const files = Math.ceil((bytes + SPARE_BYTES) / BALLAST_FILE_BYTES)
    for (let tries = 1; ; tries++) {
      try {
        return await work()
      } catch (thrown) {
        if (tries === TRIES_MAX || !this.relieve(thrown, files)) throw thrown
      }
    }
  }

  /**
   * Makes sure that so many bytes are free, with ballast if needed; false, with nothing removed, if both together do not suffice.
   * STORE_FAILED.
   */
  async lend(bytes: number): Promise<boolean> {
    const { freeBytes } = await diskSpace(path.dirname(this.folder))
    const files = Math.ceil((bytes + SPARE_BYTES - freeBytes) / BALLAST_FILE_BYTES)
    return files <= 0 || (this.names().length >= files && this.giveBack(files) === files)
  }

  /**
   * Removes so many files if the error is a full disk; true when the failed work may be tried again. STORE_FULL in place of an
   * error that does not say so itself.
   */
  relieve(thrown: unknown, files: number): boolean {
    const unclear = mayBeFull(thrown)
    const { code, cause } = asVarveError(thrown)
    const full = unclear ? this.#isFull() : code === 'STORE_FULL' || isFull(thrown) || isFull(cause)
    if (!full) return false
    if (this.giveBack(files) > 0) return true
    if (unclear) throw storeFull('using the database', thrown)
    return false
  }

  async #make(name: string, content: Uint8Array): Promise<void> {
    const file = path.join(this.folder, name)
    const unfinished = `${file}.new`
    try {
      if (!existsSync(this.folder)) await makeFolder(this.folder)
      await using handle = await open(unfinished, 'w', FILE_MODE)
      await handle.writeFile(content)
      await rename(unfinished, file)
    } catch (error) {
      await rm(unfinished, { force: true })
      throw storeError(error, 'making the ballast')
    }
  }

  /** Whether a small file cannot be made: for want of blocks, of inodes or of the user's quota. */
  #isFull(): boolean {
    const file = path.join(path.dirname(this.folder), PROBE_NAME)
    try {
      const probe = openSync(file, 'w', 0o600)
      try {
        writeSync(probe, new Uint8Array(PROBE_BYTES).fill(1))
      } finally {
        closeSync(probe)
      }
      return false
    } catch (error) {
      return isFull(error)
    } finally {
      rmSync(file, { force: true })
    }
  }
}
