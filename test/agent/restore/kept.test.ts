// What a restore that was broken off left: exactly what comes before the first chunk that is not the image's.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ImageTree } from '../../../agent/export/image-tree.ts'
import type { HashedImage } from '../../../agent/image/hashed-image.ts'
import type { DiskExtent } from '../../../agent/nbd/extents.ts'
import { heldRefs } from '../../../agent/restore/kept.ts'
import { contentBytes } from '../../../agent/restore/space.ts'
import { chunkCount } from '../../../protocol/chunk.ts'
import { joinIds } from '../../../protocol/host/bytes.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { childSpan, nodeKey, TreeBuilder, type Ref } from '../../../protocol/image-tree.ts'

const CHUNK = 4096
const ID_KEY = new Uint8Array(32).fill(5)

interface Image {
  readonly refs: readonly Ref[]
  readonly tree: ImageTree
}

const imageOf = (disk: Buffer): Image => {
  const chunks = chunkCount(disk.length, CHUNK)
  const nodes = new Map<string, Uint8Array>()
  const builder = new TreeBuilder({
    chunks,
    hash: keyedHash,
    nodeKey: nodeKey(keyedHash, ID_KEY),
    onNode: ({ level, position, bytes }) => void nodes.set(`${level}/${position / childSpan(level + 1)}`, bytes),
  })
  const refs = Array.from({ length: chunks }, (_, at): Ref => {
    const plain = disk.subarray(at * CHUNK, (at + 1) * CHUNK)
    return plain.every((byte) => byte === 0) ? null : keyedHash(ID_KEY, plain)
  })
  for (const ref of refs) builder.place(0, ref)
  const root = builder.finish()
  const reads = {
    nodes: async (level: number, position: number, count: number) => {
      const first = position / childSpan(level + 1)
      return Array.from({ length: count }, (_, at) => nodes.get(`${level}/${first + at}`)).filter(
        (one) => one !== undefined,
      )
    },
  }
  return { refs, tree: new ImageTree({ reads, idKey: ID_KEY, chunkBytes: CHUNK, size: disk.length, root }) }
}

/** A disk of some leaves, of which about half the chunks are zero. */
const diskOf = (kinds: readonly number[], tail: number): Buffer => {
  const disk = Buffer.alloc((kinds.length - 1) * CHUNK + tail)
  for (const [at, kind] of kinds.entries())
    if (kind > 3) disk.fill(kind, at * CHUNK, Math.min((at + 1) * CHUNK, disk.length))
  return disk
}

/** The map of a disk whose zeroes are holes, each of them a chunk or more. */
async function* mapOf(disk: Buffer): AsyncGenerator<DiskExtent> {
  for (let offset = 0; offset < disk.length; offset += CHUNK) {
    const length = Math.min(CHUNK, disk.length - offset)
    const isHole = disk.subarray(offset, offset + length).every((byte) => byte === 0)
    yield { offset, length, kind: isHole ? 'zero' : 'data' }
  }
}

/** What is held of a disk, of which no hole is read. */
const kept = async (disk: Buffer, { tree }: Image): Promise<Ref[]> => {
  const hash: HashedImage['hash'] = async (runs) => {
    const positions = runs.flatMap(({ kind, position, count }) =>
      kind === 'read' ? Array.from({ length: count }, (_, at) => position + at) : [],
    )
    const plains = positions.map((position) => disk.subarray(position * CHUNK, (position + 1) * CHUNK))
    expect(plains.every((plain) => plain.some((byte) => byte !== 0))).toBe(true)
    return { ids: joinIds(plains.map((plain) => keyedHash(ID_KEY, plain))), zero: new Uint8Array(plains.length) }
  }
  const all: Ref[] = []
  for await (const refs of heldRefs({ extents: mapOf(disk), hash, ahead: 3 }, { tree, chunkBytes: CHUNK }))
    all.push(...refs)
  return all
}

const kinds = fc.array(fc.nat({ max: 7 }), { minLength: 1, maxLength: 200 })
const tail = fc.integer({ min: 1, max: CHUNK })

test('everything of a whole disk, and of any other what comes before its first difference', async () => {
  await fc.assert(
    fc.asyncProperty(kinds, tail, fc.nat(), fc.integer({ min: 1, max: 255 }), async (of, end, where, by) => {
      const disk = diskOf(of, end)
      const image = imageOf(disk)
      expect(await kept(disk, image)).toEqual(image.refs)
      const at = where % disk.length
      const other = Buffer.from(disk)
      other[at]! ^= by
      expect(await kept(other, image)).toEqual(image.refs.slice(0, Math.floor(at / CHUNK)))
    }),
    { numRuns: 40 },
  )
})

test('bytes that are not zero are counted by chunks', async () => {
  await fc.assert(
    fc.asyncProperty(kinds, tail, async (of, end) => {
      const disk = diskOf(of, end)
      const { refs, tree } = imageOf(disk)
      const bytes = refs.reduce(
        (sum, ref, at) => sum + (ref === null ? 0 : Math.min(CHUNK, disk.length - at * CHUNK)),
        0,
      )
      expect(await contentBytes(tree, { size: disk.length, chunkBytes: CHUNK })).toBe(bytes)
    }),
    { numRuns: 40 },
  )
})
