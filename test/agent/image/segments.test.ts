// Runs and segments of random maps, beside a model that looks at every chunk alone.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { chunkRuns, SEGMENT_READ_BYTES, segments, type RunKind, type Segment } from '../../../agent/image/segments.ts'
import type { DiskExtent, ExtentKind } from '../../../agent/nbd/extents.ts'

async function* streamed<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) yield item
}

const KIND: Record<ExtentKind, RunKind> = { data: 'read', zero: 'zero', keep: 'keep' }

/** What each chunk must be: as all its bytes are, or read when they differ. */
const model = (extents: readonly DiskExtent[], chunkBytes: number): RunKind[] => {
  const kinds: Set<RunKind>[] = []
  for (const { offset, length, kind } of extents) {
    const last = Math.floor((offset + length - 1) / chunkBytes)
    for (let chunk = Math.floor(offset / chunkBytes); chunk <= last; chunk++)
      (kinds[chunk] ??= new Set()).add(KIND[kind])
  }
  return kinds.map((set) => (set.size === 1 ? [...set][0]! : 'read'))
}

const collect = async (
  extents: readonly DiskExtent[],
  chunkBytes: number,
  from: number,
): Promise<{ found: Segment[]; kinds: RunKind[] }> => {
  const found: Segment[] = []
  for await (const segment of segments(chunkRuns(streamed(extents), chunkBytes), { from, chunkBytes }))
    found.push(segment)
  const kinds: RunKind[] = []
  let next = from
  for (const { kind, position, count } of found.flatMap(({ runs }) => runs)) {
    expect(position).toBe(next)
    expect(count).toBeGreaterThan(0)
    next += count
    for (let at = 0; at < count; at++) kinds.push(kind)
  }
  return { found, kinds }
}

/** A map without gaps; lengths are whole chunks, parts of one, or anything. */
const disk = fc
  .tuple(
    fc.integer({ min: 12, max: 22 }),
    fc.array(fc.tuple(fc.nat(2), fc.nat(3), fc.nat(40), fc.double({ min: 0, max: 1, noNaN: true })), { maxLength: 60 }),
  )
  .map(([power, parts]) => {
    const chunkBytes = 2 ** power
    const extents: DiskExtent[] = []
    let offset = 0
    for (const [kindIndex, how, count, part] of parts) {
      const whole = how === 0 || how === 3 ? (count + 1) * chunkBytes : 0
      const rest = how === 0 ? 0 : how === 1 ? 512 * (1 + Math.floor(part * 7)) : Math.ceil(part * chunkBytes)
      const length = Math.max(1, whole + rest)
      extents.push({ offset, length, kind: (['data', 'zero', 'keep'] as const)[kindIndex]! })
      offset += length
    }
    return { chunkBytes, extents }
  })

describe('segments', () => {
  test('cover every chunk from any position on, each as the model says', async () => {
    await fc.assert(
      fc.asyncProperty(disk, fc.double({ min: 0, max: 1, noNaN: true }), async ({ chunkBytes, extents }, share) => {
        const expected = model(extents, chunkBytes)
        const from = Math.floor(share * expected.length)
        const { found, kinds } = await collect(extents, chunkBytes, from)
        expect(kinds).toEqual(expected.slice(from))
        for (const { runs, reads } of found) {
          const counted = runs.filter(({ kind }) => kind === 'read').reduce((sum, { count }) => sum + count, 0)
          expect(reads).toBe(counted)
          expect(reads * chunkBytes).toBeLessThanOrEqual(Math.max(SEGMENT_READ_BYTES, chunkBytes))
          expect(runs.length).toBeLessThanOrEqual(512)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('go on from every single position of a disk with a short last chunk', async () => {
    const chunkBytes = 4096
    const extents: DiskExtent[] = [
      { offset: 0, length: 10_000, kind: 'keep' },
      { offset: 10_000, length: 20_480, kind: 'data' },
      { offset: 30_480, length: 50_000, kind: 'zero' },
      { offset: 80_480, length: 1, kind: 'data' },
    ]
    const expected = model(extents, chunkBytes)
    for (let from = 0; from <= expected.length; from++)
      expect((await collect(extents, chunkBytes, from)).kinds).toEqual(expected.slice(from))
  })

  test('hold a whole empty disk of 2^48 bytes in one run', async () => {
    const { found } = await collect([{ offset: 0, length: 2 ** 48, kind: 'zero' }], 65_536, 2 ** 32 - 1)
    expect(found).toEqual([{ runs: [{ kind: 'zero', position: 2 ** 32 - 1, count: 1 }], reads: 0 }])
  })

  test('are cut at 512 runs when little is read', async () => {
    const extents = Array.from({ length: 2000 }, (_, index): DiskExtent => ({
      offset: index * 4096,
      length: 4096,
      kind: index % 2 === 0 ? 'keep' : 'zero',
    }))
    const { found, kinds } = await collect(extents, 4096, 0)
    expect(found.map(({ runs }) => runs.length)).toEqual([512, 512, 512, 464])
    expect(kinds).toEqual(model(extents, 4096))
  })

  test('of no disk at all are none', async () => {
    expect((await collect([], 65_536, 0)).found).toEqual([])
  })
})
