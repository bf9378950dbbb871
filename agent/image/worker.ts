// A worker thread of an upload: reads its segments over an NBD connection of its own, hashes, compresses and proves.
import { workerData } from 'node:worker_threads'
import { ID_BYTES } from '../../protocol/chunk.ts'
import { idAt } from '../../protocol/host/bytes.ts'
import { frame, packing } from '../../protocol/host/chunk-steps.ts'
import { NbdClient } from '../nbd/client.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { Moved, serveThread } from '../../protocol/host/threads.ts'
import { PICK, type Hashed, type Prepared, type WorkerSetup } from './messages.ts'
import { SEGMENT_READ_BYTES, type ChunkRun } from './segments.ts'

/** Bytes of one NBD read. */
const READ_BYTES = 512 * 1024

/** Reads that are given to the NBD client at once: more than QEMU works on, and far fewer than the client lets wait. */
const READS_MAX = 64

const setup = workerData as WorkerSetup
const { chunkBytes, size, idKey, level } = setup
const zeroes = Buffer.alloc(chunkBytes)
const steps = packing(level)
/** Where a segment's chunks are put together. */
const packed = new Uint8Array(Math.max(SEGMENT_READ_BYTES, chunkBytes))

/** A segment that may still be asked for. */
interface Segment {
  readonly runs: readonly ChunkRun[]
  /** Ids of its chunks, and where its bytes are if they are held. */
  readonly ids: Uint8Array
  readonly buffer: Buffer | null
}

const segments = new Map<number, Segment>()
/** Buffers of segments that are done: fresh ones would cost page faults and wait for the garbage collector. */
const spare: Buffer[] = []
const client = NbdClient.connect({ socketPath: setup.socketPath, exportName: setup.exportName, contexts: [] })
// a failure is reported by the first read
client.catch(() => {})

const isZero = (chunk: Uint8Array): boolean => zeroes.compare(chunk, 0, chunk.length, 0, chunk.length) === 0

let reading = 0
const waiting: (() => void)[] = []

/** Runs one read when fewer than READS_MAX are under way; scattered small chunks make many thousands of them. */
const inTurn = async (read: () => Promise<void>): Promise<void> => {
  if (reading >= READS_MAX) await new Promise<void>((resolve) => waiting.push(resolve))
  else reading++
  try {
    await read()
  } finally {
    // the turn goes straight to the next in line, or becomes free
    const next = waiting.shift()
    if (next === undefined) reading--
    else next()
  }
}

/** A range of the disk, and where its bytes are or are to be. */
interface Place {
  readonly offset: number
  readonly bytes: Buffer
}

/** The chunks that the runs want read, as views of a buffer that must hold them all. */
const chunksOf = (runs: readonly ChunkRun[], buffer: Buffer): Place[] => {
  let filled = 0
  return runs.flatMap(({ kind, position, count }) => {
    if (kind !== 'read') return []
    return Array.from({ length: count }, (_, index) => {
      const offset = (position + index) * chunkBytes
      const bytes = buffer.subarray(filled, filled + Math.min(chunkBytes, size - offset))
      filled += bytes.length
      return { offset, bytes }
    })
  })
}

/** The places with those joined that follow one another on the disk and in their buffer. */
const joined = (places: readonly Place[]): Place[] => {
  const ranges: Place[] = []
  for (const place of places) {
    const { offset, bytes } = place
    const last = ranges.at(-1)
    const { buffer, byteOffset, length } = last?.bytes ?? bytes
    if (last === undefined || last.offset + length !== offset || byteOffset + length !== bytes.byteOffset)
      ranges.push(place)
    else
      ranges[ranges.length - 1] = { offset: last.offset, bytes: Buffer.from(buffer, byteOffset, length + bytes.length) }
  }
  return ranges
}

const fill = async (places: readonly Place[]): Promise<void> => {
  const nbd = await client
  const reads: Promise<void>[] = []
  for (const { offset, bytes } of joined(places))
    for (let at = 0; at < bytes.length; at += READ_BYTES)
      reads.push(inTurn(() => nbd.readInto(offset + at, bytes.subarray(at, at + READ_BYTES))))
  await Promise.all(reads)
}

const takeBuffer = (): Buffer => spare.pop() ?? Buffer.allocUnsafeSlow(Math.max(SEGMENT_READ_BYTES, chunkBytes))

const read = async (number: number, runs: readonly ChunkRun[], hold: boolean): Promise<Hashed> => {
  const buffer = takeBuffer()
  const chunks = chunksOf(runs, buffer)
  await fill(chunks)
  const ids = new Uint8Array(chunks.length * ID_BYTES)
  const zero = new Uint8Array(chunks.length)
  for (const [index, { bytes }] of chunks.entries()) {
    if (isZero(bytes)) zero[index] = 1
    else ids.set(keyedHash(idKey, bytes), index * ID_BYTES)
  }
  segments.set(number, { runs, ids, buffer: hold ? buffer : null })
  if (!hold) spare.push(buffer)
  return { ids, zero }
}

const prepare = async (number: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Moved<Prepared>> => {
  const { runs, ids, buffer: held } = segments.get(number)!
  const buffer = held ?? takeBuffer()
  const chunks = chunksOf(runs, buffer)
  if (held === null) await fill(chunks.filter((_, index) => picks[index] !== PICK.none))
  const picked = (pick: number): { index: number; id: Uint8Array; plain: Uint8Array }[] =>
    chunks.flatMap(({ bytes: plain }, index) => (picks[index] === pick ? [{ index, id: idAt(ids, index), plain }] : []))
  const sent = picked(PICK.send)
  const proofs = picked(PICK.prove).map(({ index, plain }) => ({ index, proof: keyedHash(proofKey, plain) }))
  const prepared = sent.length === 0 ? null : frame(sent, steps, packed)
  if (held === null) spare.push(buffer)
  return new Moved({ chunks: prepared, proofs }, prepared === null ? [] : [prepared.stored.buffer])
}

const drop = (number: number): void => {
  const { buffer } = segments.get(number)!
  if (buffer !== null) spare.push(buffer)
  segments.delete(number)
}

const close = async (): Promise<void> => {
  segments.clear()
  await client.then((nbd) => nbd.close()).catch(() => {})
}

const methods = { read, prepare, drop }
export type ImageMethods = typeof methods

serveThread(methods, { close })
