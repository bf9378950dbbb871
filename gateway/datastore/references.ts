// What work under way relies on though no restore point says so yet: ids a collection must leave in the index, and trees that are being read.
import { VarveError } from '../../protocol/errors.ts'
import type { Ref } from '../../protocol/image-tree.ts'
import { Fingerprints } from '../trees/fingerprints.ts'

/** Ids that one collection covers by name, in about 200 MB; with more, it removes nothing further. */
const TOUCHED_MAX = 8_000_000

/** A tree that is being read: its root, and how many chunks it spans. */
export interface ReadTree {
  readonly root: Ref
  readonly chunks: number
}

/** Work under way. */
export interface Holder {
  /** Ids it relies on that its durable state does not lead to. */
  ids?(): Iterable<Uint8Array>
  readonly tree?: ReadTree
}

/** What protects ids from one collection. */
export interface Protection extends Disposable {
  /** True for an id that work under way has relied on since the collection began, or did then. */
  covers(id: Uint8Array): boolean
  /** Trees that are being read now; to be asked after the roots of the catalog were read. */
  trees(): ReadTree[]
}

/**
 * The meeting point of uploads, reads and collections of one tenant. Whoever looks an id up in order to rely on it says so with `touch` before
 * the look-up; a collection removes an id only in the same turn in which it found it not covered. Look-ups and removals go through one queue, so either
 * the look-up comes behind the removal and finds nothing, or the removal sees the touch.
 */
export class References {
  readonly #holders = new Set<Holder>()
  readonly #touchedMax: number
  #touched: Fingerprints | null = null

  constructor(touchedMax = TOUCHED_MAX) {
    this.#touchedMax = touchedMax
  }

  /** Ids that the caller is about to look up, or to write, in order to rely on them. */
  touch(ids: Iterable<Uint8Array>): void {
    const touched = this.#touched
    if (touched === null) return
    for (const id of ids) {
      if (touched.size >= this.#touchedMax) return
      touched.add(id)
    }
  }

  /** Has the holder asked by the collections that begin before it is disposed of. */
  hold(holder: Holder): Disposable {
    this.#holders.add(holder)
    return { [Symbol.dispose]: () => void this.#holders.delete(holder) }
  }

  /** Begins a collection; MAINTENANCE_RUNNING while there is one. */
  protect(): Protection {
    if (this.#touched !== null) throw new VarveError('MAINTENANCE_RUNNING', 'a collection of this tenant is running')
    const touched = new Fingerprints()
    this.#touched = touched
    for (const holder of this.#holders) this.touch(holder.ids?.() ?? [])
    return {
      // once it is full, what it does not hold may have been touched as well
      covers: (id) => touched.size >= this.#touchedMax || touched.has(id),
      trees: () => [...this.#holders].flatMap(({ tree }) => (tree === undefined ? [] : [tree])),
      [Symbol.dispose]: () => void (this.#touched = null),
    }
  }
}
