// Chunks as tests make them one by one, and the messages that carry them put together and taken apart.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { readHeads, writeHeads, type ChunkHead } from '../../protocol/chunk-list.ts'
import { CODEC } from '../../protocol/chunk.ts'

/** One chunk with its stored bytes. */
export interface WireChunk extends Omit<ChunkHead, 'storedLength'> {
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

export const joinChunks = (chunks: readonly WireChunk[]): JoinedChunks => ({
  heads: writeHeads(chunks.map((chunk) => ({ ...chunk, storedLength: chunk.stored.length }))),
  stored: new Uint8Array(Buffer.concat(chunks.map(({ stored }) => stored))),
})

export const splitChunks = ({ heads, stored }: { heads: Uint8Array; stored: Uint8Array }): WireChunk[] => {
  let end = 0
  return readHeads(heads).map(({ storedLength, ...head }) => ({
    ...head,
    stored: stored.subarray(end, (end += storedLength)),
  }))
}

/** A message of chunks: `UP.chunks` of an upload, `LOAD.chunks` of a download. */
export const chunksMessage = <K extends number>(
  kind: K,
  ...chunks: readonly WireChunk[]
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

/** What two chunks of 256 plain bytes or more could be stored as to steal from each other: decoded as one, the bytes are right; each alone, they are not. */
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
