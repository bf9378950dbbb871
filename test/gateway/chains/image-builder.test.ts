// The tree of an upload: random runs over a base against a plain list, state kept and taken up again, and bounds.
import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeState,
  EMPTY_STATE,
  encodeState,
  ImageBuilder,
  type ChildrenAt,
} from '../../../gateway/chains/image-builder.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { ReadNodes } from '../../../gateway/trees/node-reader.ts'
import { childrenAt } from '../../../gateway/trees/places.ts'
import { hex } from '../../../protocol/chunk.ts'
import { decodeNode, FAN_OUT, rootLevel, sameRef, type Ref } from '../../../protocol/image-tree.ts'
import { treeOf } from '../datastore/fixture.ts'

const idKey = randomBytes(32)
const tenant = { id: 'a', name: 'a', idKey, chunkBytes: 4096, createdMs: 0 }
const ids = Array.from({ length: 4 }, () => new Uint8Array(randomBytes(32)))

const baseOf = (refs: readonly Ref[]): ChildrenAt => {
  const { root, nodes } = treeOf(tenant, refs)
  const byId = new Map(nodes.map((node) => [hex(node.id), decodeNode(node.bytes)]))
  const read: ReadNodes = async (wanted) => wanted.map((id) => byId.get(hex(id))!)
  return (level, position, count) => childrenAt(read, { root, level: rootLevel(refs.length) }, level, position, count)
}

const writerOf = (chunks: number, base: ChildrenAt | null, state = encodeState(EMPTY_STATE)): ImageBuilder =>
  new ImageBuilder({ chunks, idKey, hash: keyedHash, state, base, onNode: () => {} })

const spans = fc.oneof(
  fc.integer({ min: 1, max: 5 }),
  fc.constantFrom(FAN_OUT - 1, FAN_OUT, FAN_OUT + 1, FAN_OUT * FAN_OUT),
)
const steps = fc.array(fc.record({ kind: fc.constantFrom('keep', 'zero', 'ids'), span: spans, pause: fc.boolean() }), {
  minLength: 1,
  maxLength: 40,
})

test('any runs over any base give the tree of the same chunks, also when taken up from any state', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5000 }), fc.integer(), steps, async (chunks, seed, plan) => {
      const before: Ref[] = Array.from({ length: chunks }, (_, index) => ids[Math.abs(seed + index) % 7] ?? null)
      const base = baseOf(before)
      const now = [...before]
      let writer = writerOf(chunks, base)
      for (const { kind, span, pause } of plan) {
        const { position } = writer
        const count = Math.min(span, chunks - position)
        if (count === 0) break
        if (kind === 'keep') await writer.keep(count)
        else if (kind === 'zero') {
          writer.zeroes(count)
          now.fill(null, position, position + count)
        } else {
          for (let at = 0; at < count; at++) {
            writer.chunk(ids[at % 4]!)
            now[position + at] = ids[at % 4]!
          }
        }
        expect(writer.position).toBe(position + count)
        if (pause) writer = writerOf(chunks, base, writer.state)
      }
      if (writer.position < chunks) await writer.keep(chunks - writer.position)
      expect(sameRef(writer.finish(), treeOf(tenant, now).root)).toBe(true)
    }),
    { numRuns: 40 },
  )
})

test('the state is small, whatever the disk', () => {
  const chunks = 2 ** 36
  const writer = writerOf(chunks, null)
  for (let index = 0; index < FAN_OUT * FAN_OUT - 1; index++) writer.chunk(ids[index % 4]!)
  const { state } = writer
  expect(state.length).toBeLessThan(8 * FAN_OUT * 40)
  expect(decodeState(state).position).toBe(FAN_OUT * FAN_OUT - 1)
})

test('runs past the end, a keep without a base and an unfinished image are refused', async () => {
  const writer = writerOf(10, null)
  const invalid = expect.objectContaining({ code: 'UPLOAD_INVALID' })
  expect(() => writer.zeroes(11)).toThrow(invalid)
  await expect(writer.keep(1)).rejects.toMatchObject({ code: 'UPLOAD_INVALID' })
  await expect(writerOf(10, baseOf([null])).keep(11)).rejects.toMatchObject({ code: 'UPLOAD_INVALID' })
  expect(() => writer.finish()).toThrow(expect.objectContaining({ code: 'IMAGE_INCOMPLETE' }))
  writer.zeroes(10)
  expect(() => writer.chunk(ids[0]!)).toThrow(invalid)
  expect(writer.finish()).toBeNull()
})

test('a placed id does not keep the frame that it came in', () => {
  const writer = writerOf(3, null)
  const frame = new Uint8Array(1024).fill(1)
  writer.chunk(frame.subarray(0, 32))
  frame.fill(2)
  writer.zeroes(2)
  expect(writer.finish()).toEqual(treeOf(tenant, [new Uint8Array(32).fill(1), null, null]).root)
})
