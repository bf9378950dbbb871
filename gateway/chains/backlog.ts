// The runs of one upload between their arrival and their place in the tree: those that wait for an answer and those ahead of the tree.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { UPLOAD_IDS_MAX } from '../../protocol/limits.ts'
import { RUN, type Up } from '../../protocol/methods.ts'

/** Runs and ids that are answered and not yet placed in the tree; further ones wait for room. */
export const AHEAD_ITEMS_MAX = 256 * 1024

/** Runs and ids that wait for their answer; an agent has far fewer outstanding. */
export const WAITING_ITEMS_MAX = 128 * 1024

export type Runs = Extract<Up<'image.upload'>, [0, unknown]>[1]

/** One `runs` message and how many of its ids still wait for their chunk or proof. */
export interface Batch {
  readonly runs: Runs
  /** Runs and ids it holds in memory, and one for itself. */
  readonly items: number
  missing: number
}

/** A batch of received runs, without the frame that their ids are views of. UPLOAD_INVALID past UPLOAD_IDS_MAX ids. */
export const batchOfRuns = (received: Runs): Batch => {
  let ids = 0
  const runs = received.map((run): Runs[number] => {
    if (run[0] !== RUN.ids) return [run[0], run[1]]
    ids += run[1].length / ID_BYTES
    return [RUN.ids, Uint8Array.from(run[1])]
  })
  if (ids > UPLOAD_IDS_MAX)
    throw new VarveError('UPLOAD_INVALID', `a message of runs has ${ids} ids, at most ${UPLOAD_IDS_MAX} are allowed`)
  return { runs, items: 1 + runs.length + ids, missing: 0 }
}

/** Two queues in order, each bounded by what it holds. */
export class Backlog {
  readonly #waiting: Batch[] = []
  readonly #ahead: Batch[] = []
  /** In the tree, whose state is not durable yet. */
  #placed: Batch[] = []
  #waitingItems = 0
  #aheadItems = 0

  /** Batches that wait for their answer. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Batches that are answered and not placed. */
  get ahead(): number {
    return this.#ahead.length
  }

  /** The batch to be placed next, if all of its chunks are there. */
  get placeable(): Batch | null {
    const [head] = this.#ahead
    return head !== undefined && head.missing === 0 ? head : null
  }

  /** The batch to be answered next, if there is room for it. */
  get answerable(): Batch | null {
    const [first] = this.#waiting
    if (first === undefined) return null
    return this.#ahead.length === 0 || this.#aheadItems + first.items <= AHEAD_ITEMS_MAX ? first : null
  }

  /** Takes a received batch; UPLOAD_INVALID past WAITING_ITEMS_MAX. */
  add(batch: Batch): void {
    if (this.#waitingItems + batch.items > WAITING_ITEMS_MAX)
      throw new VarveError('UPLOAD_INVALID', 'too many runs wait for their answers')
    this.#waiting.push(batch)
    this.#waitingItems += batch.items
  }

  /** The first waiting batch has its answer. */
  answered(): void {
    const batch = this.#waiting.shift()
    if (batch === undefined) return
    this.#waitingItems -= batch.items
    this.#ahead.push(batch)
    this.#aheadItems += batch.items
  }

  /** The first answered batch is in the tree. */
  placed(): void {
    const batch = this.#ahead.shift()
    if (batch === undefined) return
    this.#aheadItems -= batch.items
    this.#placed.push(batch)
  }

  /** Every batch in the tree is durable now. */
  committed(): void {
    this.#placed = []
  }

  /** Every id that was named and is not durable yet. */
  *ids(): Generator<Uint8Array> {
    for (const { runs } of [...this.#placed, ...this.#ahead, ...this.#waiting])
      for (const [kind, value] of runs)
        if (kind === RUN.ids)
          for (let at = 0; at < value.length; at += ID_BYTES) yield value.subarray(at, at + ID_BYTES)
  }
}
