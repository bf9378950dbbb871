// What an image's own file tells of it, where this user may read it; libvirt does not.

import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'

/** Bytes of a qcow2 header up to its incompatible features. */
const HEADER_BYTES = 80
const MAGIC = 0x51_46_49_fb
const VERSION_OFFSET = 4
const SIZE_OFFSET = 24
const INCOMPATIBLE_OFFSET = 72
const VERSION_MIN = 3
const DATA_FILE_BIT = 1n << 2n

/** A qcow2 header; null where it cannot be read or is none. */
const readHeader = async (path: string): Promise<Buffer | null> => {
  try {
    // a pipe does not keep whoever opens it so
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const header = Buffer.alloc(HEADER_BYTES)
      const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0)
      return bytesRead === HEADER_BYTES && header.readUInt32BE(0) === MAGIC ? header : null
    } finally {
      await file.close()
    }
  } catch {
    return null
  }
}

/**
 * False for version 2 (compat=0.10), which has no room for bitmaps, and for an image whose content is in another file, of which
 * they record nothing while the machine is off. Null where the header cannot be read.
 */
export const canHoldBitmaps = async (path: string): Promise<boolean | null> => {
  const header = await readHeader(path)
  if (header === null) return null
  if (header.readUInt32BE(VERSION_OFFSET) < VERSION_MIN) return false
  return (header.readBigUInt64BE(INCOMPATIBLE_OFFSET) & DATA_FILE_BIT) === 0n
}

/** Bytes of the disk that an image holds; 0 where that cannot be read. */
export const imageSize = async (format: string, path: string): Promise<number> => {
  if (format === 'qcow2') return Number((await readHeader(path))?.readBigUInt64BE(SIZE_OFFSET) ?? 0)
  if (format !== 'raw') return 0
  return await stat(path).then(
    ({ size }) => size,
    () => 0,
  )
}
