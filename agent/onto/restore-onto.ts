// Makes an image that is there a disk of a restore point: finds what differs, and then fetches and writes only that.
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Point } from '../../protocol/schemas.ts'
import type { ReadsOptions } from '../export/image-reads.ts'
import { openImage, type OpenedImage } from '../export/open-disks.ts'
import { ChunkHashes } from '../image/hashed-image.ts'
import { ImageThreads } from '../image/image-threads.ts'
import { ALLOCATION_CONTEXT, diskExtents, type DiskExtent } from '../nbd/extents.ts'
import { NbdClient } from '../nbd/client.ts'
import { Decoder } from '../restore/decoder.ts'
import type { TargetFormat } from '../restore/format.ts'
import { IMAGE_EXPORT } from '../restore/image-server.ts'
import type { RestoreNotes } from '../restore/restore-notes.ts'
import type { KnownMachine } from '../restore/target-guard.ts'
import { findDifferences, type Differences } from './differences.ts'
import { ExistingImage } from './existing-image.ts'
import { findImage, type FoundImage } from './find-image.ts'
import { pickSpots, Unlike, UNLIKE_CONTEXT } from './unlike.ts'
import { piecesOf, writeDifferences } from './write-differences.ts'

/** Unchanged gaps that are bridged when the image is asked for its map, in bytes. */
const BRIDGE_BYTES = 1024 * 1024

/** Ranges that a report lists one by one; further ones are counted. */
export const RANGES_TOLD_MAX = 1000

type Disk = Pick<Point['disks'][number], 'name' | 'size' | 'root'>

/** What the image is said to be; what is not said is looked at. */
export interface Base {
  readonly point: string
  readonly disk: Disk
  /** A bitmap of the image that has recorded every write since; null where the caller vouches that there was none. */
  readonly bitmap: string | null
}

export interface OntoRequest {
  readonly reads: Omit<ReadsOptions, 'point' | 'disk'>
  readonly point: string
  readonly disk: Disk
  readonly onto: string
  /** Null: decided by the image's name. */
  readonly format: TargetFormat | null
  readonly force: boolean
  readonly dryRun: boolean
  readonly base: Base | null
  readonly machines: readonly KnownMachine[]
  readonly notes: RestoreNotes
  readonly random: () => number
  readonly onProgress: (what: 'looked at' | 'written', doneBytes: number, totalBytes: number) => void
  /** Told of all stored bytes that have come for what is written. */
  readonly onReceived?: (bytes: number) => void
  /** Called when it begins to write. */
  readonly onBegin: (found: FoundImage) => void
}

/** A range that differs, in bytes. */
export interface DifferingRange {
  readonly offset: number
  readonly length: number
}

export interface Onto {
  readonly found: FoundImage
  /** Of the image that is there, read to find out what differs, in bytes. */
  readonly bytesRead: number
  readonly bytesDiffering: number
  /** Stored bytes that came from the gateway, without those of the tree. */
  readonly bytesReceived: number
  /** In a dry run, what would be written and zeroed. */
  readonly bytesWritten: number
  readonly bytesZeroed: number
  /** Ascending and disjoint, RANGES_TOLD_MAX at most. */
  readonly ranges: readonly DifferingRange[]
  readonly rangeCount: number
}

const mismatch = (found: FoundImage, position: number, { point }: Base, chunkBytes: number): VarveError =>
  new VarveError(
    'TARGET_INVALID',
    `${found.final} is not what --base says: at ${position * chunkBytes} it is neither restore point ${point} nor recorded as written since; nothing was written: restore without --base`,
  )

/** What a comparison found, before anything is written. */
export interface Looked {
  readonly differences: Differences
  readonly told: Pick<Onto, 'found' | 'bytesRead' | 'bytesDiffering' | 'ranges' | 'rangeCount'>
}

/** A restore onto an image that is open and locked: looks first, and then ends with what was found. */
export class OntoRestore {
  readonly #request: OntoRequest
  readonly #image: OpenedImage
  readonly #base: OpenedImage | null
  readonly #existing: ExistingImage
  readonly #resources: AsyncDisposableStack

  constructor(
    request: OntoRequest,
    parts: {
      image: OpenedImage
      base: OpenedImage | null
      existing: ExistingImage
      resources: AsyncDisposableStack
    },
  ) {
    this.#request = request
    this.#image = parts.image
    this.#base = parts.base
    this.#existing = parts.existing
    this.#resources = parts.resources
  }

  get found(): FoundImage {
    return this.#existing.found
  }

  /** Compares; nothing is written yet. TARGET_INVALID, DATA_DAMAGED, the signal's reason. */
  async look(): Promise<Looked> {
    const { disk } = this.#request
    const { chunkBytes } = this.#image.start
    const { found } = this.#existing
    const { differences, bytesRead } = await this.#compare()
    const ranges: DifferingRange[] = []
    let rangeCount = 0
    let bytesDiffering = 0
    for (const { position, count } of differences.chunks.ranges()) {
      const offset = position * chunkBytes
      const length = Math.min(count * chunkBytes, disk.size - offset)
      if (rangeCount++ < RANGES_TOLD_MAX) ranges.push({ offset, length })
      bytesDiffering += length
    }
    return { differences, told: { found, bytesRead, bytesDiffering, ranges, rangeCount } }
  }

  /** Writes what differs and makes it durable; in a dry run tells what would be written. */
  async end({ differences, told }: Looked): Promise<Onto> {
    const { dryRun, disk } = this.#request
    const { tree, start } = this.#image
    const { chunkBytes } = start
    if (!dryRun) return { ...told, ...(await this.#write(differences, told.bytesDiffering)) }
    let bytesZeroed = 0
    for await (const { position, count, ids } of piecesOf({ chunks: differences.chunks, tree, chunkBytes }))
      if (ids === null) bytesZeroed += Math.min(count * chunkBytes, disk.size - position * chunkBytes)
    return { ...told, bytesReceived: 0, bytesWritten: told.bytesDiffering - bytesZeroed, bytesZeroed }
  }

  /** Nothing is written yet. */
  async #compare(): Promise<{ differences: Differences; bytesRead: number }> {
    const { disk, base, reads, onProgress } = this.#request
    const { tree, start } = this.#image
    const { idKey, chunkBytes } = start
    const unlike = await this.#unlike()
    await using threads = new ImageThreads(systemClock)
    const { socketPath } = this.#existing
    const size = this.#sizeThere()
    const setup = { socketPath, exportName: IMAGE_EXPORT, size, chunkBytes, idKey }
    await using hashes = new ChunkHashes(setup, threads)
    let bytesRead = 0
    const differences = await findDifferences({
      tree,
      idKey,
      chunkBytes,
      signal: reads.signal,
      extents: this.#extents(unlike),
      ahead: hashes.ahead,
      hash: hashes.hash,
      onLooked: (chunks, bytes) => {
        bytesRead += bytes
        onProgress('looked at', Math.min(chunks * chunkBytes, disk.size), disk.size)
      },
    })
    if (unlike !== null)
      for (const position of unlike.spots) {
        if (!differences.chunks.has(position)) continue
        const offset = position * chunkBytes
        const claimed = await unlike.map.claimed(offset, Math.min(chunkBytes, disk.size - offset))
        if (claimed.every(({ flags }) => flags === 0)) throw mismatch(this.#existing.found, position, base!, chunkBytes)
      }
    return { differences, bytesRead: Math.min(bytesRead, disk.size) }
  }

  /** How far the image can be read: what is behind its end counts as zeroes, as a dry run does not make it larger. */
  #sizeThere(): number {
    const { size } = this.#request.disk
    const { chunkBytes } = this.#image.start
    if (this.#existing.size >= size) return size
    return Math.floor(this.#existing.size / chunkBytes) * chunkBytes
  }

  async *#extents(unlike: { readonly map: Unlike } | null): AsyncGenerator<DiskExtent> {
    const { disk } = this.#request
    const size = this.#sizeThere()
    const allocation = await this.#connect(ALLOCATION_CONTEXT)
    const dirty = unlike === null ? null : { client: unlike.map, context: UNLIKE_CONTEXT }
    if (size > 0) yield* diskExtents({ allocation, dirty, size, bridgeBytes: BRIDGE_BYTES })
    if (size < disk.size) yield { offset: size, length: disk.size - size, kind: 'zero' }
  }

  async #unlike(): Promise<{ readonly map: Unlike; readonly spots: readonly number[] } | null> {
    const { base, disk, random } = this.#request
    const { tree, start } = this.#image
    if (base === null) return null
    const context = `qemu:dirty-bitmap:${base.bitmap}`
    const bitmap = base.bitmap === null ? null : { client: await this.#connect(context), context }
    const spots = pickSpots(tree.chunks, random)
    const { chunkBytes } = start
    return { map: new Unlike({ tree, base: this.#base!.tree, chunkBytes, size: disk.size, bitmap, spots }), spots }
  }

  async #connect(context: string): Promise<NbdClient> {
    const { socketPath } = this.#existing
    return this.#resources.use(await NbdClient.connect({ socketPath, exportName: IMAGE_EXPORT, contexts: [context] }))
  }

  async #write(
    { chunks, count }: Differences,
    totalBytes: number,
  ): Promise<Pick<Onto, 'bytesReceived' | 'bytesWritten' | 'bytesZeroed'>> {
    const { disk, reads, notes, onBegin, onProgress, onReceived } = this.#request
    const { reads: from, tree, start } = this.#image
    const existing = this.#existing
    let [bytesReceived, bytesWritten, bytesZeroed] = [0, 0, 0]
    // what an interrupted restore has left is completed even where nothing differs any more
    if (count > 0 || existing.isTooLong || existing.found.place !== existing.found.final) {
      await existing.begin(notes)
      onBegin(existing.found)
      await using decoder = new Decoder()
      await writeDifferences({
        chunks,
        tree,
        target: existing,
        reads: from,
        decoder,
        idKey: start.idKey,
        size: disk.size,
        chunkBytes: start.chunkBytes,
        signal: reads.signal,
        onReceived: (bytes) => {
          bytesReceived += bytes
          onReceived?.(bytesReceived)
        },
        onWritten: (plain, zeroes) => {
          bytesWritten += plain
          bytesZeroed += zeroes
          onProgress('written', bytesWritten + bytesZeroed, totalBytes)
        },
      })
      await existing.commit()
    }
    return { bytesReceived, bytesWritten, bytesZeroed }
  }
}

/** Opens and locks what is there; `resources` hold it. TARGET_INVALID, TARGET_IN_USE, TOOL_MISSING, DATA_DAMAGED. */
export const openOnto = async (request: OntoRequest, resources: AsyncDisposableStack): Promise<OntoRestore> => {
  const { reads, point, disk, onto, format, force, dryRun, base, machines, notes } = request
  const found = await findImage(onto, format)
  if (base !== null && found.place !== found.final)
    throw new VarveError(
      'TARGET_INVALID',
      `${found.place} was left by an interrupted restore, and is no restore point: restore without --base`,
    )
  if (base !== null && found.kind === 'device' && (await notes.isCutOff(found.final)))
    throw new VarveError(
      'TARGET_INVALID',
      `a restore onto ${found.final} was cut off, so it is no restore point: restore without --base`,
    )
  if (base !== null && base.bitmap !== null && found.format !== 'qcow2')
    throw new VarveError('TARGET_INVALID', `${found.final} is no qcow2 image, which alone keeps bitmaps`)
  const bitmap = base === null ? null : base.bitmap
  const existing = resources.use(
    await ExistingImage.open({ found, size: disk.size, resize: force, readOnly: dryRun, bitmap, machines }),
  )
  const image = await openImage({ ...reads, point, disk: disk.name }, disk, resources)
  const before =
    base === null ? null : await openImage({ ...reads, point: base.point, disk: base.disk.name }, base.disk, resources)
  return new OntoRestore(request, { image, base: before, existing, resources })
}

/**
 * Compares all of what is there, or what the base leaves open, before it writes anything: an error until `onBegin` leaves it as
 * it was, but for a file that `force` has made longer. TARGET_INVALID, TARGET_IN_USE, TOOL_MISSING, DATA_DAMAGED, the signal's
 * reason.
 */
export const restoreOnto = async (request: OntoRequest): Promise<Onto> => {
  await using resources = new AsyncDisposableStack()
  const restore = await openOnto(request, resources)
  return await restore.end(await restore.look())
}
