// What QEMU has written of a disk in mode push.
import { SpoolReader } from '../../agent/push/spool.ts'
import { BLOCK_BYTES } from '../../agent/push/written.ts'
import type { LeasedDisk } from '../../agent/drivers/driver.ts'
import type { DirtyRange } from './lease.ts'

const CHUNK_BYTES = 65_536

/** The disk's content, of which what QEMU has not written is that of the base. */
export const pushedContent = async ({ size, pushed }: LeasedDisk, base: Buffer): Promise<Buffer> => {
  const content = Buffer.from(base)
  await using reader = new SpoolReader(pushed!.spool)
  for await (const { offset, length, kind } of pushed!.extents(CHUNK_BYTES, AbortSignal.timeout(30_000))) {
    const bytes = content.subarray(offset, Math.min(offset + length, size))
    if (kind === 'zero') bytes.fill(0)
    if (kind === 'data') await reader.readInto(offset, bytes)
  }
  return content
}

/** Ranges that QEMU has written, without the disk's end, which it always writes. */
export const pushedRanges = async ({ size, pushed }: LeasedDisk): Promise<readonly DirtyRange[]> => {
  const ranges: { offset: number; length: number }[] = []
  for await (const { offset, length, kind } of pushed!.extents(CHUNK_BYTES, AbortSignal.timeout(30_000))) {
    const last = ranges.at(-1)
    const end = Math.min(offset + length, size - BLOCK_BYTES)
    if (kind === 'keep' || end <= offset) continue
    if (last !== undefined && last.offset + last.length === offset) last.length = end - last.offset
    else ranges.push({ offset, length: end - offset })
  }
  return ranges
}
