// What a restore that was broken off left of a disk: read from the left and held against the image's own tree, never trusted.
import { isChunkBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { idAt } from '../../protocol/host/bytes.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import { FAN_OUT, sameRef, type Ref } from '../../protocol/image-tree.ts'
import { ImageReads, type ReadsOptions } from '../export/image-reads.ts'
import { ImageTree } from '../export/image-tree.ts'
import { ChunkHashes, hashedSegments, type HashedImage } from '../image/hashed-image.ts'
import type { ImageThreads } from '../image/image-threads.ts'
import { NbdClient } from '../nbd/client.ts'
import { ALLOCATION_CONTEXT, diskExtents } from '../nbd/extents.ts'
import { IMAGE_EXPORT } from './image-server.ts'
import type { Kept } from './restore.ts'
import { contentBytes } from './space.ts'

/** The content of a target before it is written. */
export interface LeftContent {
  /** Serves it to be read, until that is disposed. */
  serve(): Promise<{ readonly socketPath: string } & AsyncDisposable>
  cut(offset: number): Promise<void>
}

interface ReadDisk {
  readonly size: number
  readonly root: Ref
  readonly reads: Omit<ReadsOptions, 'reconnectMs'>
}

interface LeftDisk extends ReadDisk {
  readonly content: LeftContent
  /** That hash it. */
  readonly threads: ImageThreads
}

/** How long the gateway may be away while what is there is looked at: about as long as a restore waits, in milliseconds. */
const RECONNECT_MS = 7 * DAY_MS

interface Held {
  readonly tree: Pick<ImageTree, 'node' | 'chunks'>
  readonly chunkBytes: number
}

/** Refs of the image's chunks from the first to before the one that the content does not have, a leaf of the tree at a time. */
export async function* heldRefs(image: HashedImage, { tree, chunkBytes }: Held): AsyncGenerator<readonly Ref[]> {
  let position = 0
  let leaf: Ref[] = []
  for await (const { segment, hashed } of hashedSegments(image, chunkBytes)) {
    let read = 0
    for (const { kind, count } of segment.runs) {
      for (let left = count; left > 0; left--) {
        const isZero = kind === 'zero' || hashed!.zero[read] === 1
        leaf.push(isZero ? null : idAt(hashed!.ids, read))
        if (kind !== 'zero') read++
        position++
        if (position % FAN_OUT !== 0 && position < tree.chunks) continue
        const wanted = (await tree.node(0, position - 1))?.children
        const differs = leaf.findIndex((ref, at) => !sameRef(ref, wanted?.[at] ?? null))
        yield differs < 0 ? leaf : leaf.slice(0, differs)
        if (differs >= 0) return
        leaf = []
      }
    }
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
const openTree = async ({ size, root, reads: options }: ReadDisk): Promise<OpenedTree> => {
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
export const contentOf = async (image: ReadDisk): Promise<number> => {
  if (image.root === null || image.size === 0) return 0
  await using opened = await openTree(image)
  const { tree, chunkBytes } = opened
  return await contentBytes(tree, { size: image.size, chunkBytes })
}

/** What a restore begins with. STREAM_INVALID, NBD_ERROR, TOOL_MISSING, and what the connection ends with. */
export const keptOf = ({ content, threads, ...image }: LeftDisk): Kept => ({
  cut: (offset) => content.cut(offset),
  open: async () => {
    await using resources = new AsyncDisposableStack()
    const { tree, idKey, chunkBytes } = resources.use(await openTree(image))
    const { socketPath } = resources.use(await content.serve())
    const { size } = image
    const hashes = resources.use(
      new ChunkHashes({ socketPath, exportName: IMAGE_EXPORT, size, chunkBytes, idKey }, threads),
    )
    const contexts = [ALLOCATION_CONTEXT]
    const allocation = resources.use(await NbdClient.connect({ socketPath, exportName: IMAGE_EXPORT, contexts }))
    const extents = diskExtents({ allocation, dirty: null, size })
    const refs = heldRefs({ extents, hash: hashes.hash, ahead: hashes.ahead }, { tree, chunkBytes })
    const all = resources.move()
    return { chunkBytes, idKey, refs: untilDamage(refs), [Symbol.asyncDispose]: () => all.disposeAsync() }
  },
})
