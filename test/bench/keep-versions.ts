// Versions of one disk image: the same scattered pieces written into a raw file and through a guest's device.
import { writeFile, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { contentOf } from './day-churn.ts'
import type { Host } from './fleet-site.ts'
import { deviceCommand } from './guest-writes.ts'
import { randomIntegers } from './random.ts'

/** Length of one piece and what its place is a multiple of, in bytes: guests write in blocks, not in anybody's chunks. */
export const PIECE_BYTES = 64 * 1024
const ALIGN_BYTES = 4096

/** How much of the disk each version replaces. */
export const CHURN_SHARE = 0.04

const SEED_STEP = 1_000_000

interface Piece {
  readonly offset: number
  readonly bytes: Buffer
}

/** What a version replaces: pieces of which every second one compresses to about half. */
export function* piecesOf(version: number, sizeBytes: number): Generator<Piece> {
  const integer = randomIntegers(version)
  const count = Math.round((sizeBytes * CHURN_SHARE) / PIECE_BYTES)
  for (let index = 0; index < count; index++) {
    const offset = integer((sizeBytes - PIECE_BYTES) / ALIGN_BYTES + 1) * ALIGN_BYTES
    yield { offset, bytes: contentOf(version * SEED_STEP + index, PIECE_BYTES) }
  }
}

/** Writes a version's pieces in order: later ones may lie over earlier ones. */
export const writeVersion = async (version: number, sizeBytes: number, raw: FileHandle, host: Host): Promise<void> => {
  const file = path.join(host.socketFolder, 'piece')
  for (const { offset, bytes } of piecesOf(version, sizeBytes)) {
    await raw.write(bytes, 0, bytes.length, offset)
    await writeFile(file, bytes)
    const command = deviceCommand(`write -q -s ${file} ${offset} ${bytes.length}`)
    await host.machine.control.execute('human-monitor-command', command)
  }
}
