// A bounded cache of decoded tree nodes of all tenants, the least recently used one is evicted first.
import type { TreeNode } from '../../protocol/image-tree.ts'
import { idName } from '../../protocol/host/bytes.ts'

/** Nodes kept; about 2 KiB each. */
const NODES_CACHED_MAX = 4096

export class NodeCache {
  readonly #nodes = new Map<string, TreeNode>()
  readonly #max: number

  constructor(max = NODES_CACHED_MAX) {
    this.#max = max
  }

  /** Number of nodes held. */
  get size(): number {
    return this.#nodes.size
  }

  get(tenant: string, id: Uint8Array): TreeNode | undefined {
    const name = `${tenant}:${idName(id)}`
    const node = this.#nodes.get(name)
    if (node === undefined) return undefined
    this.#nodes.delete(name)
    this.#nodes.set(name, node)
    return node
  }

  delete(tenant: string, id: Uint8Array): void {
    this.#nodes.delete(`${tenant}:${idName(id)}`)
  }

  set(tenant: string, id: Uint8Array, node: TreeNode): void {
    const name = `${tenant}:${idName(id)}`
    this.#nodes.delete(name)
    this.#nodes.set(name, node)
    if (this.#nodes.size <= this.#max) return
    for (const oldest of this.#nodes.keys()) {
      this.#nodes.delete(oldest)
      return
    }
  }
}
