// Places an upload's runs in a new image tree, taking kept ranges over from the base a whole subtree at a time.
import type { KeyedHash } from '../../protocol/chunk.ts'
import { decode, encode } from '../../protocol/codec.ts'
import { VarveError } from '../../protocol/errors.ts'
import {
  childSpan,
  nodeKey,
  TreeBuilder,
  type BuilderState,
  type NewNode,
  type Ref,
} from '../../protocol/image-tree.ts'

/** Finds the subtrees of a stored tree from a position on: at least one, at most `count`; see trees/places.ts. */
export type ChildrenAt = (level: number, position: number, count: number) => Promise<readonly Ref[]>

export const EMPTY_STATE: BuilderState = { position: 0, open: [] }

/** The builder's state as it is kept with the upload; a few KiB whatever the disk's size. */
export const encodeState = (state: BuilderState): Uint8Array => encode([state.position, state.open])

export const decodeState = (bytes: Uint8Array): BuilderState => {
  const [position, open] = decode(bytes) as [number, Ref[][]]
  return { position, open }
}

export class ImageBuilder {
  readonly #builder: TreeBuilder
  readonly #base: ChildrenAt | null

  constructor(options: {
    chunks: number
    idKey: Uint8Array
    hash: KeyedHash
    state: Uint8Array
    base: ChildrenAt | null
    onNode: (node: NewNode) => void
  }) {
    const { chunks, hash, idKey, onNode } = options
    this.#builder = new TreeBuilder({
      chunks,
      hash,
      nodeKey: nodeKey(hash, idKey),
      onNode,
      state: decodeState(options.state),
    })
    this.#base = options.base
  }

  get position(): number {
    return this.#builder.position
  }

  get state(): Uint8Array {
    return encodeState(this.#builder.state)
  }

  zeroes(count: number): void {
    this.#fits(count)
    this.#builder.placeZeroes(count)
  }

  chunk(id: Uint8Array): void {
    this.#fits(1)
    // the id is a view of a received frame; a copy does not keep that frame alive
    this.#builder.place(0, Uint8Array.from(id))
  }

  /** Takes `count` chunks over from the base; UPLOAD_INVALID for an image without one. */
  async keep(count: number): Promise<void> {
    if (this.#base === null) throw new VarveError('UPLOAD_INVALID', 'this image has no base to keep chunks of')
    this.#fits(count)
    const end = this.#builder.position + count
    while (this.#builder.position < end) {
      const { position, chunks } = this.#builder
      const level = this.#builder.placeableLevel(end - position)
      const subtrees = (end - position) / childSpan(level)
      // scattered changes leave long rows of single chunks between them: those of one node are taken at once
      const whole = end === chunks ? Math.ceil(subtrees) : Math.floor(subtrees)
      for (const ref of await this.#base(level, position, whole)) this.#builder.place(level, ref)
    }
  }

  /** The root; IMAGE_INCOMPLETE unless every chunk was placed. */
  finish(): Ref {
    return this.#builder.finish()
  }

  #fits(count: number): void {
    const { position, chunks } = this.#builder
    if (count > chunks - position)
      throw new VarveError('UPLOAD_INVALID', `runs go to chunk ${position + count}, the image ends at ${chunks}`)
  }
}
