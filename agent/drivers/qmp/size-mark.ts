// Size marks: bitmaps that show whether a disk was ever smaller than it is now.
//
// When a disk is made smaller, QEMU drops the bits behind its new end, and does not restore them when the disk is made
// larger again: what reads as zeroes then counts as unchanged. So each checkpoint has a second bitmap that never records,
// of which only the last bit is set. Nothing can set it again once it was cut off. No QMP command sets a bit either, so the
// first one is taken from a node without content to which one write was made; later marks are copies.

import { NbdClient } from '../../nbd/client.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { JournalDisk, QmpEntry } from './entry.ts'

/** Name of the bitmap on a size mark's node. */
export const SIZE_NODE_BITMAP = 'size'

/** Least granularity of a size mark, in bytes, and most bits that it may have (512 KiB of memory). */
const GRANULARITY_BYTES_MIN = 65_536
const BITS_MAX = 2 ** 22

/** Bytes of the one write: the last sector. */
const SECTOR_BYTES = 512

/** Granularity in bytes of the size mark of a disk. */
export const sizeMarkGranularity = (size: number): number => {
  let granularity = GRANULARITY_BYTES_MIN
  while (size / granularity > BITS_MAX) granularity *= 2
  return granularity
}

/**
 * Where a mark's last bit begins, in bytes. A disk that was cut off behind this and made larger again still has the bit, so
 * every increment compares what is here with the base.
 */
export const lastBitOffset = (size: number, granularity: number): number =>
  Math.floor((size - 1) / granularity) * granularity

const setLastBit = async (client: QmpCaller, entry: QmpEntry, disk: JournalDisk): Promise<void> => {
  const { sizeNode, sizeExportId, sizeGranularity: granularity, size } = disk
  await client.execute('blockdev-add', { driver: 'null-co', 'node-name': sizeNode, size })
  await client.execute('block-dirty-bitmap-add', { node: sizeNode, name: SIZE_NODE_BITMAP, granularity })
  const nbd = { id: sizeExportId, type: 'nbd', 'node-name': sizeNode, name: sizeExportId, writable: true }
  await client.execute('block-export-add', nbd)
  const { socketPath } = entry
  await using writer = await NbdClient.connect({ socketPath, exportName: sizeExportId, contexts: [] })
  await writer.write(size - SECTOR_BYTES, new Uint8Array(SECTOR_BYTES))
}

/** Makes the nodes from which the marks of full reads are taken, over the lease's NBD server; removed with the lease. */
export const prepareSizeMarks = async (client: QmpCaller, entry: QmpEntry): Promise<void> => {
  for (const disk of entry.disks) if (disk.base === null) await setLastBit(client, entry, disk)
}
