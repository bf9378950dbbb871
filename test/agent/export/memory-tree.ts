// Trees and disks in memory, as exports use them.
import type { Piece } from '../../../agent/export/chunk-source.ts'
import type { ExportedDisk } from '../../../agent/export/connection.ts'
import type { MappedTree } from '../../../agent/export/extents.ts'
import { contextsOf } from '../../../agent/export/negotiation.ts'
import { decodeNode, nodeKey, rootLevel, TreeBuilder, type TreeNode } from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'

export const CHUNK_BYTES = 4096

const ID_KEY = new Uint8Array(32).fill(5)

/** The tree over some bytes. */
export const treeOf = (bytes: Buffer): MappedTree => {
  const chunks = Math.ceil(bytes.length / CHUNK_BYTES)
  const nodes = new Map<string, TreeNode>()
  const builder = new TreeBuilder({
    chunks,
    hash: keyedHash,
    nodeKey: nodeKey(keyedHash, ID_KEY),
    onNode: ({ level, position, bytes: node }) =>
      void nodes.set(`${level}/${Math.floor(position / 64 ** (level + 1))}`, decodeNode(node)),
  })
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    const plain = bytes.subarray(at, at + CHUNK_BYTES)
    builder.place(0, plain.some((byte) => byte !== 0) ? keyedHash(ID_KEY, plain) : null)
  }
  const root = builder.finish()
  const node = async (level: number, position: number): Promise<TreeNode | null> =>
    nodes.get(`${level}/${Math.floor(position / 64 ** (level + 1))}`) ?? null
  return { chunks, rootLevel: rootLevel(chunks), root, node }
}

/** A disk with these bytes, of which reads come in pieces of a chunk; `fails` says where they fail. */
export const diskOf = (
  bytes: Buffer,
  { before = null, fails = () => false }: { before?: Buffer | null; fails?: (offset: number) => boolean } = {},
): ExportedDisk => ({
  name: 'vda',
  description: 'db1 at some time',
  size: bytes.length,
  preferred: CHUNK_BYTES,
  chunkBytes: CHUNK_BYTES,
  contexts: contextsOf(before === null ? null : 'p1'),
  tree: treeOf(bytes),
  since: before === null ? null : { tree: treeOf(before) },
  source: {
    async *read(offset, length): AsyncGenerator<Piece> {
      for (let at = offset; at < offset + length;) {
        const end = Math.min(offset + length, (Math.floor(at / CHUNK_BYTES) + 1) * CHUNK_BYTES)
        if (fails(at)) throw new Error('cannot be read')
        const piece = bytes.subarray(at, end)
        yield { length: end - at, bytes: piece.some((byte) => byte !== 0) ? piece : null, release: () => {} }
        at = end
      }
    },
  },
})
