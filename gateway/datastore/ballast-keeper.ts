// Makes the ballast and the catalog's room, and restores them once there is space; a running gateway checks every few seconds.
import { statSync } from 'node:fs'
import path from 'node:path'
import type { Clock } from '../../protocol/peer.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { BALLAST_FILE_BYTES, ballastFiles, type Ballast } from '../folder/ballast.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { DatastoreLog } from '../common/log.ts'
import { diskSpace, type DiskSpace } from '../folder/reserve.ts'
import type { PackBallast } from '../packs/pack-store.ts'

/** The catalog's room is this part of the ballast: 4 MiB of free pages and as much of its log. */
const ROOM_PART = 16

/** How often the ballast is checked, in milliseconds. */
const LOOK_INTERVAL_MS = 5000

interface KeeperOptions {
  /** That of the catalog's file system. */
  readonly ballast: Ballast
  /** That of the packs, which may be the same. */
  readonly packs: PackBallast
  readonly catalog: Catalog
  /** Path of the catalog. */
  readonly catalogFile: string
  readonly log: DatastoreLog
  readonly look?: (folder: string) => Promise<DiskSpace>
}

export class BallastKeeper {
  readonly #options: KeeperOptions
  readonly #look: (folder: string) => Promise<DiskSpace>
  /** Free space needed to make the rest; null while everything is there, or before the first check. */
  #lackingBytes: number | null = null
  #keeping: Promise<void> | null = null
  #watched = false
  #stopped = false

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#look = options.look ?? diskSpace
  }

  /** The ballast beside the catalog. */
  get catalogs(): Ballast {
    return this.#options.ballast
  }

  /** STORE_FULL while the ballast cannot be made again for want of space: uploads wait until it is. */
  check(): void {
    if (this.#lackingBytes === null) return
    throw new VarveError(
      'STORE_FULL',
      `the gateway's disk is full and takes no uploads until ${sizeText(this.#lackingBytes)} are free for the gateway's ballast; ` +
        'its administrator can make room (varve-gateway prune, varve-gateway gc) or give it a larger disk',
      { details: { wantedBytes: this.#lackingBytes } },
    )
  }

  /** The same, after another check. */
  async checkNow(): Promise<void> {
    if (this.#lackingBytes !== null) await this.keep()
    this.check()
  }

  /** Makes what is missing, as far as the disk has more than that to spare; never rejects. */
  keep(): Promise<void> {
    this.#keeping ??= this.#keep().finally(() => (this.#keeping = null))
    return this.#keeping
  }

  /** The same if it is watched: after work that made room. */
  async again(): Promise<void> {
    if (this.#watched) await this.keep()
  }

  /** Starts keeping it; returns what stops that and waits for work under way. */
  watch(clock: Clock): () => Promise<void> {
    this.#watched = true
    let stopTimer: (() => void) | null = null
    const next = async (): Promise<void> => {
      await this.keep()
      if (!this.#stopped) stopTimer = clock.after(LOOK_INTERVAL_MS, () => void next())
    }
    void next()
    return async () => {
      this.#watched = false
      this.#stopped = true
      stopTimer?.()
      await this.#keeping
    }
  }

  async #keep(): Promise<void> {
    const { ballast, packs, log } = this.#options
    const isStopped = (): boolean => this.#stopped
    try {
      // first what cannot be taken away again
      await this.#makeRoom()
      const lacks = [await ballast.fill(isStopped, this.#look), await packs.fill(isStopped)]
      const lackingBytes = lacks.reduce((most, bytes) => (bytes === null ? most : Math.max(most ?? 0, bytes)), null)
      if ((lackingBytes === null) !== (this.#lackingBytes === null))
        if (lackingBytes === null) log.info({}, 'the ballast is whole')
        else log.warn({ lackingBytes }, 'the disk is full: uploads wait until the ballast can be made again')
      this.#lackingBytes = lackingBytes
    } catch (thrown) {
      const error = asVarveError(thrown, 'STORE_FAILED')
      if (error.code === 'STORE_FULL') this.#lackingBytes ??= BALLAST_FILE_BYTES
      log.warn({ err: error }, 'the ballast cannot be made')
    }
  }

  /** Makes the catalog's free pages and its log as long as they are to be; STORE_FULL. */
  async #makeRoom(): Promise<void> {
    const { catalog, catalogFile } = this.#options
    const { totalBytes, freeBytes } = await this.#look(path.dirname(catalogFile))
    const bytes = (ballastFiles(totalBytes) * BALLAST_FILE_BYTES) / ROOM_PART
    const log = statSync(`${catalogFile}-wal`, { throwIfNoEntry: false })?.size ?? 0
    if (log >= bytes && (await catalog.room.free()) >= bytes / 2) return
    // it takes as much of the log as of the catalog; without that space the ballast counts as lacking too
    if (freeBytes < 2 * bytes + BALLAST_FILE_BYTES) return
    await catalog.room.take({ bytes })
    await catalog.room.leave()
  }
}
