// Chunks as tests make them one by one, and the messages that carry them put together and taken apart.
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { plainLengthOf, readHeads, writeHeads, type Part } from '../../protocol/chunk-list.ts'
import { CODEC, type Codec } from '../../protocol/chunk.ts'
import { decode, splitParts } from '../../protocol/host/chunk-steps.ts'

/** A bundle of several chunks, with its stored bytes. */
export interface WireBundle {
  readonly codec: Codec
  readonly parts: readonly Part[]
  readonly stored: Uint8Array
}

/** One chunk that is stored alone, with its stored bytes. */
export interface WireChunk extends Part {
  readonly codec: Codec
  readonly stored: Uint8Array
}

/** The heads and the stored bytes of some chunks, each in a buffer of its own. */
export interface JoinedChunks {
  readonly heads: Uint8Array<ArrayBuffer>
  readonly stored: Uint8Array<ArrayBuffer>
}

/** A chunk that is stored as it is. */
export const rawChunk = (id: Uint8Array, plain: Uint8Array): WireChunk => ({
  id,
  codec: CODEC.raw,
  plainLength: plain.length,
  stored: plain,
})

/** The zstd frame that an agent would make of these bytes. */
export const zstdFrame = (plain: Uint8Array): Uint8Array =>
  new Uint8Array(zstdCompressSync(plain, { pledgedSrcSize: plain.length }))

/** The frame with another content size in its header, which has two bytes for it: 256 to 65,791. */
export const sayingLength = (frame: Uint8Array, plainLength: number): Uint8Array => {
  const lying = Uint8Array.from(frame)
  if (lying[4]! >> 5 !== 3) throw new Error('this frame does not have its content size in two bytes')
  new DataView(lying.buffer).setUint16(5, plainLength - 256, true)
  return lying
}

const SKIPPED = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4])

/**
 * A frame by hand whose one block repeats a byte; `head` is what stands between the magic and the content's size of four
 * bytes.
 */
const repeatedFrame = (byte: number, length: number, head: readonly number[], said = length): Buffer => {
  const size = Buffer.alloc(4)
  size.writeUInt32LE(said)
  const block = Buffer.alloc(3)
  block.writeUIntLE((length << 3) | (1 << 1) | 1, 0, 3)
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...head]), size, block, Buffer.of(byte)])
}

/**
 * Bytes that a decoder may take for `length` times one byte (512 or more), and that are not exactly one frame as the
 * protocol wants it.
 */
export const oddFrames = (byte: number, length: number): [name: string, stored: Uint8Array][] => {
  const plain = new Uint8Array(length).fill(byte)
  const frame = Buffer.from(zstdFrame(plain))
  const unsized = { params: { [constants.ZSTD_c_contentSizeFlag]: 0 } }
  const summed = Buffer.from(zstdCompressSync(plain, { params: { [constants.ZSTD_c_checksumFlag]: 1 } }))
  summed[summed.length - 1]! ^= 1
  return [
    ['junk behind it', Buffer.concat([frame, Buffer.from('junk')])],
    ['one zero behind it', Buffer.concat([frame, Buffer.alloc(1)])],
    ['two frames', Buffer.concat([zstdFrame(plain.subarray(0, 300)), zstdFrame(plain.subarray(300))])],
    ['a frame and an empty one', Buffer.concat([frame, zstdFrame(new Uint8Array(0))])],
    ['a skippable frame before it', Buffer.concat([SKIPPED, frame])],
    ['a skippable frame behind it', Buffer.concat([frame, SKIPPED])],
    ['only a skippable frame', SKIPPED],
    ['no content size', new Uint8Array(zstdCompressSync(plain, unsized))],
    ['a content size that is too small', repeatedFrame(byte, length, [0xa0], length - 1)],
    ['a content size that is too large', repeatedFrame(byte, length, [0xa0], length + 1)],
    ['a window of 16 MiB', repeatedFrame(byte, length, [0x80, 14 << 3])],
    ['a window of terabytes', repeatedFrame(byte, length, [0x80, 0xff])],
    ['a dictionary of number 0', repeatedFrame(byte, length, [0xa1, 0])],
    ['a dictionary', repeatedFrame(byte, length, [0xa1, 7])],
    ['a reserved bit', repeatedFrame(byte, length, [0xa8])],
    ['a wrong checksum', summed],
    ['a frame cut short', frame.subarray(0, -1)],
    ['plain bytes', plain],
    ['another magic', Buffer.concat([Buffer.from([0x27]), frame.subarray(1)])],
  ]
}

/** A chunk in zstd, whether that saves or not. */
export const zstdChunk = (id: Uint8Array, plain: Uint8Array): WireChunk => ({
  id,
  codec: CODEC.zstd,
  plainLength: plain.length,
  stored: zstdFrame(plain),
})

/** A chunk as an agent sends it: zstd where that saves. */
export const wireChunk = (id: Uint8Array, plain: Uint8Array): WireChunk => {
  const small = zstdChunk(id, plain)
  return small.stored.length < plain.length ? small : rawChunk(id, plain)
}

/** Chunks that are stored together: zstd where that saves. */
export const wireBundle = (chunks: readonly (readonly [id: Uint8Array, plain: Uint8Array])[]): WireBundle => {
  const plain = Buffer.concat(chunks.map(([, bytes]) => bytes))
  const { codec, stored } = wireChunk(new Uint8Array(32), plain)
  return { codec, stored, parts: chunks.map(([id, bytes]) => ({ id, plainLength: bytes.length })) }
}

const partsOf = (one: WireChunk | WireBundle): readonly Part[] =>
  'parts' in one ? one.parts : [{ id: one.id, plainLength: one.plainLength }]

export const joinChunks = (chunks: readonly (WireChunk | WireBundle)[]): JoinedChunks => ({
  heads: writeHeads(chunks.map((one) => ({ codec: one.codec, storedLength: one.stored.length, parts: partsOf(one) }))),
  stored: new Uint8Array(Buffer.concat(chunks.map(({ stored }) => stored))),
})

/** The chunks of a message; those of a bundle of several as plain ones. */
export const splitChunks = ({ heads, stored }: { heads: Uint8Array; stored: Uint8Array }): WireChunk[] => {
  let end = 0
  return readHeads(heads).flatMap(({ codec, storedLength, parts }): WireChunk[] => {
    const bytes = stored.subarray(end, (end += storedLength))
    const [only] = parts
    if (parts.length === 1 && only !== undefined) return [{ ...only, codec, stored: bytes }]
    const plains = splitParts(parts, decode(codec, bytes, plainLengthOf(parts)))
    return parts.map(({ id }, place) => rawChunk(id, plains[place]!))
  })
}

/** A message of chunks: `UP.chunks` of an upload, `LOAD.chunks` of a download. */
export const chunksMessage = <K extends number>(
  kind: K,
  ...chunks: readonly (WireChunk | WireBundle)[]
): [K, Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] => {
  const { heads, stored } = joinChunks(chunks)
  return [kind, heads, stored]
}

/** Plain bytes of one chunk, decoded by itself; its id is not looked at. */
export const plainOf = ({ codec, plainLength, stored }: WireChunk): Uint8Array => {
  const plain = codec === CODEC.raw ? stored : zstdDecompressSync(stored, { maxOutputLength: plainLength })
  if (plain.length !== plainLength) throw new Error(`a chunk of ${plain.length} bytes says that it has ${plainLength}`)
  return plain
}

/**
 * What two chunks of 256 plain bytes or more could be stored as to steal from each other: decoded as one, the bytes are
 * right; each alone, they are not.
 */
export const thievingPairs = (a: Uint8Array, b: Uint8Array): [Partial<WireChunk>, Partial<WireChunk>][] => {
  const both = Buffer.concat([a, b])
  const stolen = 100
  const long = zstdFrame(both.subarray(0, a.length + stolen))
  const short = zstdFrame(both.subarray(a.length + stolen))
  const hidden = zstdFrame(Buffer.alloc(b.length, 'else'))
  const skipped = Buffer.from([0x50, 0x2a, 0x4d, 0x18, hidden.length, 0, 0, 0])
  return [
    [{ stored: long }, { stored: short }],
    [{ stored: sayingLength(long, a.length) }, { stored: sayingLength(short, b.length) }],
    [
      { stored: long, plainLength: a.length + stolen },
      { stored: short, plainLength: b.length - stolen },
    ],
    // a frame more than there are chunks
    [
      { stored: Buffer.concat([zstdFrame(a), zstdFrame(b.subarray(0, stolen))]) },
      { stored: zstdFrame(b.subarray(stolen)) },
    ],
    // both frames, and a third that makes a decoder skip what stands for the second
    [{ stored: Buffer.concat([zstdFrame(a), zstdFrame(b), skipped]) }, { stored: hidden }],
  ]
}
