// What work under way relies on although no restore point refers to it yet, in memory: ids that a collection must keep, and trees
// that are being read.
import { VarveError } from '../../protocol/errors.ts'
import { Fingerprints } from '../trees/fingerprints.ts'
import type { Holder, Protection, References } from './coordination.ts'

/** Ids that one collection covers by name, in about 200 MB; with more, it removes nothing further. */
const TOUCHED_MAX = 8_000_000

/**
 * A collection removes an id only in the same turn in which it found it not covered. Look-ups and removals go through one queue,
 * so either the look-up follows the removal and finds nothing, or the removal sees the touch.
 */
export class InProcessReferences implements References {
  readonly #holders = new Set<Holder>()
  readonly #touchedMax: number
  #touched: Fingerprints | null = null

  constructor(touchedMax = TOUCHED_MAX) {
    this.#touchedMax = touchedMax
  }

  async touch(ids: Iterable<Uint8Array>): Promise<void> {
    this.#add(ids)
  }

  hold(holder: Holder): Disposable {
    this.#holders.add(holder)
    return { [Symbol.dispose]: () => void this.#holders.delete(holder) }
  }

  async protect(): Promise<Protection> {
    if (this.#touched !== null) throw new VarveError('MAINTENANCE_RUNNING', 'a collection of this tenant is running')
    const touched = new Fingerprints()
    this.#touched = touched
    for (const holder of this.#holders) this.#add(holder.ids?.() ?? [])
    return {
      // once it is full, other ids may have been touched as well
      uncovered: (ids, work) =>
        work([...ids.keys()].filter((at) => touched.size < this.#touchedMax && !touched.has(ids[at]!))),
      trees: async () => [...this.#holders].flatMap(({ tree }) => (tree === undefined ? [] : [tree])),
      [Symbol.asyncDispose]: async () => void (this.#touched = null),
    }
  }

  #add(ids: Iterable<Uint8Array>): void {
    const touched = this.#touched
    if (touched === null) return
    for (const id of ids) {
      if (touched.size >= this.#touchedMax) return
      touched.add(id)
    }
  }
}
