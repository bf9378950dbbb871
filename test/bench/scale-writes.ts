// Small writes whose content is kept, so that a restore can be compared with them.
import { open, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { deviceCommand } from './guest-writes.ts'
import type { Host } from './fleet-site.ts'
import { randomBytesOf, randomIntegers } from './random.ts'

const WRITE_BYTES = 4096
export const WRITES = 100
const WRITES_AT_ONCE = 16

/** Content that was written, by its offset in bytes; later writes lie over earlier ones. */
export type Written = Map<number, Buffer>

/** Makes WRITES random 4 KiB writes through the guest's device, so that dirty bitmaps see them; adds them to what is written. */
export const writeBlocks = async (host: Host, diskBytes: number, seed: number, written?: Written): Promise<void> => {
  const integer = randomIntegers(seed)
  const bytes = randomBytesOf(seed, WRITES * WRITE_BYTES)
  const write = async (index: number, offset: number): Promise<void> => {
    const block = bytes.subarray(index * WRITE_BYTES, (index + 1) * WRITE_BYTES)
    const file = path.join(host.socketFolder, `block-${index}`)
    await writeFile(file, block)
    const command = deviceCommand(`write -q -s ${file} ${offset} ${WRITE_BYTES}`)
    await host.machine.control.execute('human-monitor-command', command)
    written?.set(offset, block)
    await rm(file)
  }
  for (let first = 0; first < WRITES; first += WRITES_AT_ONCE) {
    const batch = Array.from({ length: Math.min(WRITES_AT_ONCE, WRITES - first) }, (_, index) => first + index)
    await Promise.all(batch.map((index) => write(index, integer(diskBytes / WRITE_BYTES) * WRITE_BYTES)))
  }
}

/** Throws unless the raw file holds everything that was written. */
export const checkContent = async (file: string, written: Written): Promise<void> => {
  const pages = new Map<number, Buffer>()
  for (const [offset, bytes] of written)
    for (let at = 0; at < bytes.length; at += WRITE_BYTES) pages.set(offset + at, bytes.subarray(at, at + WRITE_BYTES))
  await using handle = await open(file)
  const found = Buffer.alloc(WRITE_BYTES)
  for (const [offset, expected] of pages) {
    await handle.read(found, 0, WRITE_BYTES, offset)
    if (!found.equals(expected)) throw new Error(`what was restored differs at offset ${offset}`)
  }
}
