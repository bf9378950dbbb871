// From extents to segments: runs of whole chunks that are zero, unchanged or to be read, grouped by how much must be read.
import { bundleParts } from '../../protocol/chunk.ts'
import type { DiskExtent, ExtentKind } from '../nbd/extents.ts'

/** `keep`: as in the base; `read`: its bytes must be read. */
export type RunKind = 'zero' | 'keep' | 'read'

export interface ChunkRun {
  readonly kind: RunKind
  /** First chunk. */
  readonly position: number
  /** Chunks. */
  readonly count: number
}

/** Consecutive runs with at most SEGMENT_READ_BYTES to read between them: the unit of work of the pipeline. */
export interface Segment {
  readonly runs: readonly ChunkRun[]
  /** Chunks to read. */
  readonly reads: number
}

/** Bytes to read in one segment: large enough that its messages cost little beside it, small enough for many to be held. */
export const SEGMENT_READ_BYTES = 2 * 1024 * 1024

/** Runs in one segment; many short ones come from scattered writes. */
const SEGMENT_RUNS_MAX = 512

const KIND_OF: Readonly<Record<ExtentKind, RunKind>> = { data: 'read', zero: 'zero', keep: 'keep' }

/** Chunk runs of a disk from ascending extents without gaps; a chunk that extents of several kinds share must be read. */
export async function* chunkRuns(extents: AsyncIterable<DiskExtent>, chunkBytes: number): AsyncGenerator<ChunkRun> {
  // the chunk that the last extent ended inside, if any
  let open: { position: number; kind: RunKind } | null = null
  for await (const { offset, length, kind: extentKind } of extents) {
    const kind = KIND_OF[extentKind]
    const end = offset + length
    let from = offset
    if (open !== null) {
      if (open.kind !== kind) open.kind = 'read'
      const chunkEnd = (open.position + 1) * chunkBytes
      if (end < chunkEnd) continue
      yield { kind: open.kind, position: open.position, count: 1 }
      open = null
      from = chunkEnd
    }
    const first = from / chunkBytes
    const whole = Math.floor(end / chunkBytes) - first
    if (whole > 0) yield { kind, position: first, count: whole }
    if (end % chunkBytes !== 0) open = { position: Math.floor(end / chunkBytes), kind }
  }
  // the disk's last chunk may be short
  if (open !== null) yield { kind: open.kind, position: open.position, count: 1 }
}

/** Segments of these runs from chunk `from` on, in order; none parts chunks that are stored together. */
export async function* segments(
  runs: AsyncIterable<ChunkRun>,
  options: { readonly from: number; readonly chunkBytes: number },
): AsyncGenerator<Segment> {
  const readsMax = Math.max(1, Math.floor(SEGMENT_READ_BYTES / options.chunkBytes))
  const together = bundleParts(options.chunkBytes)
  let gathered: ChunkRun[] = []
  let reads = 0
  const take = (): Segment => {
    const segment = { runs: gathered, reads }
    gathered = []
    reads = 0
    return segment
  }
  for await (const run of runs) {
    const skipped = Math.max(0, options.from - run.position)
    let position = run.position + skipped
    let left = run.count - skipped
    while (left > 0) {
      const room = readsMax - reads
      const full = run.kind === 'read' && left > room
      const count = full ? room - ((position + room) % together) : left
      if (count <= 0) {
        yield take()
        continue
      }
      const last = gathered.at(-1)
      if (last?.kind === run.kind) gathered[gathered.length - 1] = { ...last, count: last.count + count }
      else gathered.push({ kind: run.kind, position, count })
      if (run.kind === 'read') reads += count
      position += count
      left -= count
      if (full || reads >= readsMax || gathered.length >= SEGMENT_RUNS_MAX) yield take()
    }
  }
  if (gathered.length > 0) yield take()
}
