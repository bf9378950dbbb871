// Keeps the epoch beside the packs up to date with the catalog: it reveals an older copy.
import { statSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { storeError } from '../../common/store-error.ts'
import { packNotes, packStoreIn } from '../../packs/open-pack-store.ts'

const inodeOf = (file: string): bigint | null => statSync(file, { bigint: true, throwIfNoEntry: false })?.ino ?? null

/**
 * Keeps the number beside the packs up to date for one connection to the catalog: after a transaction and before it is
 * acknowledged. So the number never exceeds that of the catalog in use, even after a crash, and a catalog below it is an older
 * copy.
 */
export class EpochKeeper {
  readonly #catalog: string
  readonly #inode: bigint | null
  #known: number | null = null

  /** `catalog` is the path of the open catalog. */
  constructor(catalog: string) {
    this.#catalog = catalog
    this.#inode = inodeOf(catalog)
  }

  /**
   * To be called after each write, with the catalog's own number and the marker of its packs (null before it has one);
   * STORE_FAILED where the catalog is no longer the file of its name, or the number cannot be written.
   */
  keep(epoch: number, packs: string | null): void {
    if (epoch === this.#known) return
    if (inodeOf(this.#catalog) !== this.#inode)
      throw new VarveError(
        'STORE_FAILED',
        'catalog.db was moved, removed or replaced while it was in use: stop the gateway, put the catalog that it had back or build it again with: varve-gateway repair --rebuild',
      )
    try {
      packNotes(packStoreIn(path.dirname(this.#catalog))).raiseEpoch(epoch, packs)
    } catch (thrown) {
      const error = storeError(thrown, 'noting an acknowledged change beside the packs')
      // work that makes room must continue; the next write tries again
      if (error.code === 'STORE_FULL') return
      throw error
    }
    this.#known = epoch
  }
}
