// Looks at the exports of a lease that somebody else holds: their sizes, what their bitmaps say, and where they may be read.

import { VarveError } from '../../../protocol/errors.ts'
import { NbdClient } from '../../nbd/client.ts'
import { WINDOW_BYTES, isChanged, type StatusSource } from '../../nbd/extents.ts'
import type { ByteRange } from '../../nbd/reread.ts'
import type { ProcessMark } from '../../process-mark.ts'
import { answersRightly, exporterOf } from './exporter.ts'
import type { OfferedDisk } from './offer.ts'
import { RANGES_MAX } from './records.ts'

/** What is read to see whether an export answers outside of its bitmap, in bytes. */
const PROBE_BYTES = 4096

/** An export of the lease as it is; `size` is bytes. */
export interface SeenExport {
  readonly disk: OfferedDisk
  readonly size: number
  /** Who serves it; null where that cannot be seen. */
  readonly exporter: ProcessMark | null
  /** What a bitmap that is reused says has changed, ascending; null where that is too much to keep. Empty for others. */
  readonly changed: readonly ByteRange[] | null
  /** It answers only within the changed ranges. */
  readonly clips: boolean
  /** It answers rightly only within one block of the least size that QEMU copies. */
  readonly isNarrow: boolean
}

/** Name of the NBD context of a bitmap. */
export const contextOf = (bitmap: string): string => `qemu:dirty-bitmap:${bitmap}`

interface Map {
  readonly changed: readonly ByteRange[] | null
  /** The longest range that has not changed; null for none. */
  readonly clean: ByteRange | null
}

/** The whole map of a bitmap. */
export const mapOf = async (source: StatusSource, context: string, size: number): Promise<Map> => {
  const changed: [number, number][] = []
  let isTooMuch = false
  let clean: ByteRange | null = null
  let from = 0
  let isOpenDirty: boolean | null = null
  const close = (end: number): void => {
    if (isOpenDirty === null) return
    const found: [number, number] = [from, end - from]
    if (!isOpenDirty) clean = clean === null || clean[1] < found[1] ? found : clean
    else if (changed.length < RANGES_MAX) changed.push(found)
    else isTooMuch = true
  }
  for (let at = 0; at < size;) {
    const statuses = (await source.blockStatus(at, Math.min(WINDOW_BYTES, size - at))).get(context) ?? []
    if (statuses.length === 0) throw new VarveError('NBD_ERROR', `the NBD connection has no context ${context}`)
    for (const status of statuses) {
      const isDirty = isChanged(status)
      if (isOpenDirty !== isDirty) {
        close(at)
        from = at
        isOpenDirty = isDirty
      }
      at += status.length
    }
  }
  close(size)
  return { changed: isTooMuch ? null : changed, clean }
}

/** Whether the server refuses to read a range that has not changed; what ends the connection is thrown. */
const refusesRead = async (client: NbdClient, [offset, length]: ByteRange): Promise<boolean> => {
  // the middle: near its ends it may share a block with what has changed
  const middle = offset + Math.floor(length / 2)
  const at = Math.max(offset, middle - (middle % PROBE_BYTES))
  try {
    await client.readInto(at, Buffer.alloc(Math.min(PROBE_BYTES, offset + length - at)))
    return false
  } catch (error) {
    // the server's own answer has a number
    if (error instanceof VarveError && 'errnoNumber' in error.details) return true
    throw error
  }
}

/** NBD_ERROR, NBD_PROTOCOL; DISK_UNSUPPORTED for an export without a byte. */
export const lookAt = async (disk: OfferedDisk): Promise<SeenExport> => {
  const { name, socketPath, exportName, bitmap, state } = disk
  const contexts = state === 'reuse' && bitmap !== null ? [contextOf(bitmap)] : []
  await using client = await NbdClient.connect({ socketPath, exportName, contexts })
  const { size } = client
  if (size === 0) throw new VarveError('DISK_UNSUPPORTED', `the export ${exportName} of disk ${name} has no bytes`)
  const exporter = await exporterOf(socketPath)
  const isNarrow = !(await answersRightly(exporter))
  const [context] = contexts
  if (context === undefined) return { disk, size, exporter, changed: [], clips: false, isNarrow }
  const { changed, clean } = await mapOf(client, context, size)
  const clips = clean !== null && (await refusesRead(client, clean))
  return { disk, size, exporter, changed, clips, isNarrow }
}
