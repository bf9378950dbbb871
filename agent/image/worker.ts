// A worker thread of uploads: works on segments of images, over an NBD connection of its own to each.
import { NbdClient } from '../nbd/client.ts'
import { SpoolReader } from '../push/spool.ts'
import { freeBytes } from '../../protocol/memory.ts'
import { Moved, serveThread } from '../../protocol/host/threads.ts'
import type { Hashed, ImagePlace, Prepared, WorkerSetup } from './messages.ts'
import { SegmentReader, type SegmentReaderOptions } from './segment-reader.ts'
import type { ChunkRun } from './segments.ts'

/** Where the bytes of an image are read. */
interface ImageSource extends AsyncDisposable, Pick<SegmentReaderOptions, 'readInto'> {}

interface OpenImage {
  /** Ends the opening of the connection: a server that is silent must not hold up a thread that others use. */
  readonly opening: AbortController
  readonly source: Promise<ImageSource>
  readonly reader: SegmentReader
}

const images = new Map<number, OpenImage>()

/** Buffers that no image uses just now. */
const spare: Buffer[] = []

const openSource = async (place: ImagePlace, signal: AbortSignal): Promise<ImageSource> => {
  if ('spool' in place) return new SpoolReader(place.spool)
  const { socketPath, exportName, boundaryBytes } = place
  return await NbdClient.connect({ socketPath, exportName, contexts: [], signal, boundaryBytes })
}

const readerOf = (image: number): SegmentReader => images.get(image)!.reader

const close = async (image: number): Promise<void> => {
  const open = images.get(image)
  images.delete(image)
  open?.opening.abort()
  await open?.source.then((source) => source[Symbol.asyncDispose]()).catch(() => {})
  // nothing is read into its buffers any more
  open?.reader.clear()
  // a thread that waits for the next backup holds no memory for it
  if (images.size === 0) for (const buffer of spare.splice(0)) freeBytes(buffer)
}

const methods = {
  open: (image: number, setup: WorkerSetup): void => {
    const opening = new AbortController()
    const source = openSource(setup, opening.signal)
    // a failure is reported by the first read
    source.catch(() => {})
    const readInto = async (offset: number, bytes: Buffer): Promise<void> =>
      await (await source).readInto(offset, bytes)
    images.set(image, { opening, source, reader: new SegmentReader({ ...setup, readInto, spare }) })
  },
  read: (image: number, number: number, runs: readonly ChunkRun[], hold: boolean): Promise<Hashed> =>
    readerOf(image).read(number, runs, hold),
  prepare: async (image: number, number: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Moved<Prepared>> => {
    const prepared = await readerOf(image).prepare(number, picks, proofKey)
    return new Moved(prepared, prepared.chunks === null ? [] : [prepared.chunks.stored.buffer])
  },
  drop: (image: number, number: number): void => readerOf(image).drop(number),
  /** Ends the connection to an image; what is read of it fails. */
  close,
}
export type ImageMethods = typeof methods

serveThread(methods, { close: () => Promise.all([...images.keys()].map(close)) })
