// The runs of one upload between their arrival and their place in the tree: those that wait for an answer and those ahead of the
// tree.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { UPLOAD_AHEAD_ITEMS_MAX, UPLOAD_IDS_MAX, UPLOAD_WAITING_ITEMS_MAX } from '../../protocol/limits.ts'
import { RUN, type Up } from '../../protocol/methods.ts'

/** Runs and ids that may always be answered and not durable yet, however little memory there is. */
export const AHEAD_ITEMS_MIN = 2048

export type RunsMessage = Extract<Up<'image.upload'>, [0, unknown]>[1]

/** One `runs` message, packed, and how many of its ids still wait for their chunk or proof. */
export interface RunBatch {
  /** Of each run. */
  readonly kinds: Uint8Array
  /** Chunks of each run. */
  readonly counts: Float64Array
  /** Of all runs of ids, one behind the other. */
  readonly ids: Uint8Array
  /** Runs and ids it holds in memory, and one for itself. */
  readonly items: number
  missing: number
  /** The mark of the tenant's arrivals before its ids were looked up. */
  absentAt: number
}

/** One run: how many chunks it is, and their ids where it has some. */
export interface BatchRun {
  readonly kind: number
  readonly count: number
  readonly ids: Uint8Array | null
}

/** A batch of received runs, without the frame that their ids are views of. UPLOAD_INVALID past UPLOAD_IDS_MAX ids. */
export const batchOfRuns = (received: RunsMessage): RunBatch => {
  const counts = Float64Array.from(received, ([kind, value]) => (kind === RUN.ids ? value.length / ID_BYTES : value))
  const kinds = Uint8Array.from(received, ([kind]) => kind)
  const count = counts.reduce((sum, one, index) => sum + (kinds[index] === RUN.ids ? one : 0), 0)
  if (count > UPLOAD_IDS_MAX)
    throw new VarveError('UPLOAD_INVALID', `a message of runs has ${count} ids, at most ${UPLOAD_IDS_MAX} are allowed`)
  const ids = new Uint8Array(count * ID_BYTES)
  let at = 0
  for (const [kind, value] of received) {
    if (kind !== RUN.ids) continue
    ids.set(value, at)
    at += value.length
  }
  return { kinds, counts, ids, items: 1 + received.length + count, missing: 0, absentAt: 0 }
}

/** The runs of a batch in order. */
export function* runsOf({ kinds, counts, ids }: RunBatch): Generator<BatchRun> {
  let at = 0
  for (const [index, kind] of kinds.entries()) {
    const count = counts[index]!
    const end = at + (kind === RUN.ids ? count * ID_BYTES : 0)
    yield { kind, count, ids: kind === RUN.ids ? ids.subarray(at, end) : null }
    at = end
  }
}

/** Makes room for so many items that are answered and not durable, beyond AHEAD_ITEMS_MIN; fewer than before free some. */
export type ItemRoom = (items: number) => boolean

/** Queues in order, each bounded by what it holds. */
export class Backlog {
  readonly #room: ItemRoom
  readonly #waiting: RunBatch[] = []
  readonly #ahead: RunBatch[] = []
  /** In the tree, whose state is not durable yet. */
  #placed: RunBatch[] = []
  #waitingItems = 0
  #aheadItems = 0
  #placedItems = 0

  constructor(room: ItemRoom) {
    this.#room = room
  }

  /** Batches that wait for their answer. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Batches that are answered and not placed. */
  get ahead(): number {
    return this.#ahead.length
  }

  /** Items that are in the tree and not durable. */
  get placedItems(): number {
    return this.#placedItems
  }

  /** The batch to be placed next, if all of its chunks are there. */
  get placeable(): RunBatch | null {
    const [head] = this.#ahead
    return head !== undefined && head.missing === 0 ? head : null
  }

  /** The batch to be answered next, if there is room for it: one always has it. */
  get answerable(): RunBatch | null {
    const [first] = this.#waiting
    if (first === undefined) return null
    if (this.#ahead.length === 0) return first
    const items = this.#aheadItems + this.#placedItems + first.items
    return items <= UPLOAD_AHEAD_ITEMS_MAX && this.#fits(items) ? first : null
  }

  /** Takes a received batch; UPLOAD_INVALID past UPLOAD_WAITING_ITEMS_MAX. */
  add(batch: RunBatch): void {
    if (this.#waitingItems + batch.items > UPLOAD_WAITING_ITEMS_MAX)
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
    this.#placedItems += batch.items
  }

  /** Batches that are in the tree now; to be given to `committed` once they are durable. */
  get uncommitted(): number {
    return this.#placed.length
  }

  /** The first so many batches of the tree are durable now. */
  committed(batches: number): void {
    for (const { items } of this.#placed.splice(0, batches)) this.#placedItems -= items
    this.#fits(this.#aheadItems + this.#placedItems)
  }

  /** Every id that was named and is not durable yet. */
  *ids(): Generator<Uint8Array> {
    for (const { ids } of [...this.#placed, ...this.#ahead, ...this.#waiting])
      for (let at = 0; at < ids.length; at += ID_BYTES) yield ids.subarray(at, at + ID_BYTES)
  }

  #fits(items: number): boolean {
    return this.#room(Math.max(0, items - AHEAD_ITEMS_MIN))
  }
}
