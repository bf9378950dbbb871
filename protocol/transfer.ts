// The messages about an image: its announcement, a comparison, and the runs, chunks, proofs and answers of a transfer.
import * as v from 'valibot'
import { areHeads, BUNDLE_HEAD_BYTES, PART_BYTES } from './chunk-list.ts'
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, DISK_BYTES_MAX, ID_BYTES } from './chunk.ts'
import {
  COMPARE_CHUNKS_MAX,
  FRAME_BYTES_MAX,
  FRAME_CHUNKS_MAX,
  PROOF_BYTES,
  READ_NODES_MAX,
  REREAD_RANGES_MAX,
  UPLOAD_IDS_MAX,
  UPLOAD_RUNS_MAX,
} from './limits.ts'
import { LEVEL_MAX, NODE_BYTES_MAX } from './image-tree.ts'
import * as s from './schemas.ts'

// the kinds of an upload's messages; PROTOCOL.md section 6 tells their order
export const RUN = { zero: 0, keep: 1, ids: 2 } as const
export const UP = { runs: 0, chunks: 1, proofs: 2 } as const
export const DOWN = { start: 0, answers: 1, verdicts: 2, durable: 3 } as const
export const ANSWER = { have: 0, want: 1, prove: 2 } as const
export const LOAD = { start: 0, zero: 1, chunks: 2, lost: 3 } as const
export const ASK = { nodes: 0, chunks: 1 } as const
export const FOUND = { start: 0, nodes: 1, chunks: 2, failed: 3 } as const

const endOf = ([offset, length]: readonly [number, number]): number => offset + length

/** Index of a chunk in its disk. */
export const position = v.pipe(s.count, v.maxValue(DISK_BYTES_MAX / CHUNK_BYTES_MIN))
const positive = v.pipe(position, v.minValue(1))
const run = v.union([
  v.tuple([v.literal(RUN.zero), positive]),
  v.tuple([v.literal(RUN.keep), positive]),
  v.tuple([
    v.literal(RUN.ids),
    v.pipe(
      s.bytesUpTo(UPLOAD_IDS_MAX * 32),
      v.check((ids) => ids.length % 32 === 0 && ids.length > 0),
    ),
  ]),
])
const heads = s.bytesUpTo(FRAME_CHUNKS_MAX * (BUNDLE_HEAD_BYTES + PART_BYTES))

/** A message of chunks: its kind, the table of the heads of their bundles, and the bundles' stored bytes. */
const chunks = <K extends number>(kind: K) =>
  v.pipe(
    v.tuple([v.literal(kind), heads, s.bytesUpTo(FRAME_BYTES_MAX)]),
    v.check(([, table, stored]) => areHeads(table, stored.length), 'the heads of the chunks do not fit their bytes'),
  )

/** Up: 0 runs (each 0 zero chunks, 1 chunks kept from the base, 2 ids), 1 chunks with heads and stored bytes, 2 proofs. */
export const uploadUp = v.union([
  v.tuple([v.literal(UP.runs), v.pipe(v.array(run), v.minLength(1), v.maxLength(UPLOAD_RUNS_MAX))]),
  chunks(UP.chunks),
  v.tuple([
    v.literal(UP.proofs),
    v.pipe(v.array(v.tuple([s.id32, s.bytesOf(PROOF_BYTES)])), v.minLength(1), v.maxLength(UPLOAD_IDS_MAX)),
  ]),
])

/** Down: 0 where to begin, 1 an answer byte for each id, 2 a verdict byte for each proof, 3 the durable cursor. */
export const uploadDown = v.union([
  v.tuple([v.literal(DOWN.start), v.object({ position, proofKey: s.bytesOf(PROOF_BYTES) })]),
  v.tuple([v.literal(DOWN.answers), s.bytesUpTo(UPLOAD_IDS_MAX)]),
  v.tuple([v.literal(DOWN.verdicts), s.bytesUpTo(UPLOAD_IDS_MAX)]),
  v.tuple([v.literal(DOWN.durable), position]),
])

/** Down: 0 what comes, 1 zero chunks, 2 chunks with heads and stored bytes, 3 lost chunks. */
export const downloadDown = v.union([
  v.tuple([
    v.literal(LOAD.start),
    v.object({ size: s.diskBytes, chunkBytes: s.count, root: s.root, idKey: s.id32, position }),
  ]),
  v.tuple([v.literal(LOAD.zero), positive]),
  v.tuple([v.literal(LOAD.lost), positive]),
  chunks(LOAD.chunks),
])

const level = v.pipe(s.count, v.maxValue(LEVEL_MAX))
const positiveUpTo = (max: number) => v.pipe(s.count, v.minValue(1), v.maxValue(max))

/** Up, each with a number that its answer repeats: 0 nodes of a level from a chunk on, 1 chunks from a chunk on. */
export const readUp = v.union([
  v.tuple([v.literal(ASK.nodes), s.count, level, position, positiveUpTo(READ_NODES_MAX)]),
  v.tuple([v.literal(ASK.chunks), s.count, position, positiveUpTo(FRAME_CHUNKS_MAX)]),
])

/**
 * Down: 0 what is read, 1 the nodes that there are, 2 the chunks that there are with heads and stored bytes, 3 why a request
 * failed.
 */
export const readDown = v.union([
  v.tuple([v.literal(FOUND.start), v.object({ size: s.diskBytes, chunkBytes: s.count, root: s.root, idKey: s.id32 })]),
  v.tuple([v.literal(FOUND.nodes), s.count, v.pipe(v.array(s.bytesUpTo(NODE_BYTES_MAX)), v.maxLength(READ_NODES_MAX))]),
  v.pipe(
    v.tuple([v.literal(FOUND.chunks), s.count, heads, s.bytesUpTo(FRAME_BYTES_MAX)]),
    v.check(
      ([, , table, stored]) => (table.length === 0 ? stored.length === 0 : areHeads(table, stored.length)),
      'the heads of the chunks do not fit their bytes',
    ),
  ),
  v.tuple([v.literal(FOUND.failed), s.count, s.failure]),
])

/** Ranges of a base disk to be read again: offset and length in bytes, ascending, disjoint; null for the whole disk. */
export const reread = v.nullable(
  v.pipe(
    v.array(v.tuple([s.diskBytes, v.pipe(s.diskBytes, v.minValue(1))])),
    v.maxLength(REREAD_RANGES_MAX),
    v.check(
      (ranges) => ranges.every(([offset], index) => index === 0 || offset > endOf(ranges[index - 1]!)),
      'not ascending and disjoint',
    ),
  ),
)
export type Reread = v.InferOutput<typeof reread>

/** How a tenant's disks become chunks. */
export const chunking = v.object({
  idKey: s.id32,
  chunkBytes: v.pipe(s.count, v.minValue(CHUNK_BYTES_MIN), v.maxValue(CHUNK_BYTES_MAX)),
})
export type Chunking = v.InferOutput<typeof chunking>

/** A disk as `backup.begin` announces it. */
export const announcedDisk = v.object({
  ...s.readDisk.entries,
  /** The disk of the base that an incremental read continues, whatever its name is now; null for a full read. */
  base: v.nullable(s.diskName),
  evidence: s.evidence,
  comparedChunks: s.count,
})

const positions = v.pipe(v.array(position), v.maxLength(COMPARE_CHUNKS_MAX))

/** Which chunks of a disk of a job's base are not zero, from its end on. */
export const content = {
  params: v.object({
    job: s.uuid,
    disk: s.diskName,
    /** Chunks from here on are left out. */
    before: position,
    limit: v.pipe(s.count, v.minValue(1), v.maxValue(COMPARE_CHUNKS_MAX)),
  }),
  /** Descending; `next` is the `before` of the next call, nil where there is no more. */
  result: v.object({ positions, next: v.nullable(position) }),
}

/** Chunks of a disk of a job's base that are compared with the machine's. */
export const comparison = {
  /** By their positions, and the ids that the machine has there; 32 zero bytes for a chunk of zeroes. */
  params: v.object({
    job: s.uuid,
    disk: s.diskName,
    positions: v.pipe(positions, v.minLength(1)),
    ids: s.bytesUpTo(COMPARE_CHUNKS_MAX * ID_BYTES),
  }),
  /** How many could be compared, and the positions where the base has something else. */
  result: v.object({ compared: s.count, different: positions }),
}
