// Opens disks of a restore point for export: their trees, their chunks, and what they share: threads and caches.
import { isChunkBytes } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { sameRef } from '../../protocol/image-tree.ts'
import type { Point } from '../../protocol/schemas.ts'
import { Decoder } from '../restore/decoder.ts'
import { ChunkCache } from './chunk-cache.ts'
import { ChunkSource } from './chunk-source.ts'
import type { ExportedDisk } from './connection.ts'
import { DiskCache } from './disk-cache.ts'
import { ImageReads, type ImageStart, type ReadsOptions } from './image-reads.ts'
import { ImageTree } from './image-tree.ts'
import { contextsOf } from './negotiation.ts'

/** Buffers from this size on are decoded into again, in bytes: fresh ones cost more time in page faults than the decoding. */
const REUSED_BYTES_MIN = 1024 * 1024

type Disk = Pick<Point['disks'][number], 'name' | 'size' | 'root'>

export interface OpenOptions extends Omit<ReadsOptions, 'point' | 'disk'> {
  readonly point: Pick<Point, 'id' | 'machine' | 'timeMs'>
  readonly disks: readonly Disk[]
  /** The point against which changes are told. */
  readonly since: Pick<Point, 'id' | 'disks'> | null
  readonly cacheBytes: number
  /** Absent for no cache on disk. */
  readonly cacheDisk?: { readonly folder: string; readonly bytesMax: number }
  readonly onReceived: (bytes: number) => void
  readonly onCacheFailure: (error: VarveError) => void
}

export interface OpenedDisks extends AsyncDisposable {
  readonly disks: readonly ExportedDisk[]
}

export interface OpenedImage {
  readonly reads: ImageReads
  readonly tree: ImageTree
  readonly start: ImageStart
}

/** Opens an image and checks that it is the one that the point names; DATA_DAMAGED. */
export const openImage = async (
  options: ReadsOptions,
  disk: Disk,
  resources: AsyncDisposableStack,
): Promise<OpenedImage> => {
  const reads = resources.use(new ImageReads(options))
  const start = await reads.start()
  const { size, chunkBytes, idKey } = start
  if (size !== disk.size || !sameRef(start.root, disk.root))
    throw new VarveError('DATA_DAMAGED', `disk ${disk.name} as it is read is not the one that the restore point names`)
  if (!isChunkBytes(chunkBytes)) throw new VarveError('STREAM_INVALID', `chunks of ${chunkBytes} bytes are impossible`)
  return { reads, start, tree: new ImageTree({ reads, idKey, chunkBytes, size, root: disk.root }) }
}

/** NOT_FOUND, DATA_DAMAGED, CONFIG_INVALID for a cache that cannot be made, and what the connection ends with. */
export const openDisks = async (options: OpenOptions): Promise<OpenedDisks> => {
  const { point, disks, since, cacheBytes, cacheDisk } = options
  await using resources = new AsyncDisposableStack()
  const decoder = resources.use(new Decoder())
  const cache = new ChunkCache(cacheBytes, (buffer) => {
    // a small one would serve only small ones
    if (buffer.byteLength >= REUSED_BYTES_MIN) decoder.release(new Uint8Array(buffer))
  })
  let disk: DiskCache | null = null
  const opened: ExportedDisk[] = []
  for (const row of disks) {
    const { name, size } = row
    const { reads, tree, start } = await openImage({ ...options, point: point.id, disk: name }, row, resources)
    const { idKey, chunkBytes } = start
    if (cacheDisk !== undefined)
      disk ??= resources.use(
        await DiskCache.open({ ...cacheDisk, chunkBytes, idKey, onFailure: options.onCacheFailure }),
      )
    const { onReceived } = options
    const parts = { reads, tree, decoder, cache, cacheBytes, disk, idKey, size, chunkBytes, onReceived }
    const before = since?.disks.find((one) => one.name === name)
    const sinceTree =
      since === null || before === undefined
        ? null
        : (await openImage({ ...options, point: since.id, disk: name }, before, resources)).tree
    opened.push({
      name,
      description: `${point.machine} at ${new Date(point.timeMs).toISOString()}`,
      size,
      preferred: chunkBytes,
      contexts: contextsOf(since?.id ?? null),
      source: new ChunkSource(parts),
      tree,
      chunkBytes,
      since: since === null ? null : { tree: sinceTree },
    })
  }
  const all = resources.move()
  return { disks: opened, [Symbol.asyncDispose]: () => all.disposeAsync() }
}
