// Walks over image trees: the leaves of an image from left to right, and single subtrees.
import { hex } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { childSpan, FAN_OUT, rootLevel, type Ref, type TreeNode } from '../../protocol/image-tree.ts'

/** What a walk needs of a store. */
export interface NodeSource {
  /** Nodes in the order asked; DATA_DAMAGED. */
  nodes(ids: readonly Uint8Array[]): Promise<TreeNode[]>
}

/** A source that tells of each node by itself whether it can be read. */
export interface PatientSource {
  /** Each node in the order asked, or the DATA_DAMAGED that it is. */
  tryNodes(ids: readonly Uint8Array[]): Promise<(TreeNode | VarveError)[]>
}

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

const checkLevel = (id: Uint8Array, node: TreeNode, level: number): TreeNode => {
  if (node.level === level) return node
  const name = hex(id)
  throw new VarveError('DATA_DAMAGED', `tree node ${name} has level ${node.level}, not ${level}`, {
    details: { id: name },
  })
}

/** Gives nodes of one level in the order asked; null for one that the walk goes around. */
type ReadNodes = (ids: readonly Uint8Array[], level: number) => Promise<(TreeNode | null)[]>

const readAll =
  (source: NodeSource): ReadNodes =>
  async (ids, level) => {
    const nodes = await source.nodes(ids)
    return nodes.map((node, index) => checkLevel(ids[index]!, node, level))
  }

const readAround =
  (source: PatientSource, onDamaged: (error: VarveError) => Promise<void>): ReadNodes =>
  async (ids, level) => {
    const found: (TreeNode | null)[] = []
    for (const [index, node] of (await source.tryNodes(ids)).entries()) {
      try {
        if (node instanceof VarveError) throw node
        found.push(checkLevel(ids[index]!, node, level))
      } catch (thrown) {
        await onDamaged(asVarveError(thrown))
        found.push(null)
      }
    }
    return found
  }

/** The children of several nodes of one level, read together. */
const childrenOf = async (read: ReadNodes, refs: readonly Ref[], level: number): Promise<Map<Ref, TreeNode | null>> => {
  const ids = refs.filter((ref) => ref !== null)
  const nodes = await read(ids, level)
  return new Map(ids.map((id, index) => [id, nodes[index]!]))
}

/**
 * Runs of one node's subtree, zero runs not yet merged; reads the children of a node together and its next level only when it
 * comes to it.
 */
async function* runs(
  read: ReadNodes,
  node: TreeNode,
  start: number,
  bounds: { readonly chunks: number; readonly from: number },
): AsyncGenerator<LeafRun> {
  const span = childSpan(node.level)
  // children before `from` and past the image's end are never read
  const inside = node.children.map(
    (_, index) => start + (index + 1) * span > bounds.from && start + index * span < bounds.chunks,
  )
  const wanted = node.children.map((ref, index) => (inside[index] ? ref : null))
  const below = node.level > 0 ? await childrenOf(read, wanted, node.level - 1) : null
  for (const [index, ref] of node.children.entries()) {
    if (!inside[index]) continue
    const position = Math.max(start + index * span, bounds.from)
    const end = Math.min(start + (index + 1) * span, bounds.chunks)
    if (ref === null) yield { position, count: end - position, ids: null }
    else if (below === null) yield { position, count: 1, ids: [ref] }
    else {
      const child = below.get(ref) ?? null
      if (child === null) yield { position, count: end - position, ids: null, lost: true }
      else yield* runs(read, child, start + index * span, bounds)
    }
  }
}

async function* joined(
  read: ReadNodes,
  root: Ref,
  { chunks, from }: { readonly chunks: number; readonly from: number },
): AsyncGenerator<LeafRun> {
  if (from >= chunks) return
  const level = rootLevel(chunks)
  const top: Ref[] = [root, ...Array<null>(FAN_OUT - 1).fill(null)]
  let open: { position: number; count: number; ids: Uint8Array[] | null; lost?: true } | null = null
  for await (const run of runs(read, { level: level + 1, children: top }, 0, { chunks, from })) {
    const { position, count, ids, lost } = run
    const joins: boolean =
      open !== null &&
      (open.ids === null) === (ids === null) &&
      open.lost === lost &&
      (ids === null || open.count < FAN_OUT)
    if (open !== null && joins) {
      open.count += count
      if (ids !== null) open.ids?.push(...ids)
    } else {
      if (open !== null) yield open
      open = { position, count, ids: ids === null ? null : [...ids], ...(lost === true ? { lost } : {}) }
    }
  }
  if (open !== null) yield open
}

/**
 * The chunks of an image from `from` on, in ascending runs without gaps or overlaps up to `chunks`; neighbouring zero subtrees
 * are one run. DATA_DAMAGED names a node that is absent, damaged or in the wrong place.
 */
export const leaves = (source: NodeSource, root: Ref, chunks: number, from = 0): AsyncGenerator<LeafRun> =>
  joined(readAll(source), root, { chunks, from })

/** The same around nodes that cannot be read, of which `onDamaged` is told: what they lead to is lost. */
export const leavesAround = (
  source: PatientSource,
  root: Ref,
  chunks: number,
  options: { readonly from: number; readonly onDamaged: (error: VarveError) => Promise<void> },
): AsyncGenerator<LeafRun> => joined(readAround(source, options.onDamaged), root, { chunks, from: options.from })

/**
 * The ref that a node of `level` holds for the subtree at chunk `position`, which must be a multiple of that child's span:
 * what TreeBuilder.place(level, ...) takes to keep this subtree. `null` where it is all zero. DATA_DAMAGED, UPLOAD_INVALID.
 */
export const childAt = async (
  source: NodeSource,
  root: Ref,
  rootLevel: number,
  level: number,
  position: number,
): Promise<Ref> => {
  const top = level === rootLevel + 1 && position === 0
  if (!top && (level > rootLevel || level < 0 || position % childSpan(level) !== 0 || position < 0))
    throw new VarveError('UPLOAD_INVALID', `there is no subtree of level ${level} at chunk ${position}`)
  if (position >= childSpan(rootLevel + 1)) return null
  let ref = root
  for (let at = rootLevel; at >= level && ref !== null; at--) {
    const [node] = await source.nodes([ref])
    const index = Math.floor(position / childSpan(at)) % FAN_OUT
    ref = checkLevel(ref, node!, at).children[index]!
  }
  return ref
}

/**
 * What an image holds at each of these chunks, `null` for zeroes; nodes that several of them share are read once. DATA_DAMAGED.
 */
export const chunksAt = async (
  source: NodeSource,
  root: Ref,
  level: number,
  positions: readonly number[],
): Promise<Ref[]> => {
  let refs: Ref[] = positions.map(() => root)
  for (let at = level; at >= 0; at--) {
    const ids = new Map(refs.filter((ref) => ref !== null).map((ref) => [hex(ref), ref]))
    const nodes = await source.nodes([...ids.values()])
    const byId = new Map([...ids].map(([name, id], index) => [name, checkLevel(id, nodes[index]!, at)]))
    refs = refs.map((ref, index) =>
      ref === null ? null : byId.get(hex(ref))!.children[Math.floor(positions[index]! / childSpan(at)) % FAN_OUT]!,
    )
  }
  return refs
}
