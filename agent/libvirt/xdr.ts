// XDR, the encoding of libvirt's protocol: big-endian, in steps of four bytes, every length bounded.
import { VarveError } from '../../protocol/errors.ts'

/** Longest string that is read or written, in bytes; libvirt's own limit. */
export const XDR_STRING_BYTES_MAX = 4 * 1024 * 1024

/** XDR pads to multiples of this many bytes. */
const STEP = 4

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const UTF_8_LENIENT = new TextDecoder('utf-8', { ignoreBOM: true })

const broken = (why: string): VarveError => new VarveError('LIBVIRT_PROTOCOL', `libvirt sent a message that ${why}`)

/** Collects the parts of a message. */
export class XdrWriter {
  readonly #parts: Buffer[] = []

  i32(value: number): this {
    const part = Buffer.alloc(4)
    part.writeInt32BE(value)
    return this.#add(part)
  }

  u32(value: number): this {
    const part = Buffer.alloc(4)
    part.writeUInt32BE(value)
    return this.#add(part)
  }

  u64(value: bigint): this {
    const part = Buffer.alloc(8)
    part.writeBigUInt64BE(value)
    return this.#add(part)
  }

  /** Bytes of a length that both sides know, a multiple of four. */
  fixed(bytes: Uint8Array): this {
    return this.#add(Buffer.from(bytes))
  }

  /** PARAMS_INVALID for a string that is longer than libvirt takes. */
  string(text: string): this {
    const bytes = Buffer.from(text)
    if (bytes.length > XDR_STRING_BYTES_MAX) {
      throw new VarveError('PARAMS_INVALID', `libvirt takes strings of at most ${XDR_STRING_BYTES_MAX} bytes`)
    }
    const padding = -bytes.length & (STEP - 1)
    return this.u32(bytes.length).#add(bytes).#add(Buffer.alloc(padding))
  }

  optionalString(text: string | null): this {
    return text === null ? this.u32(0) : this.u32(1).string(text)
  }

  /** How many follow, then each. */
  list<T>(items: readonly T[], write: (item: T) => void): this {
    this.u32(items.length)
    for (const item of items) write(item)
    return this
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }

  #add(part: Buffer): this {
    this.#parts.push(part)
    return this
  }
}

/** Reads the parts of a message one after the other. LIBVIRT_PROTOCOL for anything that does not fit. */
export class XdrReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  i32(): number {
    return this.#take(4).readInt32BE()
  }

  u32(): number {
    return this.#take(4).readUInt32BE()
  }

  i64(): bigint {
    return this.#take(8).readBigInt64BE()
  }

  u64(): bigint {
    return this.#take(8).readBigUInt64BE()
  }

  f64(): number {
    return this.#take(8).readDoubleBE()
  }

  bool(): boolean {
    const value = this.i32()
    if (value !== 0 && value !== 1) throw broken(`has ${value} where 0 or 1 is due`)
    return value === 1
  }

  /** Bytes of a length that both sides know, a multiple of four. */
  fixed(length: number): Buffer {
    return this.#take(length)
  }

  string(): string {
    const bytes = this.#stringBytes()
    try {
      return UTF_8.decode(bytes)
    } catch {
      throw broken('has a string which is not UTF-8')
    }
  }

  /** A string for people, such as an error's: what is not UTF-8 in it is replaced. */
  words(): string {
    return UTF_8_LENIENT.decode(this.#stringBytes())
  }

  /** Null where the value is left out. */
  optional<T>(read: () => T): T | null {
    return this.bool() ? read() : null
  }

  /** At most `max` items, each of which must have at least one byte. */
  list<T>(max: number, read: () => T): T[] {
    const count = this.u32()
    if (count > max) throw broken(`announces ${count} items where libvirt has ${max} at most`)
    if (count > this.#bytes.length - this.#at) throw broken(`announces ${count} items and ends before`)
    return Array.from({ length: count }, read)
  }

  /** To be called when everything has been read. */
  end(): void {
    const left = this.#bytes.length - this.#at
    if (left > 0) throw broken(`goes on for ${left} bytes after its end`)
  }

  #stringBytes(): Buffer {
    const length = this.u32()
    if (length > XDR_STRING_BYTES_MAX) {
      throw broken(`has a string of ${length} bytes, and ${XDR_STRING_BYTES_MAX} is the limit`)
    }
    const bytes = this.#take(length)
    const padding = this.#take(-length & (STEP - 1))
    if (padding.some((byte) => byte !== 0)) throw broken('has a string with bytes after its end')
    return bytes
  }

  #take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw broken(`ends ${end - this.#bytes.length} bytes too early`)
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}
