// Comparing what a bitmap calls unchanged: which chunks are asked about, and with which ids. Method: real disks behind
// qemu-nbd with a stored bitmap, beside a model that knows every byte and every change.
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import {
  compareAll,
  compareSample,
  SAMPLE_CHUNKS,
  type AskBase,
  type AskContent,
  type Comparison,
} from '../../../agent/image/compare.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { LeasedDisk } from '../../../agent/drivers/driver.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { COMPARE_CHUNKS_MAX } from '../../../protocol/limits.ts'
import { run } from '../../support/run.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { qemuIo, startQemuNbd } from '../nbd/qemu-nbd.ts'
import { ID_KEY } from './upload-gateway.ts'

const KIB = 1024
const MIB = 1024 * KIB
const GRANULARITY = 64 * KIB
const ZERO_ID = '00'.repeat(ID_BYTES)

type Range = readonly [offset: number, length: number]

/** A disk whose sectors all differ, but for zeroes in the ranges given. */
const contentOf = (size: number, zeroes: readonly Range[] = []): Buffer => {
  const disk = Buffer.alloc(size)
  for (let at = 0; at < size; at += 512) disk.writeUInt32LE(at + 1, at)
  for (const [offset, length] of zeroes) disk.fill(0, offset, offset + length)
  return disk
}

interface Served extends AsyncDisposable {
  readonly disk: LeasedDisk
}

/** A qcow2 disk with this content, of which a bitmap calls the written ranges changed. */
const serve = async (
  temp: TempFolder,
  content: Buffer,
  written: readonly Range[],
  more: Partial<LeasedDisk> = {},
): Promise<Served> => {
  const raw = temp.join(`${randomUUID()}.raw`)
  const image = temp.join(`${randomUUID()}.qcow2`)
  await writeFile(raw, content)
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image])
  await run('qemu-img', ['bitmap', '--add', '-g', String(GRANULARITY), image, 'changes'])
  if (written.length > 0)
    await qemuIo(image, 'qcow2', ...written.map(([offset, length]) => `write -P 238 ${offset} ${length}`))
  const nbd = await startQemuNbd(temp, '--read-only', '--format=qcow2', '-B', 'changes', image)
  const disk: LeasedDisk = {
    name: 'vda',
    size: content.length,
    kind: 'incremental',
    reason: 'bitmap',
    base: 'vda',
    evidence: '',
    comparedChunks: 0,
    socketPath: nbd.socketPath,
    exportName: 'disk',
    dirtyContext: 'qemu:dirty-bitmap:changes',
    reread: [],
    ...more,
  }
  return { disk, [Symbol.asyncDispose]: () => nbd[Symbol.asyncDispose]() }
}

/** The chunks that nothing calls changed, by what the bitmap can say: whole granules. */
const cleanChunks = (
  size: number,
  chunkBytes: number,
  written: readonly Range[],
  reread: readonly Range[] = [],
): number[] => {
  const touched = new Set<number>()
  const touch = (from: number, end: number): void => {
    for (let chunk = Math.floor(from / chunkBytes); chunk * chunkBytes < end; chunk++) touched.add(chunk)
  }
  for (const [offset, length] of written)
    touch(
      Math.floor(offset / GRANULARITY) * GRANULARITY,
      Math.min(size, Math.ceil((offset + length) / GRANULARITY) * GRANULARITY),
    )
  for (const [offset, length] of reread) touch(offset, offset + length)
  return Array.from({ length: Math.ceil(size / chunkBytes) }, (_, chunk) => chunk).filter(
    (chunk) => !touched.has(chunk),
  )
}

/** A base that holds `content`, and what it was asked. */
const baseOf = (content: Buffer, chunkBytes: number, differs: ReadonlySet<number> = new Set()) => {
  const asked: number[] = []
  const wrong: number[] = []
  const ask: AskBase = async (positions, ids) => {
    expect(positions.length).toBeLessThanOrEqual(COMPARE_CHUNKS_MAX)
    expect(ids.length).toBe(positions.length * ID_BYTES)
    for (const [index, position] of positions.entries()) {
      const plain = content.subarray(position * chunkBytes, (position + 1) * chunkBytes)
      const id = plain.every((byte) => byte === 0) ? ZERO_ID : Buffer.from(keyedHash(ID_KEY, plain)).toString('hex')
      if (Buffer.from(ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)).toString('hex') !== id)
        wrong.push(position)
    }
    asked.push(...positions)
    return { compared: positions.length, different: positions.filter((position) => differs.has(position)) }
  }
  const asksContent: (readonly [before: number, limit: number])[] = []
  const askContent: AskContent = async (before, limit) => {
    expect(limit).toBeLessThanOrEqual(COMPARE_CHUNKS_MAX)
    asksContent.push([before, limit])
    const found = contentBefore(content, chunkBytes, before)
    const positions = found.slice(0, limit)
    return { positions, next: found.length > limit ? positions.at(-1)! : null }
  }
  return { ask, askContent, asked, asksContent, wrong }
}

/** Positions below `before` of chunks that are not zero, the last ones first. */
const contentBefore = (content: Buffer, chunkBytes: number, before: number): number[] =>
  Array.from({ length: Math.min(before, Math.ceil(content.length / chunkBytes)) }, (_, position) => position)
    .filter((at) => content.subarray(at * chunkBytes, (at + 1) * chunkBytes).some((byte) => byte !== 0))
    .toReversed()

const ascending = (numbers: readonly number[]): number[] => numbers.toSorted((a, b) => a - b)

interface Asked {
  readonly ask: AskBase
  readonly askContent?: AskContent
}

/** An image of zeroes. */
const NO_CONTENT: AskContent = async () => ({ positions: [], next: null })

const requestOf = (
  disk: LeasedDisk,
  chunkBytes: number,
  { ask, askContent = NO_CONTENT }: Asked,
  signal = new AbortController().signal,
) => ({ disk, chunkBytes, idKey: ID_KEY, signal, ask, askContent })

const CHUNK_SIZES = [4 * KIB, 64 * KIB, 4 * MIB]

describe('a sample', () => {
  test('is of unchanged chunks, drawn anew each time, with the ids that they have', async () => {
    await using temp = await tempFolder()
    const written: Range[] = [
      [0, MIB],
      [5 * MIB + 7 * KIB, 3],
      [9 * MIB, 2 * MIB],
    ]
    const content = contentOf(16 * MIB)
    await using served = await serve(temp, content, written)
    const clean = new Set(cleanChunks(content.length, GRANULARITY, written))
    const samples: string[] = []
    for (let round = 0; round < 3; round++) {
      const base = baseOf(content, GRANULARITY)
      const { chunks, different } = await compareSample(requestOf(served.disk, GRANULARITY, base))
      expect(base.wrong).toEqual([])
      expect(different).toEqual([])
      expect(chunks).toBe(base.asked.length)
      expect(new Set(base.asked).size).toBe(base.asked.length)
      expect(base.asked.filter((position) => !clean.has(position))).toEqual([])
      expect(base.asked.length).toBeGreaterThan(0)
      // the last chunk comes on top, found with one question
      expect(base.asked[0]).toBe(content.length / GRANULARITY - 1)
      expect(base.asked.length).toBeLessThanOrEqual(SAMPLE_CHUNKS + 1)
      expect(base.asksContent).toEqual([[content.length / GRANULARITY, 16]])
      samples.push(ascending(base.asked).join())
    }
    expect(new Set(samples).size).toBe(3)
  })

  test.each(CHUNK_SIZES)(
    'of a disk with fewer chunks than that takes each once (chunks of %i bytes)',
    async (chunkBytes) => {
      await using temp = await tempFolder()
      // the last chunk is short
      const content = contentOf(3 * chunkBytes + 512)
      await using served = await serve(temp, content, [])
      const base = baseOf(content, chunkBytes)
      const { chunks } = await compareSample(requestOf(served.disk, chunkBytes, base))
      expect(base.wrong).toEqual([])
      // a sample of SAMPLE_BYTES_MAX is one of the largest chunks, and the last one comes on top
      expect(chunks).toBe(chunkBytes === 4 * MIB ? 2 : 4)
      expect(new Set(base.asked).size).toBe(chunks)
    },
  )

  test.each([
    ['the last chunk, which is short', 12 * MIB + 512, [], [], 192, 1],
    ['the last one that is not zero', 12 * MIB, [[8 * MIB, 4 * MIB]], [], 127, 1],
    ['the last one that has not changed', 12 * MIB, [], [[11 * MIB, MIB]], 175, 2],
    ['one that is both, of chunks far apart', 12 * MIB, [[4 * MIB, 3 * MIB]], [[5 * MIB, 7 * MIB]], 63, 2],
    ['none where all that was not zero has changed', 12 * MIB, [[MIB, 11 * MIB]], [[0, MIB]], null, 1],
    ['none where all has changed', 12 * MIB, [], [[0, 12 * MIB]], null, 2],
  ] as const)('begins with %s', async (_, size, zeroes, written, last, calls) => {
    await using temp = await tempFolder()
    const content = contentOf(size, zeroes)
    await using served = await serve(temp, content, written)
    const base = baseOf(content, GRANULARITY)
    await compareSample(requestOf(served.disk, GRANULARITY, base))
    expect(base.wrong).toEqual([])
    if (last === null)
      expect(base.asked.filter((at) => contentBefore(content, GRANULARITY, at + 1)[0] === at)).toEqual([])
    else expect(base.asked[0]).toBe(last)
    expect(base.asksContent).toHaveLength(calls)
  })

  test.each([
    ['larger', 4 * MIB, [[8 * MIB + 5, 1]], 1],
    ['smaller', 4 * KIB, [[11 * MIB + 60 * KIB, 1]], 2816 - 1],
  ] as const)(
    'with chunks %s than the bitmap’s granules one counts as changed in part',
    async (_, bytes, written, last) => {
      await using temp = await tempFolder()
      const content = contentOf(12 * MIB, [[11 * MIB + 64 * KIB, MIB - 64 * KIB]])
      await using served = await serve(temp, content, written)
      const base = baseOf(content, bytes)
      await compareSample(requestOf(served.disk, bytes, base))
      expect(base.asked[0]).toBe(last)
      expect(base.wrong).toEqual([])
    },
  )

  test('where damage of the base hides the sample, the last chunk is compared alone', async () => {
    await using temp = await tempFolder()
    const content = contentOf(2 * MIB)
    await using served = await serve(temp, content, [])
    const base = baseOf(content, GRANULARITY, new Set([31]))
    const ask: AskBase = (positions, ids) =>
      positions.length > 1 ? Promise.resolve({ compared: 0, different: [] }) : base.ask(positions, ids)
    for (const compare of [compareSample, compareAll]) {
      const found = await compare(requestOf(served.disk, GRANULARITY, { ...base, ask }))
      expect(found.different).toEqual([31])
    }
    expect(base.wrong).toEqual([])
  })

  test('a gateway that names chunks again and again ends it', async () => {
    await using temp = await tempFolder()
    const content = contentOf(MIB)
    await using served = await serve(temp, content, [[0, MIB]])
    const askContent: AskContent = async (before) => ({ positions: [3], next: before })
    const { ask } = baseOf(content, GRANULARITY)
    const compared = compareSample(requestOf(served.disk, GRANULARITY, { ask, askContent }))
    await expect(compared).rejects.toMatchObject({ code: 'INTERNAL' })
  })

  test('leaves out what is read again anyway', async () => {
    await using temp = await tempFolder()
    const content = contentOf(MIB)
    const reread: Range[] = [
      [0, 512],
      [3 * GRANULARITY - 1, 2],
      [15 * GRANULARITY, GRANULARITY],
    ]
    await using served = await serve(temp, content, [], { reread })
    const base = baseOf(content, GRANULARITY)
    await compareSample(requestOf(served.disk, GRANULARITY, base))
    expect(ascending(base.asked)).toEqual(cleanChunks(content.length, GRANULARITY, [], reread))
  })

  test('gives zeroes for chunks of zeroes', async () => {
    await using temp = await tempFolder()
    const content = contentOf(15 * GRANULARITY + 512, [
      [4 * GRANULARITY, 4 * GRANULARITY],
      [15 * GRANULARITY, 512],
    ])
    await using served = await serve(temp, content, [])
    const seen = new Map<number, string>()
    const ask: AskBase = async (positions, ids) => {
      for (const [index, position] of positions.entries())
        seen.set(position, Buffer.from(ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)).toString('hex'))
      return { compared: positions.length, different: [] }
    }
    await compareSample(requestOf(served.disk, GRANULARITY, { ask }))
    const zero = [...seen].filter(([, id]) => id === ZERO_ID).map(([position]) => position)
    expect(ascending(zero)).toEqual([4, 5, 6, 7, 15])
    expect(seen.size).toBe(16)
  })

  test('finds every difference that it is told of, and counts what could be compared', async () => {
    await using temp = await tempFolder()
    const content = contentOf(MIB)
    await using served = await serve(temp, content, [])
    const base = baseOf(content, GRANULARITY, new Set([3, 15]))
    const found = await compareSample(requestOf(served.disk, GRANULARITY, base))
    expect(found).toEqual({ chunks: 16, different: [15, 3] })
    const unable = await compareSample(
      requestOf(served.disk, GRANULARITY, { ask: async () => ({ compared: 0, different: [] }) }),
    )
    expect(unable).toEqual({ chunks: 0, different: [] })
  })
})

const ways: readonly (readonly [string, (request: ReturnType<typeof requestOf>) => Promise<Comparison>])[] = [
  ['a sample', compareSample],
  ['a comparison of all', compareAll],
]

describe.each(ways)('%s', (_, compare) => {
  test('asks nothing of a disk that is read in full, or that changed everywhere', async () => {
    await using temp = await tempFolder()
    const content = contentOf(MIB)
    await using served = await serve(temp, content, [[0, MIB]])
    const base = baseOf(content, GRANULARITY)
    const nothing = { chunks: 0, different: [] }
    expect(await compare(requestOf(served.disk, GRANULARITY, base))).toEqual(nothing)
    const full = { ...served.disk, dirtyContext: null, socketPath: '/nowhere' }
    expect(await compare(requestOf(full, GRANULARITY, base))).toEqual(nothing)
    expect(base.asked).toEqual([])
  })

  test('ends with what the gateway answers, or what it was given up for', async () => {
    await using temp = await tempFolder()
    const content = contentOf(MIB)
    await using served = await serve(temp, content, [])
    const ended = new VarveError('JOB_ENDED', 'it has failed')
    await expect(compare(requestOf(served.disk, GRANULARITY, { ask: () => Promise.reject(ended) }))).rejects.toBe(ended)
    const abort = new AbortController()
    abort.abort(ended)
    const base = baseOf(content, GRANULARITY)
    await expect(compare(requestOf(served.disk, GRANULARITY, base, abort.signal))).rejects.toBe(ended)
    expect(base.asked).toEqual([])
  })
})

describe('a comparison of all', () => {
  const changes: Record<string, Range[]> = {
    none: [],
    'the beginning and the end': [
      [0, 512],
      [24 * MIB, 1024],
    ],
    'every other granule': Array.from({ length: 100 }, (_, index): Range => [(2 * index + 1) * GRANULARITY, 512]),
    scattered: Array.from({ length: 40 }, (_, index): Range => [
      ((index * 7919 + 13) % 380) * GRANULARITY,
      GRANULARITY,
    ]),
  }

  test.each([
    ...Object.keys(changes).map((name) => [64 * KIB, name] as const),
    ...[4 * KIB, 4 * MIB].flatMap((chunkBytes) =>
      ['scattered', 'the beginning and the end'].map((name) => [chunkBytes, name] as const),
    ),
  ])('asks about every unchanged chunk exactly once, chunks of %i bytes, changed: %s', async (chunkBytes, name) => {
    await using temp = await tempFolder()
    const written = changes[name]!
    const reread: Range[] = [[11 * MIB + 5, 10]]
    const content = contentOf(24 * MIB + 1024, [[2 * MIB, 3 * MIB]])
    await using served = await serve(temp, content, written, { reread })
    const base = baseOf(content, chunkBytes)
    const clean = cleanChunks(content.length, chunkBytes, written, reread)
    const found = await compareAll(requestOf(served.disk, chunkBytes, base))
    expect(found).toEqual({ chunks: clean.length, different: [] })
    expect(base.wrong).toEqual([])
    expect(ascending(base.asked)).toEqual(clean)
  })

  test('reads no more of the disk than it has under way once something differs', async () => {
    await using temp = await tempFolder()
    const content = Buffer.alloc(256 * MIB)
    await using served = await serve(temp, content, [])
    const asked: number[] = []
    const ask: AskBase = async (positions) => {
      asked.push(...positions)
      return { compared: positions.length, different: positions.filter((position) => position === 0) }
    }
    const found = await compareAll(requestOf(served.disk, GRANULARITY, { ask }))
    expect(found.different).toEqual([0])
    expect(found.chunks).toBe(asked.length)
    expect(asked.length).toBeLessThan(content.length / GRANULARITY / 2)
  })

  test('counts what could be compared only', async () => {
    await using temp = await tempFolder()
    const content = contentOf(8 * MIB)
    await using served = await serve(temp, content, [])
    const ask: AskBase = async (positions) => ({
      compared: positions.includes(0) ? positions.length : 0,
      different: [],
    })
    const { chunks } = await compareAll(requestOf(served.disk, GRANULARITY, { ask }))
    expect(chunks).toBeGreaterThan(0)
    expect(chunks).toBeLessThan(128)
  })
})
