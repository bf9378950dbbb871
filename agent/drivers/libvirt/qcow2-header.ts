// Whether a qcow2 image can hold bitmaps: by its header, where this user may read it.

import { open } from 'node:fs/promises'

/** Bytes of a header up to its incompatible features. */
const HEADER_BYTES = 80
const MAGIC = 0x51_46_49_fb
const VERSION_OFFSET = 4
const VERSION_MIN = 3
const INCOMPATIBLE_OFFSET = 72
const DATA_FILE_BIT = 1n << 2n

/**
 * False for version 2 (compat=0.10), which has no room for bitmaps, and for an image whose content is in another file, of which
 * they record nothing while the machine is off. Null where the header cannot be read or is of another format.
 */
export const canHoldBitmaps = async (path: string): Promise<boolean | null> => {
  try {
    const file = await open(path, 'r')
    try {
      const header = Buffer.alloc(HEADER_BYTES)
      const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0)
      if (bytesRead < HEADER_BYTES || header.readUInt32BE(0) !== MAGIC) return null
      if (header.readUInt32BE(VERSION_OFFSET) < VERSION_MIN) return false
      return (header.readBigUInt64BE(INCOMPATIBLE_OFFSET) & DATA_FILE_BIT) === 0n
    } finally {
      await file.close()
    }
  } catch {
    return null
  }
}
