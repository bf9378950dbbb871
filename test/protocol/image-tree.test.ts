// The image tree: builder, node format, resuming. Method: a naive recursive tree over the same chunks must give every node alike.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { hex } from '../../protocol/chunk.ts'
import {
  childSpan,
  decodeNode,
  encodeNode,
  FAN_OUT,
  LEVEL_MAX,
  NODE_BYTES_MAX,
  nodeKey,
  rootLevel,
  sameRef,
  TreeBuilder,
  type BuilderState,
  type NewNode,
  type Ref,
} from '../../protocol/image-tree.ts'
import { codeThrown } from './peer-pair.ts'

const KEY = nodeKey(keyedHash, new Uint8Array(32).fill(5))

/** A stretch of equal chunks; 0 is the chunk of zeroes. */
interface Stretch {
  readonly content: number
  readonly count: number
}

const chunkId = (content: number): Ref => (content === 0 ? null : new Uint8Array(32).fill(content))

const contentsOf = (stretches: readonly Stretch[]): Uint8Array => {
  const contents = new Uint8Array(stretches.reduce((sum, { count }) => sum + count, 0))
  let at = 0
  for (const { content, count } of stretches) {
    contents.fill(content, at, at + count)
    at += count
  }
  return contents
}

/** Every node of the tree over these chunks, from the top down, as the text says it. */
class NaiveTree {
  readonly nodes = new Map<string, { id: Uint8Array; bytes: Uint8Array }>()
  readonly root: Ref
  readonly #contents: Uint8Array

  constructor(contents: Uint8Array) {
    this.#contents = contents
    let level = 0
    while (64 ** (level + 1) < contents.length) level++
    this.root = this.#build(level, 0)
  }

  /** What stands at a position in a node of this level. */
  ref(level: number, position: number): Ref {
    if (level === 0) return chunkId(this.#contents[position] ?? 0)
    return this.nodes.get(`${level - 1}/${position}`)?.id ?? null
  }

  #build(level: number, position: number): Ref {
    let bitmap = 0n
    const ids: Uint8Array[] = []
    for (let child = 0; child < 64; child++) {
      const at = position + child * 64 ** level
      if (at >= this.#contents.length) break
      const id = level === 0 ? chunkId(this.#contents[at]!) : this.#build(level - 1, at)
      if (id === null) continue
      bitmap |= 1n << BigInt(child)
      ids.push(id)
    }
    if (ids.length === 0) return null
    const header = Buffer.alloc(9)
    header[0] = level
    header.writeBigUInt64LE(bitmap, 1)
    const bytes = Uint8Array.from(Buffer.concat([header, ...ids]))
    const id = keyedHash(KEY, bytes)
    this.nodes.set(`${level}/${position}`, { id, bytes })
    return id
  }
}

const builderOf = (chunks: number, onNode: (node: NewNode) => void = () => {}, state?: BuilderState): TreeBuilder =>
  new TreeBuilder({ chunks, hash: keyedHash, nodeKey: KEY, onNode, ...(state === undefined ? {} : { state }) })

const rootOf = (contents: readonly number[]): Ref => {
  const builder = builderOf(contents.length)
  for (const content of contents) builder.place(0, chunkId(content))
  return builder.finish()
}

const stretch = (counts: fc.Arbitrary<number>): fc.Arbitrary<Stretch> =>
  fc.record({ content: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4 })), count: counts })

const image = fc.oneof(
  { weight: 3, arbitrary: fc.array(stretch(fc.integer({ min: 1, max: 40 })), { minLength: 1, maxLength: 20 }) },
  {
    weight: 3,
    arbitrary: fc.array(stretch(fc.constantFrom(1, 63, 64, 65, 4095, 4096)), { minLength: 1, maxLength: 4 }),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(stretch(fc.constantFrom(1, 64, 262_143, 262_144)), stretch(fc.constantFrom(1, 64, 4097))),
  },
)

describe('the builder', () => {
  test('gives the nodes and the root of the naive tree, whatever steps it takes and wherever it is resumed', () => {
    const steps = fc.infiniteStream(fc.record({ level: fc.nat(3), resume: fc.nat(9), zeroes: fc.nat(5000) }))
    fc.assert(
      fc.property(image, steps, (stretches, wishes) => {
        const contents = contentsOf(stretches)
        const naive = new NaiveTree(contents)
        const seen = new Map<string, NewNode>()
        const onNode = (node: NewNode): void => void seen.set(`${node.level}/${node.position}`, node)
        let builder = builderOf(contents.length, onNode)
        while (builder.position < contents.length) {
          const { level, resume, zeroes } = wishes.next().value
          const from = builder.position
          let zeroRun = 0
          while (zeroRun < zeroes && from + zeroRun < contents.length && contents[from + zeroRun] === 0) zeroRun++
          if (zeroRun > 0) {
            builder.placeZeroes(zeroRun)
            expect(builder.position).toBe(from + zeroRun)
          } else {
            const placed = Math.min(level, builder.placeableLevel(contents.length - from))
            builder.place(placed, naive.ref(placed, from))
          }
          if (resume === 0) builder = builderOf(contents.length, onNode, structuredClone(builder.state))
        }
        expect(sameRef(builder.finish(), naive.root)).toBe(true)
        for (const [place, { id, bytes }] of seen) {
          expect(hex(id), place).toBe(hex(naive.nodes.get(place)!.id))
          expect(hex(bytes), place).toBe(hex(naive.nodes.get(place)!.bytes))
        }
      }),
      { numRuns: 60 },
    )
  })

  test('chunk by chunk it gives every node of the naive tree, once', () => {
    fc.assert(
      fc.property(fc.array(stretch(fc.integer({ min: 1, max: 300 })), { minLength: 1, maxLength: 30 }), (stretches) => {
        const contents = contentsOf(stretches)
        const naive = new NaiveTree(contents)
        const places: string[] = []
        const builder = builderOf(contents.length, ({ level, position }) => void places.push(`${level}/${position}`))
        for (const content of contents) builder.place(0, chunkId(content))
        expect(sameRef(builder.finish(), naive.root)).toBe(true)
        expect(places.toSorted()).toEqual([...naive.nodes.keys()].toSorted())
      }),
      { numRuns: 40 },
    )
  })

  test('an image of zeroes has no node and no root', () => {
    for (const chunks of [0, 1, 64, 65, 4096, 4097, 2 ** 40]) {
      const nodes: NewNode[] = []
      const builder = builderOf(chunks, (node) => void nodes.push(node))
      builder.placeZeroes(chunks)
      expect(builder.finish()).toBeNull()
      expect(nodes).toEqual([])
    }
  })

  test('one chunk at the end of a huge image costs one node a level', () => {
    const chunks = 2 ** 30
    const nodes: NewNode[] = []
    const builder = builderOf(chunks, (node) => void nodes.push(node))
    builder.placeZeroes(chunks - 1)
    builder.place(0, chunkId(1))
    expect(builder.finish()).not.toBeNull()
    expect(nodes.map(({ level, position }) => ({ level, position }))).toEqual(
      [0, 1, 2, 3, 4].map((level) => ({ level, position: chunks - 64 ** (level + 1) })),
    )
  })

  test('the same chunks in another order, or one more zero at the end, may share nodes but not the fingerprint', () => {
    expect(sameRef(rootOf([1, 2]), rootOf([2, 1]))).toBe(false)
    // told apart by the size, which is the other half of a fingerprint
    expect(sameRef(rootOf([1, 2]), rootOf([1, 2, 0]))).toBe(true)
  })

  test('a state is a copy: what is placed later is not in it', () => {
    const builder = builderOf(3)
    builder.place(0, chunkId(1))
    const { state } = builder
    builder.place(0, chunkId(2))
    builder.place(0, chunkId(2))
    const resumed = builderOf(3, () => {}, state)
    expect(resumed.position).toBe(1)
    resumed.place(0, chunkId(3))
    resumed.place(0, chunkId(3))
    expect(sameRef(resumed.finish(), builder.finish())).toBe(false)
  })

  test('what does not fit at a position is UPLOAD_INVALID', () => {
    const builder = builderOf(5000)
    expect(codeThrown(() => builder.place(3, null))).toBe('UPLOAD_INVALID')
    builder.place(0, chunkId(1))
    expect(codeThrown(() => builder.place(1, null))).toBe('UPLOAD_INVALID')
    expect(codeThrown(() => builder.placeZeroes(5000))).toBe('UPLOAD_INVALID')
  })

  test('nothing fits behind the end', () => {
    const builder = builderOf(65)
    builder.place(1, chunkId(1))
    builder.place(1, chunkId(2))
    expect(builder.position).toBe(65)
    for (const level of [0, 1]) expect(codeThrown(() => builder.place(level, null))).toBe('UPLOAD_INVALID')
  })

  test('the largest level that fits counts what is behind the end as filled', () => {
    const builder = builderOf(64 + 36)
    expect([1, 63, 64, 100].map((count) => builder.placeableLevel(count))).toEqual([0, 0, 1, 1])
    builder.place(1, chunkId(1))
    expect([1, 35, 36].map((count) => builder.placeableLevel(count))).toEqual([0, 0, 1])
  })

  test('an end before the end is IMAGE_INCOMPLETE', () => {
    const builder = builderOf(65)
    builder.place(1, chunkId(1))
    expect(codeThrown(() => builder.finish())).toBe('IMAGE_INCOMPLETE')
  })
})

describe('levels', () => {
  test('a root spans its chunks and no lower one does', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 2 ** 48 }), (chunks) => {
        const level = rootLevel(chunks)
        expect(childSpan(level + 1)).toBeGreaterThanOrEqual(chunks)
        if (level > 0) expect(childSpan(level)).toBeLessThan(chunks)
        expect(level).toBeLessThanOrEqual(LEVEL_MAX)
      }),
    )
    expect([0, 1, 64, 65, 4096, 4097].map(rootLevel)).toEqual([0, 0, 0, 1, 1, 2])
  })
})

describe('nodes', () => {
  const ref = fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { freq: 2 })
  const children = fc
    .array(ref, { minLength: FAN_OUT, maxLength: FAN_OUT })
    .filter((refs) => refs.some((one) => one !== null))

  test('what is encoded decodes to the same', () => {
    fc.assert(
      fc.property(fc.nat(LEVEL_MAX), children, fc.nat(FAN_OUT - 1), fc.nat(FAN_OUT), (level, refs, from, count) => {
        const bytes = encodeNode(level, refs)
        expect(bytes.length).toBeLessThanOrEqual(NODE_BYTES_MAX)
        const node = decodeNode(bytes)
        expect([node.level, node.children]).toEqual([level, refs])
        expect(refs.map((_, index) => node.child(index))).toEqual(refs)
        expect(node.slice(from, count)).toEqual(refs.slice(from, from + count))
      }),
    )
  })

  test('bytes that are not exactly one node are DATA_DAMAGED', () => {
    const bytes = encodeNode(2, [chunkId(1), null, chunkId(2), ...Array.from({ length: 61 }, () => null)])
    for (let length = 0; length < bytes.length; length++)
      expect(codeThrown(() => decodeNode(bytes.subarray(0, length)))).toBe('DATA_DAMAGED')
    expect(codeThrown(() => decodeNode(Uint8Array.of(...bytes, 0)))).toBe('DATA_DAMAGED')
    expect(codeThrown(() => decodeNode(bytes.with(0, LEVEL_MAX + 1)))).toBe('DATA_DAMAGED')
    expect(codeThrown(() => decodeNode(bytes.with(1, 0b111)))).toBe('DATA_DAMAGED')
    expect(codeThrown(() => decodeNode(new Uint8Array(9)))).toBe('DATA_DAMAGED')
  })

  test('any bytes are DATA_DAMAGED or the one encoding of a node', () => {
    const bytes = fc
      .tuple(fc.nat(9), fc.uint8Array({ minLength: 8, maxLength: 8 }), fc.nat(5))
      .chain(([level, bitmap, off]) => {
        const present = bitmap.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
        return fc.constant(Uint8Array.of(level, ...bitmap, ...new Uint8Array(Math.max(0, present * 32 - 2 + off))))
      })
    fc.assert(
      fc.property(bytes, (node) => {
        const code = codeThrown(() => decodeNode(node))
        if (code === 'none') {
          const { level, children } = decodeNode(node)
          expect(hex(encodeNode(level, children))).toBe(hex(node))
        } else expect(code).toBe('DATA_DAMAGED')
      }),
      { numRuns: 500 },
    )
  })

  test('a chunk cannot pass for a node: their ids are keyed apart', () => {
    const idKey = new Uint8Array(32).fill(5)
    const bytes = encodeNode(0, [chunkId(1), ...Array.from({ length: 63 }, () => null)])
    expect(hex(keyedHash(idKey, bytes))).not.toBe(hex(keyedHash(KEY, bytes)))
  })
})

test('references are the same by their bytes', () => {
  expect(sameRef(null, null)).toBe(true)
  expect(sameRef(null, chunkId(1))).toBe(false)
  expect(sameRef(chunkId(1), null)).toBe(false)
  expect(sameRef(chunkId(1), chunkId(1))).toBe(true)
  expect(sameRef(chunkId(1), chunkId(2))).toBe(false)
})
