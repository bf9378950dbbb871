// What a restore that was broken off left of a disk: read from the left and held against the image's own tree, never trusted.
import { chunkLength, equalBytes, isChunkBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { FAN_OUT, sameRef, type Ref } from '../../protocol/image-tree.ts'
import { ImageReads, type ReadsOptions } from '../export/image-reads.ts'
import { ImageTree } from '../export/image-tree.ts'
import type { Kept } from './restore.ts'
import { contentBytes } from './space.ts'

/** The content of a target before it is written. */
export interface LeftContent {
  read(offset: number, into: Uint8Array): Promise<void>
  cut(offset: number): Promise<void>
}

interface LeftDisk {
  readonly content: LeftContent
  readonly size: number
  readonly root: Ref
  readonly reads: Omit<ReadsOptions, 'reconnectMs'>
}

/** How long the gateway may be away while what is there is looked at: about as long as a restore waits, in milliseconds. */
const RECONNECT_MS = 7 * DAY_MS

interface Held {
  readonly tree: Pick<ImageTree, 'node' | 'chunks'>
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly size: number
}

/** Refs of the image's chunks from the first to before the one that the content does not have, a leaf of the tree at a time. */
export async function* heldRefs(content: Pick<LeftContent, 'read'>, held: Held): AsyncGenerator<readonly Ref[]> {
  const { tree, idKey, chunkBytes, size } = held
  const room = Buffer.alloc(FAN_OUT * chunkBytes)
  const zeroes = Buffer.alloc(chunkBytes)
  const isThere = (ref: Ref, plain: Buffer): boolean =>
    ref === null ? plain.equals(zeroes.subarray(0, plain.length)) : equalBytes(keyedHash(idKey, plain), ref)
  for (let position = 0; position < tree.chunks; position += FAN_OUT) {
    const count = Math.min(FAN_OUT, tree.chunks - position)
    const leaf = await tree.node(0, position)
    const length = Math.min(count * chunkBytes, size - position * chunkBytes)
    await content.read(position * chunkBytes, room.subarray(0, length))
    const refs: Ref[] = []
    for (let at = 0; at < count; at++) {
      const from = at * chunkBytes
      const ref = leaf?.child(at) ?? null
      if (!isThere(ref, room.subarray(from, from + chunkLength(position + at, size, chunkBytes)))) break
      refs.push(ref)
    }
    yield refs
    if (refs.length < count) return
  }
}

/** The same until a part of the tree cannot be read: the download says what is lost. */
async function* untilDamage(refs: AsyncGenerator<readonly Ref[]>): AsyncGenerator<readonly Ref[]> {
  try {
    yield* refs
  } catch (thrown) {
    if (asVarveError(thrown).code !== 'DATA_DAMAGED') throw thrown
  }
}

interface OpenedTree extends AsyncDisposable {
  readonly tree: ImageTree
  readonly idKey: Uint8Array
  readonly chunkBytes: number
}

/** The image's tree as the gateway has it. STREAM_INVALID where it is not that of the restore point. */
const openTree = async ({ size, root, reads: options }: Omit<LeftDisk, 'content'>): Promise<OpenedTree> => {
  await using resources = new AsyncDisposableStack()
  const reads = resources.use(new ImageReads({ ...options, reconnectMs: RECONNECT_MS }))
  const start = await reads.start()
  const { chunkBytes, idKey } = start
  if (!isChunkBytes(chunkBytes) || start.size !== size || !sameRef(start.root, root))
    throw new VarveError('STREAM_INVALID', 'the image is not the requested one')
  const tree = new ImageTree({ reads, idKey, chunkBytes, size, root })
  const all = resources.move()
  return { tree, idKey, chunkBytes, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** Bytes of an image that are not zero, in whole chunks. DATA_DAMAGED, and what the connection ends with. */
export const contentOf = async (image: Omit<LeftDisk, 'content'>): Promise<number> => {
  if (image.root === null || image.size === 0) return 0
  await using opened = await openTree(image)
  const { tree, chunkBytes } = opened
  return await contentBytes(tree, { size: image.size, chunkBytes })
}

/** What a restore begins with. STREAM_INVALID, and what the connection ends with. */
export const keptOf = ({ content, ...image }: LeftDisk): Kept => ({
  cut: (offset) => content.cut(offset),
  open: async () => {
    const opened = await openTree(image)
    const { size } = image
    return {
      ...opened,
      refs: untilDamage(heldRefs(content, { ...opened, size })),
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    }
  },
})
