// Trees in memory, built from a plain list of refs, with a reader that counts.
import * as fc from 'fast-check'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  decodeNode,
  FAN_OUT,
  TreeBuilder,
  type NewNode,
  type Ref,
  type TreeNode,
} from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { ReadNodes } from '../../../gateway/trees/node-reader.ts'

export const KEY = new Uint8Array(32).fill(5)
const IDS = Array.from({ length: 97 }, (_, index) => keyedHash(KEY, Buffer.from(`chunk ${index}`)))
export const idOf = (index: number): Uint8Array => IDS[(index + Math.floor(index / FAN_OUT)) % IDS.length]!

/** Alternating runs of zero and present chunks of random lengths. */
export const refsArbitrary = fc
  .array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 9000 })), { minLength: 1, maxLength: 6 })
  .map((runs) => {
    const refs: Ref[] = []
    for (const [present, count] of runs) for (let i = 0; i < count; i++) refs.push(present ? idOf(refs.length) : null)
    return refs
  })

export interface Tree {
  readonly root: Ref
  readonly chunks: number
  /** Reads of what is in `nodes` when it is asked. */
  readonly source: { reads: number; calls: number; readonly read: ReadNodes }
  readonly nodes: Map<string, TreeNode>
}

export const build = (refs: readonly Ref[]): Tree => {
  const nodes = new Map<string, TreeNode>()
  const onNode = ({ id, bytes }: NewNode): void => void nodes.set(hex(id), decodeNode(bytes))
  const builder = new TreeBuilder({ chunks: refs.length, hash: keyedHash, nodeKey: KEY, onNode })
  for (const ref of refs) builder.place(0, ref)
  const source: Tree['source'] = {
    reads: 0,
    calls: 0,
    read: async (ids, level) => {
      source.reads += ids.length
      source.calls++
      return ids.map((id) => {
        const node = nodes.get(hex(id))
        if (node !== undefined && (level === null || node.level === level)) return node
        return new VarveError('DATA_DAMAGED', hex(id), { details: { id: hex(id) } })
      })
    },
  }
  return { root: builder.finish(), chunks: refs.length, source, nodes }
}
