// Puts a rebuilt catalog in the place of the old one, which is kept: a crash between any two steps preserves both completely.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { syncFolder } from '../../protocol/host/durable.ts'
import { CATALOG_NAME } from '../folder/layout.ts'

const REPLACED = /^catalog\.db\.replaced-(\d{1,9})$/u

/** The catalog while it is being built. */
const NEW_NAME = `${CATALOG_NAME}.new`

export class CatalogPlace {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Where the new catalog is built. */
  get fresh(): string {
    return this.#path(NEW_NAME)
  }

  /**
   * The catalog that is to be replaced: the one in use, else the newest of those that were replaced before; null where there is
   * none.
   */
  get old(): string | null {
    const catalog = this.#path(CATALOG_NAME)
    if (existsSync(catalog) && statSync(catalog).size > 0) return catalog
    const last = this.#lastReplaced()
    return last === 0 ? null : this.#path(replacedName(last))
  }

  /** Removes the remains of an interrupted rebuild. */
  async prepare(): Promise<void> {
    const catalog = this.#path(CATALOG_NAME)
    if (!existsSync(catalog) && existsSync(`${catalog}-wal`)) await this.#settleLog(catalog)
    await this.discard()
  }

  /** Removes the new catalog as far as it exists. */
  async discard(): Promise<void> {
    for (const suffix of ['', '-wal', '-shm', '-journal']) await rm(`${this.fresh}${suffix}`, { force: true })
    await syncFolder(this.#folder)
  }

  /** Syncs the new catalog, which is closed, and puts it in place; the name under which the old one is kept, or null. */
  async put(): Promise<string | null> {
    {
      await using handle = await open(this.fresh, 'r+')
      await handle.sync()
    }
    const catalog = this.#path(CATALOG_NAME)
    let kept: string | null = null
    if (existsSync(catalog)) {
      kept = replacedName(this.#lastReplaced() + 1)
      await rename(catalog, this.#path(kept))
      // its log goes with it: SQLite would take it for the new catalog's
      if (existsSync(`${catalog}-wal`)) await rename(`${catalog}-wal`, `${this.#path(kept)}-wal`)
      await syncFolder(this.#folder)
    }
    await rm(`${catalog}-shm`, { force: true })
    await rename(this.fresh, catalog)
    await syncFolder(this.#folder)
    return kept
  }

  /**
   * A log without its catalog: that of the one just replaced after a crash between the two steps, else an unknown one, which is
   * moved aside.
   */
  async #settleLog(catalog: string): Promise<void> {
    const last = this.#lastReplaced()
    const owner = `${this.#path(replacedName(last))}-wal`
    const interrupted = last > 0 && existsSync(this.fresh) && !existsSync(owner)
    await rename(`${catalog}-wal`, interrupted ? owner : `${catalog}-wal.replaced-${last + 1}`)
  }

  #lastReplaced(): number {
    return readdirSync(this.#folder).reduce((last, name) => Math.max(last, Number(REPLACED.exec(name)?.[1] ?? 0)), 0)
  }

  #path(name: string): string {
    return path.join(this.#folder, name)
  }
}

const replacedName = (number: number): string => `${CATALOG_NAME}.replaced-${number}`
