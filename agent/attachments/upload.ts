// Uploads one attachment on the way of a disk's image; it is small, so this process reads it itself, a segment at a time.
import { open, type FileHandle } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { VarveError } from '../../protocol/errors.ts'
import { SegmentReader } from '../image/segment-reader.ts'
import { uploadSegments, type Segments, type UploadOptions } from '../image/upload.ts'
import type { DiskExtent } from '../nbd/extents.ts'
import type { SpooledFile } from './spool.ts'

const readFully = async (file: FileHandle, offset: number, bytes: Buffer): Promise<void> => {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, offset + at)
    if (bytesRead === 0) throw new VarveError('INTERNAL', 'a gathered attachment is shorter than it was')
    at += bytesRead
  }
}

/** The whole file as data; zeroes in it are found when it is read. */
async function* wholeOf(size: number): AsyncGenerator<DiskExtent> {
  yield { offset: 0, length: size, kind: 'data' }
}

/** Uploads what is left of a gathered file; resolves when all of it is durable. An empty one is durable once announced. */
export const uploadAttachment = async (request: UploadOptions, { name, size, path }: SpooledFile): Promise<void> => {
  if (size === 0) return
  const { chunkBytes, idKey } = request
  await using file = await open(path, 'r')
  const reader = new SegmentReader({
    size,
    chunkBytes,
    idKey,
    readInto: (offset, bytes) => readFully(file, offset, bytes),
  })
  const segments: Segments = {
    count: 1,
    read: async (number, runs, hold) => {
      // other work of the process comes between two segments
      await setImmediate()
      return await reader.read(number, runs, hold)
    },
    prepare: (number, picks, proofKey) => reader.prepare(number, picks, proofKey),
    drop: (number) => reader.drop(number),
  }
  await uploadSegments(request, { name, size }, segments, () => wholeOf(size))
}
