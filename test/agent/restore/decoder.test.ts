// The decoding threads: plain bytes in order, and every kind of wrong chunk named.
import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { Decoder } from '../../../agent/restore/decoder.ts'
import { CODEC, hex } from '../../../protocol/chunk.ts'
import { isOneFrame } from '../../../protocol/zstd-frame.ts'
import {
  joinChunks,
  oddFrames,
  rawChunk,
  thievingPairs,
  zstdChunk,
  zstdFrame,
  type WireChunk,
} from '../../protocol/wire-chunks.ts'
import { codeOf, failureOf } from './code-of.ts'

const idKey = new Uint8Array(32).fill(5)

const packed = (plain: Uint8Array): WireChunk => zstdChunk(keyedHash(idKey, plain), plain)
const stored = (plain: Uint8Array): WireChunk => rawChunk(keyedHash(idKey, plain), plain)

const decode = (decoder: Decoder, ...chunks: readonly WireChunk[]): Promise<Uint8Array> => {
  const { heads, stored } = joinChunks(chunks)
  return decoder.decode(idKey, heads, stored)
}

const isDecoded = async (decoding: Promise<Uint8Array>, ...plains: readonly Uint8Array[]): Promise<boolean> =>
  Buffer.concat(plains).equals(await decoding)

/** Why a wrong chunk is refused: it is not stored as the protocol wants it, or it is not what it was. */
const codeFor = ({ codec, stored, plainLength }: WireChunk): string =>
  codec === CODEC.zstd && !isOneFrame(stored, plainLength) ? 'CHUNK_INVALID' : 'DATA_DAMAGED'

/** The decoding is refused for this chunk, by its name. */
const refusedFor = async (bad: WireChunk, decoding: Promise<unknown>): Promise<void> =>
  expect(await failureOf(decoding)).toMatchObject({ code: codeFor(bad), details: { id: hex(bad.id) } })

test('gives the plain bytes of every message, whatever thread did it', async () => {
  await using decoder = new Decoder()
  const messages = Array.from({ length: 12 }, () => [randomBytes(4096), new Uint8Array(70_000).fill(3), randomBytes(1)])
  const decoded = await Promise.all(messages.map(([a, b, c]) => decode(decoder, stored(a!), packed(b!), stored(c!))))
  for (const [index, plain] of decoded.entries())
    expect(Buffer.concat(messages[index]!).equals(Buffer.from(plain))).toBe(true)
})

test('leaves a message that shares its buffer as it was, and takes one that has a large buffer to itself', async () => {
  await using decoder = new Decoder()
  for (const [length, behind] of [
    [1000, 0],
    [1000, 100],
    [100_000, 100],
  ] as const) {
    const plain = new Uint8Array(randomBytes(length))
    const { heads, stored: bytes } = joinChunks([stored(plain)])
    const frame = new Uint8Array(100 + length + behind)
    frame.set(bytes, 100)
    const view = frame.subarray(100, 100 + length)
    expect(await isDecoded(decoder.decode(idKey, heads, view), plain)).toBe(true)
    expect(Buffer.compare(view, plain)).toBe(0)
    // neither has been given to another thread
    expect(heads.length).toBeGreaterThan(0)
  }
  const plain = randomBytes(100_000)
  const { heads, stored: bytes } = joinChunks([stored(plain)])
  expect(await isDecoded(decoder.decode(idKey, heads, bytes), plain)).toBe(true)
  expect(bytes.buffer.byteLength).toBe(0)
})

test('buffers that are given back serve again, for messages of every size', async () => {
  await using decoder = new Decoder()
  for (const length of [100_000, 5000, 100_000, 200_000, 1, 70_000]) {
    const plains = [randomBytes(length), Buffer.alloc(length, 'text'), randomBytes(3)] as const
    const plain = await decode(decoder, stored(plains[0]), packed(plains[1]), stored(plains[2]))
    expect(Buffer.concat(plains).equals(plain)).toBe(true)
    decoder.release(plain)
  }
})

test('names the chunk that is damaged and goes on with the next message', async () => {
  await using decoder = new Decoder()
  const plain = randomBytes(5000)
  const chunk = packed(plain)
  const { stored: bytes } = chunk
  const length = plain.length
  const wrong: Partial<WireChunk>[] = [
    { id: keyedHash(idKey, Buffer.from('other')) },
    { stored: bytes.subarray(0, bytes.length - 10) },
    { stored: new Uint8Array(randomBytes(bytes.length)) },
    { plainLength: length + 1 },
    { plainLength: length - 1 },
    { codec: CODEC.raw, stored: plain.subarray(1) },
    { id: keyedHash(new Uint8Array(32), plain), codec: CODEC.raw, stored: plain },
  ]
  for (const change of wrong) {
    const bad = { ...chunk, ...change }
    await refusedFor(bad, decode(decoder, stored(plain), bad, chunk))
  }
  expect((await decode(decoder, stored(plain))).length).toBe(5000)
})

test('names the chunk that is damaged among neighbours that are decoded together', async () => {
  await using decoder = new Decoder()
  const plains = Array.from({ length: 20 }, (_, seed) => Buffer.alloc(4096, seed))
  const chunks = plains.map(packed)
  expect(await isDecoded(decode(decoder, ...chunks), ...plains)).toBe(true)
  for (const at of [0, 1, 10, 18, 19]) {
    const chunk = chunks[at]!
    const wrong: Partial<WireChunk>[] = [
      { id: new Uint8Array(32).fill(200) },
      { stored: zstdFrame(Buffer.alloc(4096, 99)) },
      { stored: chunk.stored.subarray(0, -1) },
      { stored: new Uint8Array(randomBytes(chunk.stored.length)) },
    ]
    for (const change of wrong) {
      const bad = { ...chunk, ...change }
      await refusedFor(bad, decode(decoder, ...chunks.toSpliced(at, 1, bad)))
    }
  }
})

test('one that brings what belongs to the next is damaged, though both together have the right bytes', async () => {
  await using decoder = new Decoder()
  const [a, b] = [Buffer.alloc(1000, 'this'), Buffer.alloc(1000, 'that')]
  const [first, second] = [packed(a), packed(b)]
  for (const [one, two] of thievingPairs(a, b))
    await refusedFor({ ...first, ...one }, decode(decoder, { ...first, ...one }, { ...second, ...two }))
  expect(await isDecoded(decode(decoder, first, second), a, b)).toBe(true)
})

test.each(oddFrames(2, 4096))('refuses a zstd chunk with %s, alone and among others', async (_, bytes) => {
  await using decoder = new Decoder()
  const plain = new Uint8Array(4096).fill(2)
  const odd = { ...packed(plain), stored: bytes }
  for (const others of [[], [packed(randomBytes(700)), stored(plain)]])
    for (const message of [
      [...others, odd],
      [odd, ...others],
    ]) {
      const failure = await failureOf(decode(decoder, ...message))
      expect(['CHUNK_INVALID', 'DATA_DAMAGED']).toContain(failure?.code)
      expect(failure).toMatchObject({ code: codeFor(odd), details: { id: hex(odd.id) } })
    }
})

test('never unpacks more than a chunk says it is', async () => {
  await using decoder = new Decoder()
  const bomb = new Uint8Array(zstdCompressSync(Buffer.alloc(256 * 1024 * 1024)))
  expect(bomb.length).toBeLessThan(64 * 1024)
  const before = process.memoryUsage().rss
  const chunk = { id: new Uint8Array(32), codec: CODEC.zstd, plainLength: 65_536, stored: bomb }
  expect(await codeOf(decode(decoder, chunk))).toBe('CHUNK_INVALID')
  expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024)
})

test('ends what still waits, and answers nothing afterwards', async () => {
  const decoder = new Decoder()
  const plain = randomBytes(1024 * 1024)
  const waiting = Array.from({ length: 8 }, () => codeOf(decode(decoder, stored(plain))))
  await decoder[Symbol.asyncDispose]()
  expect(await Promise.all(waiting)).toEqual(Array.from({ length: 8 }, () => 'CANCELLED'))
  expect(await codeOf(decode(decoder, stored(plain)))).toBe('CANCELLED')
})
