// Compares chunks that a bitmap says are unchanged with the restore point before: a sample in every increment, or all of them.
//
// A bitmap can be wrong without a sign: what wrote the disk did not go through it. Nothing else in a backup would show that, as
// unchanged chunks are never read.
import { randomInt } from 'node:crypto'
import { chunkCount, chunkLength, ID_BYTES } from '../../protocol/chunk.ts'
import { COMPARE_CHUNKS_MAX } from '../../protocol/limits.ts'
import type { LeasedDisk } from '../drivers/driver.ts'
import { NbdClient } from '../nbd/client.ts'
import { ALLOCATION_CONTEXT, diskExtents, isChanged, type StatusSource } from '../nbd/extents.ts'
import { rereading } from '../nbd/reread.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { chunkRuns, segments, type ChunkRun, type RunKind } from './segments.ts'
import { ImageWorkers } from './workers.ts'

/** Chunks of a disk that are compared in every increment, and most bytes that they may be. */
export const SAMPLE_CHUNKS = 16
export const SAMPLE_BYTES_MAX = 4 * 1024 * 1024

/** Places that are drawn for each chunk of the sample: some of them have changed. */
const DRAWS_PER_CHUNK = 2

/**
 * Chunks that are looked at, read and asked about at once: an NBD connection lets a bounded number wait, and their bytes are
 * held until they are hashed.
 */
const BATCH_CHUNKS = 64

/** Asks what the base holds: how many of the chunks could be compared, and at which positions it has something else. */
export type AskBase = (
  positions: readonly number[],
  ids: Uint8Array,
) => Promise<{ readonly compared: number; readonly different: readonly number[] }>

export interface CompareRequest {
  readonly disk: LeasedDisk
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly signal: AbortSignal
  readonly ask: AskBase
}

/** How many chunks were compared, and the positions at which the disk is not what the bitmap says. */
export interface Comparison {
  readonly chunks: number
  readonly different: readonly number[]
}

const NOTHING: Comparison = { chunks: 0, different: [] }

/** Whether the map of the whole range shows no change. */
const isClean = async (source: StatusSource, context: string, offset: number, length: number): Promise<boolean> => {
  for (let at = offset; at < offset + length;) {
    const statuses = (await source.blockStatus(at, offset + length - at)).get(context) ?? []
    if (statuses.length === 0 || statuses.some(isChanged)) return false
    at += statuses.reduce((sum, extent) => sum + extent.length, 0)
  }
  return true
}

const draw = (chunks: number, count: number): number[] => {
  if (chunks <= count) return Array.from({ length: chunks }, (_, position) => position)
  const drawn = new Set<number>()
  while (drawn.size < count) drawn.add(randomInt(chunks))
  return [...drawn]
}

/** Positions of the unchanged ones among these chunks. */
const cleanOf = async (
  source: StatusSource,
  { disk, chunkBytes }: CompareRequest,
  context: string,
  positions: readonly number[],
): Promise<number[]> => {
  const lengthOf = (position: number): number => chunkLength(position, disk.size, chunkBytes)
  const found: number[] = []
  for (let from = 0; from < positions.length; from += BATCH_CHUNKS) {
    const batch = positions.slice(from, from + BATCH_CHUNKS)
    const clean = await Promise.all(
      batch.map((position) => isClean(source, context, position * chunkBytes, lengthOf(position))),
    )
    found.push(...batch.filter((_, index) => clean[index]))
  }
  return found
}

const readIds = async (
  client: NbdClient,
  { disk, chunkBytes, idKey }: CompareRequest,
  positions: readonly number[],
): Promise<Uint8Array> => {
  const ids = new Uint8Array(positions.length * ID_BYTES)
  const zeroes = Buffer.alloc(chunkBytes)
  await Promise.all(
    positions.map(async (position, index) => {
      const plain = Buffer.allocUnsafe(chunkLength(position, disk.size, chunkBytes))
      await client.readInto(position * chunkBytes, plain)
      if (!plain.equals(zeroes.subarray(0, plain.length))) ids.set(keyedHash(idKey, plain), index * ID_BYTES)
    }),
  )
  return ids
}

/** Compares a few unchanged chunks, drawn anew each time, and all in the part of the disk that only a comparison can judge. */
export const compareSample = async (request: CompareRequest): Promise<Comparison> => {
  const { disk, chunkBytes, signal, ask } = request
  const { socketPath, exportName, size, dirtyContext } = disk
  if (dirtyContext === null) return NOTHING
  const sampled = Math.max(1, Math.min(SAMPLE_CHUNKS, Math.floor(SAMPLE_BYTES_MAX / chunkBytes)))
  await using client = await NbdClient.connect({ socketPath, exportName, contexts: [dirtyContext] })
  const source = rereading(client, dirtyContext, disk.reread)
  const chunks = chunkCount(size, chunkBytes)
  const first = Math.floor(disk.compareFrom / chunkBytes)
  const tail = Array.from({ length: chunks - first }, (_, index) => first + index)
  const drawn = draw(first, Math.min(first, sampled * DRAWS_PER_CHUNK))
  const clean = (positions: readonly number[]): Promise<number[]> => cleanOf(source, request, dirtyContext, positions)
  const positions = [...(await clean(drawn)).slice(0, sampled), ...(await clean(tail))]
  let compared = 0
  const different: number[] = []
  for (let from = 0; from < positions.length; from += BATCH_CHUNKS) {
    signal.throwIfAborted()
    const batch = positions.slice(from, from + BATCH_CHUNKS)
    const answer = await ask(batch, await readIds(client, request, batch))
    compared += answer.compared
    different.push(...answer.different)
  }
  return { chunks: compared, different }
}

/** What an upload keeps is what a comparison reads, and the other way round. */
const COMPARED_AS: Readonly<Record<RunKind, RunKind>> = { keep: 'read', read: 'keep', zero: 'keep' }

/** The same runs with the unchanged chunks as those to be read; none is left out, as a segment's runs follow one another. */
async function* inverted(runs: AsyncIterable<ChunkRun>): AsyncGenerator<ChunkRun> {
  for await (const run of runs) yield { ...run, kind: COMPARED_AS[run.kind] }
}

const positionsOf = (runs: readonly ChunkRun[]): number[] =>
  runs.flatMap(({ kind, position, count }) =>
    kind === 'read' ? Array.from({ length: count }, (_, index) => position + index) : [],
  )

/** Reads and compares every unchanged chunk, on as many threads as an upload takes. */
export const compareAll = async (request: CompareRequest): Promise<Comparison> => {
  const { disk, chunkBytes, idKey, signal, ask } = request
  const { socketPath, exportName, size, dirtyContext } = disk
  if (dirtyContext === null) return NOTHING
  await using resources = new AsyncDisposableStack()
  const connect = async (contexts: string[]): Promise<NbdClient> =>
    resources.use(await NbdClient.connect({ socketPath, exportName, contexts }))
  const allocation = await connect([ALLOCATION_CONTEXT])
  const dirty = { client: rereading(await connect([dirtyContext]), dirtyContext, disk.reread), context: dirtyContext }
  const setup = { socketPath, exportName, size, chunkBytes, idKey, level: 1 }
  const workers = resources.use(new ImageWorkers(setup, { multiConn: allocation.flags.multiConn }))
  const runs = inverted(chunkRuns(diskExtents({ allocation, dirty, size }), chunkBytes))
  let chunks = 0
  const different: number[] = []
  const compare = async (number: number, segmentRuns: readonly ChunkRun[]): Promise<void> => {
    const { ids } = await workers.read(number, segmentRuns, false)
    workers.drop(number)
    const positions = positionsOf(segmentRuns)
    for (let from = 0; from < positions.length; from += COMPARE_CHUNKS_MAX) {
      const asked = positions.slice(from, from + COMPARE_CHUNKS_MAX)
      const answer = await ask(asked, ids.slice(from * ID_BYTES, (from + asked.length) * ID_BYTES))
      chunks += answer.compared
      different.push(...answer.different)
    }
  }
  const underWay: Promise<void>[] = []
  let number = 0
  for await (const segment of segments(runs, { from: 0, chunkBytes })) {
    signal.throwIfAborted()
    if (segment.reads === 0) continue
    const task = compare(number++, segment.runs)
    // its failure is thrown where it is awaited
    task.catch(() => {})
    underWay.push(task)
    if (underWay.length > workers.count * 2) await underWay.shift()
    // one difference is enough to read the disk in full
    if (different.length > 0) break
  }
  await Promise.all(underWay)
  return { chunks, different }
}
