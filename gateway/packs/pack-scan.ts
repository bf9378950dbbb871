// Reads a pack from its first record to its last: every whole record, and what lies between them where a pack is damaged.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { freeBuffer } from '../../protocol/memory.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import {
  PACK_BYTES_MAX,
  PACK_HEADER_BYTES,
  parsePackHeader,
  parseRecord,
  parseRecordHeader,
  RECORD_HEADER_BYTES,
  RECORD_HEADER_BYTES_MAX,
  RECORD_MAGIC_BYTES,
  RECORD_PLAIN_BYTES_MAX,
  recordBytes,
  type PackHeader,
  type RecordHeader,
} from './format.ts'
import type { PackName, Packs } from './pack-store.ts'

/** Bytes of one read: any record fits into it. */
const PIECE_BYTES = recordBytes(RECORD_PLAIN_BYTES_MAX)

/** A piece that cannot be read is read again in blocks of so many bytes, to lose only the bad ones. */
const BLOCK_BYTES = 4096

/**
 * Bytes that a search after damage may check for one pack at any place; content that imitates large records must not delay it for
 * hours.
 */
const SEARCH_BYTES_MAX = 1024 * 1024 * 1024

/** Past that it checks only what looks like a record of at most so many bytes, which chunks that are stored together are. */
const SEARCH_RECORD_BYTES = 288 * 1024

/** A whole record whose checksum is right. */
export interface PackRecord {
  readonly offset: number
  /** Its ids are copies. */
  readonly header: RecordHeader
  /** The whole record: a view, valid until the next step of the scan. */
  readonly bytes: Uint8Array
  /**
   * True behind damage: it may be bytes of a chunk that look like a record, so its id is to be checked before it is relied on.
   */
  readonly found: boolean
}

/** Bytes in which there is no whole record. */
export interface PackGap {
  readonly offset: number
  readonly length: number
  readonly problem: string
}

export interface ScanOptions {
  /** Where to begin, in bytes; behind the pack's header unless told otherwise. */
  readonly from?: number
  /** Where to end, in bytes; the pack's length unless told otherwise. */
  readonly to?: number
  /** Ends the scan, between two reads, with its reason. */
  readonly signal?: AbortSignal
  /** Waited for before each read, to throttle it. */
  readonly onRead?: (bytes: number) => Promise<void>
  /** Blocks that cannot be read are a gap instead of STORE_FAILED. */
  readonly skipUnreadable?: boolean
}

type Source = Pick<Packs, 'read' | 'size'>

/** A pack's header as it is in the file, regardless of the file's name. DATA_DAMAGED, STORE_VERSION, NOT_FOUND, STORE_FAILED. */
export const readAnyHeader = async (store: Source, name: PackName): Promise<PackHeader> =>
  parsePackHeader(await store.read(name, 0, PACK_HEADER_BYTES))

/** What a file holds instead of the pack of its name, in words; null where it is that pack. */
export const misplacedText = (header: PackHeader, name: PackName): string | null => {
  if (header.tenant === name.tenant && header.pack === name.pack) return null
  const whose = header.tenant === name.tenant ? '' : ` of tenant ${header.tenant}`
  return `its file holds another pack, ${header.pack}${whose}: were files moved or renamed?`
}

/** A pack's header, checked against its name. DATA_DAMAGED, STORE_VERSION, NOT_FOUND, STORE_FAILED. */
export const readPackHeader = async (store: Source, name: PackName): Promise<PackHeader> => {
  const header = await readAnyHeader(store, name)
  const misplaced = misplacedText(header, name)
  if (misplaced !== null) throw new VarveError('DATA_DAMAGED', misplaced, { details: { holds: header.pack } })
  return header
}

/** A window over a pack: the bytes from `start` on. */
class Window {
  readonly #store: Source
  readonly #name: PackName
  readonly #end: number
  readonly #options: ScanOptions
  #start = 0
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0)
  /** Why some blocks of the pack could not be read; null where all could. */
  unreadable: string | null = null

  constructor(store: Source, name: PackName, end: number, options: ScanOptions) {
    this.#store = store
    this.#name = name
    this.#end = end
    this.#options = options
  }

  /** The pack from `offset` on: at least `length` bytes of it, less only at its end. */
  async at(offset: number, length: number): Promise<Uint8Array> {
    const wanted = Math.min(offset + length, this.#end)
    if (offset < this.#start || wanted > this.#start + this.#bytes.length) await this.#move(offset)
    return this.#bytes.subarray(offset - this.#start)
  }

  [Symbol.dispose](): void {
    freeBuffer(this.#bytes.buffer)
  }

  async #move(offset: number): Promise<void> {
    freeBuffer(this.#bytes.buffer)
    this.#bytes = new Uint8Array(0)
    const { signal, onRead } = this.#options
    const length = Math.min(PIECE_BYTES, this.#end - offset)
    signal?.throwIfAborted()
    await onRead?.(length)
    this.#bytes = await this.#read(offset, length)
    this.#start = offset
  }

  async #read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return await this.#store.read(this.#name, offset, length)
    } catch (error) {
      if (this.#options.skipUnreadable !== true || asVarveError(error).code !== 'STORE_FAILED') throw error
    }
    // bytes that cannot be read are zeroes here, in which no record begins and none is whole
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += BLOCK_BYTES) {
      try {
        bytes.set(await this.#store.read(this.#name, offset + at, Math.min(BLOCK_BYTES, length - at)), at)
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code !== 'STORE_FAILED') throw error
        this.unreadable = error.message
      }
    }
    return bytes
  }
}

/** The record at the start of these bytes; the reason in words where there is none. */
const recordAt = (bytes: Uint8Array): RecordHeader | string => {
  try {
    return parseRecord(bytes, 0)
  } catch (error) {
    return asVarveError(error).message
  }
}

/** Bytes that must be there to look at the record at the start of these; 0 where none can begin. */
const neededAt = (bytes: Uint8Array): number => {
  try {
    const { storedLength, parts } = parseRecordHeader(bytes, 0)
    return recordBytes(storedLength, parts.length)
  } catch {
    return 0
  }
}

/** Where the next whole record begins at or behind `from`; `end` where there is none. */
const search = async (window: Window, from: number, end: number, budget: { bytes: number }): Promise<number> => {
  let offset = from
  while (offset + RECORD_HEADER_BYTES < end) {
    const bytes = await window.at(offset, RECORD_HEADER_BYTES)
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const index = view.indexOf(RECORD_MAGIC_BYTES)
    if (index < 0) {
      // the magic may lie across the end of the window
      offset += Math.max(1, bytes.length - RECORD_MAGIC_BYTES.length + 1)
      continue
    }
    offset += index
    const needed = neededAt(await window.at(offset, RECORD_HEADER_BYTES_MAX))
    if (needed > 0 && offset + needed <= end) {
      budget.bytes -= needed
      const tried = budget.bytes >= 0 || needed <= SEARCH_RECORD_BYTES
      if (tried && typeof recordAt(await window.at(offset, needed)) !== 'string') return offset
    }
    offset++
  }
  return end
}

/**
 * Every whole record of a pack in order, and a gap for what lies between them: all bytes from `from` to `to` are in one of the
 * two. At most two pieces of 4 MiB are in memory. What the pack lacks of `to` is a gap too. NOT_FOUND, STORE_FAILED.
 */
export async function* scanPack(
  store: Source,
  name: PackName,
  options: ScanOptions = {},
): AsyncGenerator<PackRecord | PackGap> {
  const size = await store.size(name)
  if (size === null) throw new VarveError('NOT_FOUND', `there is no pack ${name.pack}`)
  const { from = PACK_HEADER_BYTES, to = size } = options
  // no pack is longer: the rest of a longer (or sparse) stray file is not read
  const end = Math.min(to, size, PACK_BYTES_MAX)
  using window = new Window(store, name, end, options)
  const budget = { bytes: SEARCH_BYTES_MAX }
  let found = false
  let offset = from
  while (offset < end) {
    const needed = neededAt(await window.at(offset, RECORD_HEADER_BYTES_MAX))
    const bytes = await window.at(offset, needed)
    const record = recordAt(bytes)
    if (typeof record !== 'string') {
      const { type, codec, storedLength } = record
      const parts = record.parts.map(({ id, plainLength }) => ({ id: ownBytes(id), plainLength }))
      const header = { type, codec, parts, storedLength }
      const length = recordBytes(storedLength, parts.length)
      yield { offset, header, bytes: bytes.subarray(0, length), found }
      offset += length
      continue
    }
    const next = await search(window, offset + 1, end, budget)
    yield { offset, length: next - offset, problem: window.unreadable ?? record }
    window.unreadable = null
    found = true
    offset = next
  }
  if (end < to) {
    const problem = size > PACK_BYTES_MAX ? 'the file is longer than a pack may be' : 'the pack is shorter'
    yield { offset: Math.max(end, from), length: to - Math.max(end, from), problem }
  }
}
