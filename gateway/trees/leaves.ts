// The chunks of an image from left to right, in runs.
import { VarveError } from '../../protocol/errors.ts'
import { childSpan, rootLevel, type Ref } from '../../protocol/image-tree.ts'
import type { ReadNodes } from './node-reader.ts'
import { childrenOf, walk, wholeTree, type Subtree } from './walk.ts'

/** Chunks behind one another: all zero, each with its id, or lost with a node that cannot be read. */
export interface LeafRun {
  /** Index of the first chunk. */
  readonly position: number
  readonly count: number
  /** At most FAN_OUT ids, or null for a run of zeroes, or of what is lost, of any length. */
  readonly ids: readonly Uint8Array[] | null
  /** True where nobody can say what was there; only in walks around damage. */
  readonly lost?: true
}

interface Range {
  readonly position: number
  end: number
}

/** What lies between the chunks that are there: zeroes, and what is lost. */
class Gaps {
  #next: number
  /** Not told yet, in order. */
  #lost: Range[] = []

  constructor(from: number) {
    this.#next = from
  }

  lose(range: Range): void {
    this.#lost.push(range)
    this.#lost.sort((a, b) => a.position - b.position)
  }

  /** What there is up to a chunk, behind which `count` ones are told. */
  *upTo(position: number, count = 0): Generator<LeafRun> {
    while (this.#next < position) {
      const lost = this.#lost[0]
      if (lost === undefined || lost.position > this.#next) {
        yield this.#run(Math.min(lost?.position ?? position, position), {})
        continue
      }
      // neighbours are one run
      let end = lost.end
      for (this.#lost.shift(); this.#lost[0]?.position === end; this.#lost.shift()) end = this.#lost[0].end
      yield this.#run(end, { lost: true })
    }
    this.#next = position + count
  }

  #run(end: number, kind: Pick<LeafRun, 'lost'>): LeafRun {
    const position = this.#next
    this.#next = end
    return { position, count: end - position, ids: null, ...kind }
  }
}

/**
 * The chunks of an image from `from` on, in ascending runs without gaps or overlaps up to `chunks`; neighbouring zeroes are one
 * run. A node that cannot be read is DATA_DAMAGED, or with `onDamaged`, which is told of it, what it leads to is lost.
 */
export async function* leaves(
  read: ReadNodes,
  root: Ref,
  chunks: number,
  {
    from = 0,
    onDamaged = null,
  }: { readonly from?: number; readonly onDamaged?: ((error: VarveError) => Promise<void>) | null } = {},
): AsyncGenerator<LeafRun> {
  // what lies before `from` and past the image's end is never read
  const enter = (_: Uint8Array, level: number, position: number): boolean =>
    position + childSpan(level + 1) > from && position < chunks
  const gaps = new Gaps(from)
  for await (const { level, position, node } of walk(wholeTree(root), rootLevel(chunks), { read, enter })) {
    if (node instanceof VarveError) {
      if (onDamaged === null) throw node
      await onDamaged(node)
      gaps.lose({ position: Math.max(position, from), end: Math.min(position + childSpan(level + 1), chunks) })
      continue
    }
    if (level > 0) continue
    for (const run of neighbours(childrenOf(node, position), from, chunks)) {
      yield* gaps.upTo(run.position, run.count)
      yield run
    }
  }
  yield* gaps.upTo(chunks)
}

/** Chunks of one node from `from` up to `end` in runs. */
function* neighbours(chunks: Iterable<Subtree>, from: number, end: number): Generator<LeafRun> {
  let ids: Uint8Array[] = []
  let begin = from
  for (const { id, position } of chunks) {
    if (position < from || position >= end) continue
    if (position !== begin + ids.length) {
      if (ids.length > 0) yield { position: begin, count: ids.length, ids }
      ids = []
    }
    if (ids.length === 0) begin = position
    ids.push(id)
  }
  if (ids.length > 0) yield { position: begin, count: ids.length, ids }
}
