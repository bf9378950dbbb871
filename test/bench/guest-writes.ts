// Random small writes by the machine's own device, so that dirty bitmaps see them, and what they cost at least.
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { zstdCompressSync, constants } from 'node:zlib'
import { randomBytesOf, randomIntegers } from './random.ts'
import { DISK, type Stand } from './stand.ts'

export const WRITE_BYTES = 4096

/** What dirty bitmaps and chunks count in. */
export const CHUNK_BYTES = 65_536

const COMMANDS_AT_ONCE = 16

/** The arguments of QMP's `human-monitor-command` for a command of `qemu-io` on the device of the disk. */
export const deviceCommand = (command: string): Record<string, string> => ({
  'command-line': `qemu-io -d /machine/peripheral/${DISK}/virtio-backend "${command}"`,
})

/**
 * Writes so many random 4 KiB blocks of incompressible bytes at random places of the whole disk; gives the indexes of the
 * chunks that were touched. QEMU tells no outcome here: who backs up next must compare its dirty bytes with this set.
 */
export const writeRandomly = async (stand: Stand, size: number, count: number, seed: number): Promise<Set<number>> => {
  const integer = randomIntegers(seed)
  const bytes = randomBytesOf(seed, count * WRITE_BYTES)
  const folder = path.join(stand.socketFolder, 'writes')
  await mkdir(folder)
  const touched = new Set<number>()
  const write = async (index: number, block: number): Promise<void> => {
    // Each write has bytes of its own, as equal ones would be stored once.
    const file = path.join(folder, String(index))
    await writeFile(file, bytes.subarray(index * WRITE_BYTES, (index + 1) * WRITE_BYTES))
    const offset = block * WRITE_BYTES
    const command = `write -q -s ${file} ${offset} ${WRITE_BYTES}`
    await stand.machine.control.execute('human-monitor-command', deviceCommand(command))
    touched.add(Math.floor(offset / CHUNK_BYTES))
  }
  try {
    for (let index = 0; index < count; index += COMMANDS_AT_ONCE) {
      const batch = Array.from({ length: Math.min(COMMANDS_AT_ONCE, count - index) }, (_, i) => index + i)
      await Promise.all(batch.map((at) => write(at, integer(size / WRITE_BYTES))))
    }
  } finally {
    await rm(folder, { recursive: true })
  }
  return touched
}

/** The sum of what the given pieces of a file take when each is compressed with zstd level 1; zero pieces take nothing. */
export const compressedBytes = async (file: string, pieces: Iterable<number>, pieceBytes: number): Promise<number> => {
  await using handle = await open(file)
  const buffer = Buffer.alloc(pieceBytes)
  const params = { [constants.ZSTD_c_compressionLevel]: 1 }
  let sum = 0
  for (const index of pieces) {
    const { bytesRead } = await handle.read(buffer, 0, pieceBytes, index * pieceBytes)
    const piece = buffer.subarray(0, bytesRead)
    if (piece.equals(Buffer.alloc(bytesRead))) continue
    sum += Math.min(bytesRead, zstdCompressSync(piece, { params }).length)
  }
  return sum
}
