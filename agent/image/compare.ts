// Compares chunks that a bitmap says are unchanged with the restore point before: a few in every increment, or all of them.
//
// A bitmap can be wrong without a sign: what wrote the disk did not go through it. Nothing else in a backup would show that, as
// unchanged chunks are never read.
//
// One way to be wrong is known. When a disk is made smaller, QEMU drops the bits behind its new end, and does not restore them
// when the disk is made larger again: what reads as zeroes then counts as unchanged. Every chunk that this changed lies behind
// that end, or holds it, is unchanged by the bitmap, and was not zero. So does the last chunk of the base that is not zero and
// unchanged by the bitmap: it is zero now, or cut, and every increment compares it.
import { randomInt } from 'node:crypto'
import { chunkCount, chunkLength, ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { COMPARE_CHUNKS_MAX } from '../../protocol/limits.ts'
import type { LeasedDisk } from '../drivers/driver.ts'
import { NbdClient } from '../nbd/client.ts'
import { ALLOCATION_CONTEXT, diskExtents, isChanged, mapped, WINDOW_BYTES, type StatusSource } from '../nbd/extents.ts'
import { BITMAP_DIRTY } from '../nbd/wire.ts'
import { rereading } from '../nbd/reread.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { chunkRuns, segments, type ChunkRun, type RunKind } from './segments.ts'
import { ImageWorkers } from './workers.ts'

/** Chunks of a disk that are compared in every increment, and most bytes that they may be. */
export const SAMPLE_CHUNKS = 16
export const SAMPLE_BYTES_MAX = 4 * 1024 * 1024

/** Chunks of the base that are asked for first when the last unchanged one is looked for. */
export const CONTENT_CHUNKS_FIRST = 16

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

/** Asks which chunks of the base below a position are not zero, the last ones first; `next` is where to go on, if at all. */
export type AskContent = (
  before: number,
  limit: number,
) => Promise<{ readonly positions: readonly number[]; readonly next: number | null }>

export interface CompareRequest {
  readonly disk: LeasedDisk
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly signal: AbortSignal
  readonly ask: AskBase
  readonly askContent: AskContent
}

/** How many chunks were compared, and the positions at which the disk is not what the bitmap says. */
export interface Comparison {
  readonly chunks: number
  readonly different: readonly number[]
}

const NOTHING: Comparison = { chunks: 0, different: [] }

const draw = (chunks: number, count: number): number[] => {
  if (chunks <= count) return Array.from({ length: chunks }, (_, position) => position)
  const drawn = new Set<number>()
  while (drawn.size < count) drawn.add(randomInt(chunks))
  return [...drawn]
}

/** Neighbours among ascending positions as ranges of chunks, `end` not included. */
const neighbours = (positions: readonly number[]): { readonly from: number; readonly end: number }[] => {
  const runs: { from: number; end: number }[] = []
  for (const position of positions) {
    const last = runs.at(-1)
    if (last?.end === position) last.end += 1
    else runs.push({ from: position, end: position + 1 })
  }
  return runs
}

/** Positions of the unchanged ones among the chunks from..end. */
const cleanIn = async (
  source: StatusSource,
  { disk, chunkBytes }: CompareRequest,
  context: string,
  { from, end }: { readonly from: number; readonly end: number },
): Promise<number[]> => {
  const changed = new Set<number>()
  const endOffset = Math.min(end * chunkBytes, disk.size)
  for (let at = from * chunkBytes; at < endOffset;) {
    const length = Math.min(endOffset - at, WINDOW_BYTES)
    const statuses = (await source.blockStatus(at, length)).get(context) ?? []
    // what is not known counts as changed
    const known = statuses.length === 0 ? [{ length, flags: BITMAP_DIRTY }] : statuses
    for (const status of known) {
      const last = Math.min(Math.ceil((at + status.length) / chunkBytes), end)
      if (isChanged(status)) for (let chunk = Math.floor(at / chunkBytes); chunk < last; chunk += 1) changed.add(chunk)
      at += status.length
    }
  }
  return Array.from({ length: end - from }, (_, index) => from + index).filter((chunk) => !changed.has(chunk))
}

/** Positions of the unchanged ones among these chunks, ascending. */
const cleanOf = async (
  source: StatusSource,
  request: CompareRequest,
  context: string,
  positions: readonly number[],
): Promise<number[]> => {
  const runs = neighbours(positions.toSorted((a, b) => a - b))
  const found: number[] = []
  for (let from = 0; from < runs.length; from += BATCH_CHUNKS) {
    const batch = runs.slice(from, from + BATCH_CHUNKS)
    found.push(...(await Promise.all(batch.map((run) => cleanIn(source, request, context, run)))).flat())
  }
  return found
}

/** The last chunk of the base that is not zero and unchanged by the bitmap; null where there is none. */
const lastUnchanged = async (
  source: StatusSource,
  request: CompareRequest,
  context: string,
): Promise<number | null> => {
  const { disk, chunkBytes, signal, askContent } = request
  let limit = CONTENT_CHUNKS_FIRST
  for (let before: number | null = chunkCount(disk.size, chunkBytes); before !== null;) {
    signal.throwIfAborted()
    const { positions, next } = await askContent(before, limit)
    const clean = await cleanOf(source, request, context, positions)
    if (clean.length > 0) return clean.at(-1)!
    if (next !== null && next >= before) throw new VarveError('INTERNAL', 'the gateway names chunks of a disk twice')
    before = next
    limit = COMPARE_CHUNKS_MAX
  }
  return null
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

/** Compares chunks in batches. Where damage of the base hides a whole batch, its first chunk is asked about alone. */
const compareAt = async (
  client: NbdClient,
  request: CompareRequest,
  positions: readonly number[],
): Promise<Comparison> => {
  let chunks = 0
  const different: number[] = []
  for (let from = 0; from < positions.length; from += BATCH_CHUNKS) {
    request.signal.throwIfAborted()
    const batch = positions.slice(from, from + BATCH_CHUNKS)
    const ids = await readIds(client, request, batch)
    let answer = await request.ask(batch, ids)
    if (answer.compared === 0 && batch.length > 1)
      answer = await request.ask(batch.slice(0, 1), ids.subarray(0, ID_BYTES))
    chunks += answer.compared
    different.push(...answer.different)
  }
  return { chunks, different }
}

/** Compares the last unchanged chunk of the base that is not zero, and `sampled` others, drawn anew each time. */
const compareSome = async (request: CompareRequest, sampled: number): Promise<Comparison> => {
  const { disk, chunkBytes } = request
  const { socketPath, exportName, size, dirtyContext, boundaryBytes } = disk
  if (dirtyContext === null) return NOTHING
  const contexts = [dirtyContext]
  await using client = await NbdClient.connect({ socketPath, exportName, contexts, boundaryBytes })
  const source = rereading(client, dirtyContext, disk.reread)
  const last = await lastUnchanged(source, request, dirtyContext)
  const chunks = chunkCount(size, chunkBytes)
  const drawn = draw(chunks, Math.min(chunks, sampled * DRAWS_PER_CHUNK))
  const clean = new Set(await cleanOf(source, request, dirtyContext, drawn))
  const sample = drawn.filter((position) => clean.has(position) && position !== last).slice(0, sampled)
  return await compareAt(client, request, last === null ? sample : [last, ...sample])
}

/** Compares a few unchanged chunks, with the one that shows whether the disk was ever smaller. */
export const compareSample = async (request: CompareRequest): Promise<Comparison> =>
  await compareSome(request, Math.max(1, Math.min(SAMPLE_CHUNKS, Math.floor(SAMPLE_BYTES_MAX / request.chunkBytes))))

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
  const { socketPath, exportName, size, dirtyContext, boundaryBytes } = disk
  if (dirtyContext === null) return NOTHING
  await using resources = new AsyncDisposableStack()
  const connect = async (contexts: string[]): Promise<NbdClient> =>
    resources.use(await NbdClient.connect({ socketPath, exportName, contexts }))
  const allocation = await connect([ALLOCATION_CONTEXT])
  const dirty = { client: rereading(await connect([dirtyContext]), dirtyContext, disk.reread), context: dirtyContext }
  const setup = { socketPath, exportName, size, chunkBytes, idKey, boundaryBytes }
  const workers = resources.use(new ImageWorkers(setup, { multiConn: allocation.flags.multiConn }))
  const runs = inverted(chunkRuns(diskExtents({ allocation: mapped(allocation, disk), dirty, size }), chunkBytes))
  let chunks = 0
  let asked = 0
  const different: number[] = []
  const compare = async (number: number, segmentRuns: readonly ChunkRun[]): Promise<void> => {
    const { ids } = await workers.read(number, segmentRuns, false)
    workers.drop(number)
    const positions = positionsOf(segmentRuns)
    for (let from = 0; from < positions.length; from += COMPARE_CHUNKS_MAX) {
      const batch = positions.slice(from, from + COMPARE_CHUNKS_MAX)
      const answer = await ask(batch, ids.slice(from * ID_BYTES, (from + batch.length) * ID_BYTES))
      asked += batch.length
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
  if (chunks === asked || different.length > 0) return { chunks, different }
  // damage of the base hid some of it
  return { chunks, different: (await compareSome(request, 0)).different }
}
