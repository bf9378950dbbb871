// Whether two small files hold the same bytes.
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { hasCode } from '../../protocol/host/system-error.ts'

/** Bytes that are compared at once. */
const PART_BYTES = 1024 * 1024

/** False where the first is not there, or is no file of its own: a link could lead anywhere, and a pipe would block. */
export const sameContent = async (first: string, second: string): Promise<boolean> => {
  try {
    const how = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    await using one = await open(first, how)
    await using other = await open(second, how)
    const [a, b] = [await one.stat(), await other.stat()]
    if (!a.isFile() || !b.isFile() || a.size !== b.size) return false
    const [left, right] = [Buffer.alloc(PART_BYTES), Buffer.alloc(PART_BYTES)]
    for (let at = 0; at < a.size; at += PART_BYTES) {
      await Promise.all([one.read(left, 0, PART_BYTES, at), other.read(right, 0, PART_BYTES, at)])
      if (!left.equals(right)) return false
    }
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ELOOP', 'ENXIO')) return false
    throw error
  }
}
