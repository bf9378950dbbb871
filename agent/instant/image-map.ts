// What a qcow2 image has of its own, by its tables in the file: whether a disk stands alone is never taken from QEMU's word.
import { open, type FileHandle } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'

const HEADER_BYTES = 104
const MAGIC = 0x51_46_49_fb
const AT = { version: 4, backing: 8, clusterBits: 20, size: 24, l1Entries: 36, l1: 40, incompatible: 72 } as const

/** The features of which this knows: "dirty" alone, which says that reference counts may be behind. */
const KNOWN_FEATURES = 1n

const CLUSTER_BITS = { min: 9, max: 21 } as const

/** Entries of the first table at most: 32 MiB, as QEMU has it. */
const L1_ENTRIES_MAX = 4 * 1024 * 1024

const ENTRY_BYTES = 8
const OFFSET_MASK = 0x00_ff_ff_ff_ff_ff_fe_00n
const COMPRESSED = 1n << 62n
const ZERO = 1n

export interface ImageMap {
  /** What its header names is read where the image has nothing of its own. */
  readonly isBacked: boolean
  /** Of the disk, in bytes, of which the image has neither data nor zeroes. */
  readonly missingBytes: number
  /** Of the disk that the image holds as data, in bytes. */
  readonly dataBytes: number
}

const invalid = (file: string): VarveError =>
  new VarveError('TARGET_INVALID', `${file} is not the image that was made for this machine`)

const readAt = async (handle: FileHandle, file: string, offset: number, length: number): Promise<Buffer> => {
  const buffer = Buffer.alloc(length)
  const { bytesRead } = await handle.read(buffer, 0, length, offset)
  // a table at the end of a file that grows is there as far as it was written: the rest is zeroes
  if (bytesRead === 0) throw invalid(file)
  return buffer
}

/** Looks at an image as it is in the file, which may be behind a QEMU that has it open; TARGET_INVALID. */
export const mapImage = async (file: string): Promise<ImageMap> => {
  await using handle = await open(file, 'r')
  const header = await readAt(handle, file, 0, HEADER_BYTES)
  const bits = header.readUInt32BE(AT.clusterBits)
  const size = Number(header.readBigUInt64BE(AT.size))
  const l1Entries = header.readUInt32BE(AT.l1Entries)
  const isKnown =
    header.readUInt32BE(0) === MAGIC &&
    header.readUInt32BE(AT.version) === 3 &&
    (header.readBigUInt64BE(AT.incompatible) & ~KNOWN_FEATURES) === 0n
  if (!isKnown || bits < CLUSTER_BITS.min || bits > CLUSTER_BITS.max || l1Entries > L1_ENTRIES_MAX) throw invalid(file)
  const cluster = 2 ** bits
  const perTable = cluster / ENTRY_BYTES
  const clusters = Math.ceil(size / cluster)
  if (l1Entries * perTable < clusters) throw invalid(file)
  const l1 = await readAt(handle, file, Number(header.readBigUInt64BE(AT.l1)), Math.max(1, l1Entries) * ENTRY_BYTES)
  let missing = 0
  let data = 0
  for (let first = 0; first < clusters; first += perTable) {
    const count = Math.min(perTable, clusters - first)
    const at = l1.readBigUInt64BE((first / perTable) * ENTRY_BYTES) & OFFSET_MASK
    if (at === 0n) {
      missing += count
      continue
    }
    const table = await readAt(handle, file, Number(at), cluster)
    for (let index = 0; index < count; index++) {
      const entry = table.readBigUInt64BE(index * ENTRY_BYTES)
      if ((entry & COMPRESSED) === 0n && (entry & ZERO) !== 0n) continue
      if ((entry & COMPRESSED) !== 0n || (entry & OFFSET_MASK) !== 0n) data++
      else missing++
    }
  }
  return {
    isBacked: header.readBigUInt64BE(AT.backing) !== 0n,
    missingBytes: missing * cluster,
    dataBytes: data * cluster,
  }
}

/** Whether its header names a backing file; TARGET_INVALID. */
export const hasBacking = async (file: string): Promise<boolean> => {
  await using handle = await open(file, 'r')
  const header = await readAt(handle, file, 0, HEADER_BYTES)
  if (header.readUInt32BE(0) !== MAGIC) throw invalid(file)
  return header.readBigUInt64BE(AT.backing) !== 0n
}

/** Makes durable what is in the file. */
export const syncImage = async (file: string): Promise<void> => {
  await using handle = await open(file, 'r')
  await handle.datasync()
}
