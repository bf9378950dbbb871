// The image tree: the hash tree over an image's chunks, its node format, and its left-to-right builder.
import { equalBytes, ID_BYTES, type KeyedHash } from './chunk.ts'
import { VarveError } from './errors.ts'

/** Children of a node. Measured against 128 and 256 in test/bench/fan-out.ts. */
export const FAN_OUT = 64

/** Highest level of a root: 64^8 = 2^48 chunks. */
export const LEVEL_MAX = 7

// node = level (1 byte) | kind bitmap (FAN_OUT / 8 bytes, bit i of byte i/8 set: child i is present)
//        | ids of the present children in order (32 bytes each)
const BITMAP_BYTES = FAN_OUT / 8
const NODE_HEADER_BYTES = 1 + BITMAP_BYTES

/** Largest encoded node, in bytes. */
export const NODE_BYTES_MAX = NODE_HEADER_BYTES + FAN_OUT * ID_BYTES

/** A child: the id of a chunk (level 0) or of a node (higher levels), or `null` for an all-zero subtree. */
export type Ref = Uint8Array | null

const isPresent = (bytes: Uint8Array, index: number): boolean => ((bytes[1 + (index >> 3)]! >> (index & 7)) & 1) === 1

/** Where the id of the child at `index` begins among a node's bytes, or would if it were present. */
const idOffset = (bytes: Uint8Array, index: number): number => {
  let offset = NODE_HEADER_BYTES
  for (let before = 0; before < index; before++) if (isPresent(bytes, before)) offset += ID_BYTES
  return offset
}

/** A node as it is stored: its refs are views of its bytes, made when they are asked for, so that one that is kept is small. */
export class TreeNode {
  readonly level: number
  readonly bytes: Uint8Array

  /** Of exactly these bytes, which decodeNode has looked at. */
  constructor(bytes: Uint8Array) {
    this.level = bytes[0]!
    this.bytes = bytes
  }

  /** The child at `index`, below FAN_OUT. */
  child(index: number): Ref {
    const offset = idOffset(this.bytes, index)
    return isPresent(this.bytes, index) ? this.bytes.subarray(offset, offset + ID_BYTES) : null
  }

  /** FAN_OUT entries. */
  get children(): readonly Ref[] {
    return this.slice(0, FAN_OUT)
  }

  /** The children from `from` on, at most `count`. */
  slice(from: number, count: number): readonly Ref[] {
    let offset = idOffset(this.bytes, from)
    return Array.from({ length: Math.min(count, FAN_OUT - from) }, (_, index) =>
      isPresent(this.bytes, from + index) ? this.bytes.subarray(offset, (offset += ID_BYTES)) : null,
    )
  }
}

/** Chunks below one child of a node of this level. */
export const childSpan = (level: number): number => FAN_OUT ** level

/** Level of the root over so many chunks: the smallest whose node spans them all. */
export const rootLevel = (chunks: number): number => {
  let level = 0
  while (childSpan(level + 1) < chunks) level++
  return level
}

/** Bytes of a node that has at least one present child. */
export const encodeNode = (level: number, children: readonly Ref[]): Uint8Array => {
  const present = children.reduce((count, child) => count + (child === null ? 0 : 1), 0)
  const bytes = new Uint8Array(NODE_HEADER_BYTES + present * ID_BYTES)
  bytes[0] = level
  let at = NODE_HEADER_BYTES
  for (const [index, child] of children.entries()) {
    if (child === null) continue
    bytes[1 + (index >> 3)]! |= 1 << (index & 7)
    bytes.set(child, at)
    at += ID_BYTES
  }
  return bytes
}

/** The node of these bytes; DATA_DAMAGED when they are not exactly one. */
export const decodeNode = (bytes: Uint8Array): TreeNode => {
  const level = bytes[0]
  if (level === undefined || level > LEVEL_MAX || bytes.length < NODE_HEADER_BYTES + ID_BYTES)
    throw new VarveError('DATA_DAMAGED', 'a tree node is malformed')
  if (idOffset(bytes, FAN_OUT) !== bytes.length)
    throw new VarveError('DATA_DAMAGED', 'a tree node has the wrong length')
  return new TreeNode(bytes)
}

/** What a node id is keyed with: the tenant's id key in a domain of its own, so that no chunk can pass for a node. */
export const nodeKey = (hash: KeyedHash, idKey: Uint8Array): Uint8Array =>
  hash(idKey, new TextEncoder().encode('varve image tree node v1'))

export interface NewNode {
  readonly id: Uint8Array
  readonly bytes: Uint8Array
  readonly level: number
  /** Position of the node's first chunk. */
  readonly position: number
}

/** What a builder needs to go on later: its position and, for each level, the children already placed in the open node. */
export interface BuilderState {
  readonly position: number
  readonly open: readonly (readonly Ref[])[]
}

/**
 * Builds an image tree from left to right: each call places the next chunk or aligned subtree; finished nodes go to `onNode`.
 * Holds one open node per level, so its memory does not depend on the disk's size.
 */
export class TreeBuilder {
  readonly chunks: number
  readonly rootLevel: number
  #position = 0
  readonly #open: Ref[][]
  readonly #hash: KeyedHash
  readonly #key: Uint8Array
  readonly #onNode: (node: NewNode) => void

  constructor(options: {
    chunks: number
    hash: KeyedHash
    nodeKey: Uint8Array
    onNode: (node: NewNode) => void
    state?: BuilderState
  }) {
    this.chunks = options.chunks
    this.rootLevel = rootLevel(options.chunks)
    this.#hash = options.hash
    this.#key = options.nodeKey
    this.#onNode = options.onNode
    this.#open = Array.from({ length: this.rootLevel + 2 }, () => [])
    if (options.state !== undefined) {
      this.#position = options.state.position
      for (const [level, children] of options.state.open.entries()) this.#open[level] = [...children]
    }
  }

  /** The next position to be placed, in chunks. */
  get position(): number {
    return this.#position
  }

  get state(): BuilderState {
    return { position: this.#position, open: this.#open.map((children) => [...children]) }
  }

  /** The largest level whose child can be placed here with at most `count` chunks (past the image's end counts as filled). */
  placeableLevel(count: number): number {
    const end = this.#position + count
    let level = 0
    while (level < this.rootLevel) {
      const span = childSpan(level + 1)
      if (this.#position % span !== 0 || Math.min(this.#position + span, this.chunks) > end) break
      level++
    }
    return level
  }

  /** Places one child of a node of this level: a chunk id or subtree id, or `null` for zeroes. */
  place(level: number, ref: Ref): void {
    const span = childSpan(level)
    if (level > this.rootLevel || this.#position % span !== 0 || this.#position >= this.chunks)
      throw new VarveError('UPLOAD_INVALID', `cannot place level ${level} at chunk ${this.#position}`)
    this.#position = Math.min(this.#position + span, this.chunks)
    this.#push(level, ref)
  }

  /** Places `count` zero chunks. */
  placeZeroes(count: number): void {
    let left = count
    while (left > 0) {
      const level = this.placeableLevel(left)
      const before = this.#position
      this.place(level, null)
      left -= this.#position - before
    }
  }

  /** The root id, or `null` for an all-zero image; IMAGE_INCOMPLETE unless every chunk was placed. */
  finish(): Ref {
    if (this.#position !== this.chunks)
      throw new VarveError(
        'IMAGE_INCOMPLETE',
        `the image ends at chunk ${this.chunks}, but only ${this.#position} were placed`,
      )
    return this.#open[this.rootLevel + 1]![0] ?? null
  }

  #push(level: number, ref: Ref): void {
    const open = this.#open[level]!
    open.push(ref)
    if (level > this.rootLevel || (open.length < FAN_OUT && this.#position < this.chunks)) return
    // the node is full, or the image ends here: what is beyond the end counts as zero
    this.#open[level] = []
    let up: Ref = null
    if (open.some((child) => child !== null)) {
      while (open.length < FAN_OUT) open.push(null)
      const bytes = encodeNode(level, open)
      up = this.#hash(this.#key, bytes)
      const span = childSpan(level + 1)
      this.#onNode({ id: up, bytes, level, position: Math.floor((this.#position - 1) / span) * span })
    }
    this.#push(level + 1, up)
  }
}

export const sameRef = (a: Ref, b: Ref): boolean => (a === null || b === null ? a === b : equalBytes(a, b))
