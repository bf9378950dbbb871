// A chunk's way there and back: what is packed is what comes out, each chunk is checked, and a further step has its place.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { CODEC, hex } from '../../../protocol/chunk.ts'
import { readHeads } from '../../../protocol/chunk-list.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  checkChunks,
  decode,
  decodedView,
  frame,
  packing,
  type Framed,
  type PackStep,
} from '../../../protocol/host/chunk-steps.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'

const idKey = new Uint8Array(32).fill(5)

const framed = (plains: readonly Uint8Array[], steps = packing(1)): Framed => {
  const room = new Uint8Array(plains.reduce((sum, { length }) => sum + length, 0))
  return frame(
    plains.map((plain) => ({ id: keyedHash(idKey, plain), plain })),
    steps,
    room,
  )
}

const unframed = ({ heads, stored }: Framed): Uint8Array => {
  const list = readHeads(heads)
  const out = new Uint8Array(list.reduce((sum, { plainLength }) => sum + plainLength, 0))
  const refusal = (id: Uint8Array, cause: unknown): VarveError => new VarveError('DATA_DAMAGED', hex(id), { cause })
  let filled = 0
  const take = (plain: Uint8Array): void => {
    out.set(plain, filled)
    filled += plain.length
  }
  checkChunks(list, stored, { idKey, take, refusal })
  return out
}

const plains = [Buffer.alloc(4096, 'text'), randomBytes(4096), Buffer.alloc(200_000, 1), Buffer.alloc(5, 2)]

test('what is packed is what comes out, smaller where that can be', () => {
  const sent = framed(plains)
  expect(readHeads(sent.heads).map(({ codec }) => codec)).toEqual([CODEC.zstd, CODEC.raw, CODEC.zstd, CODEC.raw])
  expect(sent.stored.length).toBeLessThan(6000)
  expect(Buffer.concat(plains).equals(unframed(sent))).toBe(true)
})

test('the first chunk that is not what it says is named, and those before it are taken', () => {
  const sent = framed([plains[0]!, plains[2]!, plains[0]!])
  const wrong = sent.heads.slice()
  wrong[41]! ^= 1
  expect(() => unframed({ ...sent, heads: wrong })).toThrow(hex(readHeads(wrong)[1]!.id))
  expect(() => decode(CODEC.raw, new Uint8Array(5), 6)).toThrow('the plain length is not what was said')
})

test('steps run in order', () => {
  const seen: Uint8Array[] = []
  const stamp: PackStep = ({ codec, bytes }) => {
    seen.push(bytes)
    return { codec, bytes: Uint8Array.from(bytes, (byte) => byte ^ 1) }
  }
  const plain = new Uint8Array(randomBytes(100_000)).fill(3, 0, 20_000)
  const { stored } = framed([plain], [...packing(1), stamp, stamp])
  expect(stored).toEqual(framed([plain]).stored)
  expect(seen.map(({ length }) => length)).toEqual([stored.length, stored.length])
  expect(plain.length).toBe(100_000)
})

test('what is decoded is kept only where it is asked for', () => {
  const [a, b] = [framed([Buffer.alloc(5000, 1)]).stored, framed([Buffer.alloc(5000, 2)]).stored]
  const own = decode(CODEC.zstd, a, 5000)
  const view = decodedView(CODEC.zstd, a, 5000)
  decodedView(CODEC.zstd, b, 5000)
  expect([own[0], view[0]]).toEqual([1, 2])
  expect(decode(CODEC.raw, a, a.length)).toBe(a)
})
