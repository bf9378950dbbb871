// The decoding threads: plain bytes in order, and every kind of wrong chunk named.
import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { keyedHash } from '../../../agent/image/keyed-hash.ts'
import { Decoder } from '../../../agent/restore/decoder.ts'
import { CODEC, hex } from '../../../protocol/chunk.ts'
import type { WireChunk } from '../../../protocol/methods.ts'
import { codeOf, failureOf } from './code-of.ts'

const idKey = new Uint8Array(32).fill(5)

const packed = (plain: Uint8Array): WireChunk => [
  keyedHash(idKey, plain),
  CODEC.zstd,
  plain.length,
  new Uint8Array(zstdCompressSync(plain)),
]
const stored = (plain: Uint8Array): WireChunk => [keyedHash(idKey, plain), CODEC.raw, plain.length, plain]

test('gives the plain bytes of every message, whatever thread did it', async () => {
  await using decoder = new Decoder()
  const messages = Array.from({ length: 12 }, () => [randomBytes(4096), new Uint8Array(70_000).fill(3), randomBytes(1)])
  const decoded = await Promise.all(
    messages.map(([a, b, c]) => decoder.decode(idKey, [stored(a!), packed(b!), stored(c!)])),
  )
  for (const [index, plain] of decoded.entries())
    expect(Buffer.concat(messages[index]!).equals(Buffer.from(plain))).toBe(true)
})

test('leaves the message it was given as it was', async () => {
  await using decoder = new Decoder()
  const frame = Buffer.concat([randomBytes(100), Buffer.alloc(1000, 1), randomBytes(100)])
  const view = new Uint8Array(frame.buffer, frame.byteOffset + 100, 1000)
  await decoder.decode(idKey, [stored(view)])
  expect(view.length).toBe(1000)
  expect(view[999]).toBe(1)
})

test('names the chunk that is damaged and goes on with the next message', async () => {
  await using decoder = new Decoder()
  const plain = randomBytes(5000)
  const [id, , length, bytes] = packed(plain)
  const wrong: WireChunk[] = [
    [keyedHash(idKey, Buffer.from('other')), CODEC.zstd, length, bytes],
    [id, CODEC.zstd, length, bytes.subarray(0, bytes.length - 10)],
    [id, CODEC.zstd, length, randomBytes(bytes.length)],
    [id, CODEC.zstd, length + 1, bytes],
    [id, CODEC.zstd, length - 1, bytes],
    [id, CODEC.raw, length, plain.subarray(1)],
    [keyedHash(new Uint8Array(32), plain), CODEC.raw, length, plain],
  ]
  for (const chunk of wrong) {
    const error = await failureOf(decoder.decode(idKey, [stored(plain), chunk]))
    expect(error?.code).toBe('DATA_DAMAGED')
    expect(error?.details).toEqual({ id: hex(chunk[0]) })
  }
  expect((await decoder.decode(idKey, [stored(plain)])).length).toBe(5000)
})

test('never unpacks more than a chunk says it is', async () => {
  await using decoder = new Decoder()
  const bomb = new Uint8Array(zstdCompressSync(Buffer.alloc(256 * 1024 * 1024)))
  expect(bomb.length).toBeLessThan(64 * 1024)
  const before = process.memoryUsage().rss
  expect(await codeOf(decoder.decode(idKey, [[new Uint8Array(32), CODEC.zstd, 65_536, bomb]]))).toBe('DATA_DAMAGED')
  expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024)
})

test('ends what still waits, and answers nothing afterwards', async () => {
  const decoder = new Decoder()
  const plain = randomBytes(1024 * 1024)
  const waiting = Array.from({ length: 8 }, () => codeOf(decoder.decode(idKey, [stored(plain)])))
  await decoder[Symbol.asyncDispose]()
  expect(await Promise.all(waiting)).toEqual(Array.from({ length: 8 }, () => 'CANCELLED'))
  expect(await codeOf(decoder.decode(idKey, [stored(plain)]))).toBe('CANCELLED')
})
