// Chunks, ids and the tree of an image, after section "Ids and trees" of PROTOCOL.md and nothing else.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { blake3 } from '@noble/hashes/blake3.js'

const FAN_OUT = 64
const HEAD_BYTES = 6
const PART_BYTES = 36

/** Chunks of one bundle. */
export const TOGETHER = 4

export const keyed = (key: Uint8Array, bytes: Uint8Array): Uint8Array => blake3(bytes, { key })

/** The chunks of an image in order, the last one as short as the image ends. */
export const chunksOf = (image: Uint8Array, chunkBytes: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(image.length / chunkBytes) }, (_, index) =>
    image.subarray(index * chunkBytes, (index + 1) * chunkBytes),
  )

export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

/** The id of each chunk, null for zeroes. */
export const idsOf = (chunks: readonly Uint8Array[], idKey: Uint8Array): (Uint8Array | null)[] =>
  chunks.map((chunk) => (isZero(chunk) ? null : keyed(idKey, chunk)))

const nodeId = (level: number, children: readonly (Uint8Array | null)[], key: Uint8Array): Uint8Array | null => {
  if (children.every((child) => child === null)) return null
  const head = new Uint8Array(9)
  head[0] = level
  children.forEach((child, index) => {
    if (child !== null) head[1 + Math.floor(index / 8)]! |= 1 << (index % 8)
  })
  return keyed(key, Buffer.concat([head, ...children.filter((child) => child !== null)]))
}

/** The root over these chunk ids; null for an image of zeroes. */
export const rootOf = (ids: readonly (Uint8Array | null)[], idKey: Uint8Array): Uint8Array | null => {
  const key = keyed(idKey, new TextEncoder().encode('varve image tree node v1'))
  let refs = [...ids]
  for (let level = 0; ; level++) {
    const nodes: (Uint8Array | null)[] = []
    for (let at = 0; at < refs.length; at += FAN_OUT) nodes.push(nodeId(level, refs.slice(at, at + FAN_OUT), key))
    if (nodes.length === 1) return nodes[0]!
    refs = nodes
  }
}

interface Chunk {
  readonly id: Uint8Array
  readonly plain: Uint8Array
}

/** `heads` and `stored` of a message of chunks, in bundles of up to TOGETHER: zstd where that is shorter. */
export const chunksMessage = (chunks: readonly Chunk[]): [Uint8Array, Uint8Array] => {
  const heads: Buffer[] = []
  const stored: Uint8Array[] = []
  for (let from = 0; from < chunks.length; from += TOGETHER) {
    const bundle = chunks.slice(from, from + TOGETHER)
    const plain = Buffer.concat(bundle.map((chunk) => chunk.plain))
    const packed = zstdCompressSync(plain, { pledgedSrcSize: plain.length })
    const shorter = packed.length < plain.length
    const bytes = shorter ? packed : plain
    const head = Buffer.alloc(HEAD_BYTES)
    head.writeUInt8(shorter ? 1 : 0, 0)
    head.writeUInt8(bundle.length, 1)
    head.writeUInt32BE(bytes.length, 2)
    heads.push(head)
    for (const chunk of bundle) {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(chunk.plain.length)
      heads.push(Buffer.from(chunk.id), length)
    }
    stored.push(bytes)
  }
  return [Uint8Array.from(Buffer.concat(heads)), Uint8Array.from(Buffer.concat(stored))]
}

/** The plain chunks of a message, each checked against its id. */
export const plainOf = (heads: Uint8Array, stored: Uint8Array, idKey: Uint8Array): Uint8Array[] => {
  const view = new DataView(heads.buffer, heads.byteOffset, heads.byteLength)
  const plains: Uint8Array[] = []
  let from = 0
  for (let at = 0; at < heads.length;) {
    const bytes = stored.subarray(from, (from += view.getUint32(at + 2)))
    const bundle = view.getUint8(at) === 1 ? Uint8Array.from(zstdDecompressSync(bytes)) : bytes
    const end = at + HEAD_BYTES + view.getUint8(at + 1) * PART_BYTES
    let next = 0
    for (at += HEAD_BYTES; at < end; at += PART_BYTES) {
      const plain = bundle.subarray(next, (next += view.getUint32(at + 32)))
      if (Buffer.compare(keyed(idKey, plain), heads.subarray(at, at + 32)) !== 0)
        throw new Error('a chunk is not what its head says')
      plains.push(plain)
    }
    if (next !== bundle.length) throw new Error('a bundle is longer than its chunks')
  }
  return plains
}
