// A worker thread of an upload: reads its segments over an NBD connection of its own, hashes, compresses and proves.
import { parentPort, workerData } from 'node:worker_threads'
import { constants, zstdCompressSync } from 'node:zlib'
import { CODEC, ID_BYTES, type Codec } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { NbdClient } from '../nbd/client.ts'
import { keyedHash } from './keyed-hash.ts'
import { PICK, type Order, type PreparedChunk, type Report, type WorkerSetup } from './messages.ts'
import { SEGMENT_READ_BYTES, type ChunkRun } from './segments.ts'

/** What zstd may need beyond the plain length for bytes that do not compress. */
const ZSTD_MARGIN_BYTES = 4096

/** Bytes of one NBD read. */
const READ_BYTES = 512 * 1024

/** Reads that are given to the NBD client at once: more than QEMU works on, and far fewer than the client lets wait. */
const READS_MAX = 64

const port = parentPort!
const setup = workerData as WorkerSetup
const { chunkBytes, size, idKey, level } = setup
const zeroes = Buffer.alloc(chunkBytes)
/** Chunks of the segments that may still be asked for, and the buffer they are views of. */
const held = new Map<number, { readonly chunks: Uint8Array[]; readonly buffer: Buffer }>()
/** Buffers of segments that are done: fresh ones would cost page faults and wait for the garbage collector. */
const spare: Buffer[] = []
const client = NbdClient.connect({ socketPath: setup.socketPath, exportName: setup.exportName, contexts: [] })
// a failure is reported by the first read
client.catch(() => {})

const post = (report: Report, transfer: ArrayBuffer[] = []): void => port.postMessage(report, transfer)

const fail = (thrown: unknown): void => {
  const { code, message, details } = asVarveError(thrown)
  post({ type: 'failed', error: { code, message, details } })
}

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

/** Reads the runs' chunks into one buffer, which must hold them all. */
const readChunks = async (runs: readonly ChunkRun[], buffer: Buffer): Promise<Uint8Array[]> => {
  const nbd = await client
  const chunks: Uint8Array[] = []
  const reads: Promise<void>[] = []
  let filled = 0
  for (const { kind, position, count } of runs) {
    if (kind !== 'read') continue
    const offset = position * chunkBytes
    const bytes = buffer.subarray(filled, filled + Math.min(count * chunkBytes, size - offset))
    filled += bytes.length
    for (let at = 0; at < bytes.length; at += READ_BYTES)
      reads.push(inTurn(() => nbd.readInto(offset + at, bytes.subarray(at, at + READ_BYTES))))
    for (let at = 0; at < bytes.length; at += chunkBytes) chunks.push(bytes.subarray(at, at + chunkBytes))
  }
  await Promise.all(reads)
  return chunks
}

const read = async (segment: number, runs: readonly ChunkRun[]): Promise<void> => {
  const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(Math.max(SEGMENT_READ_BYTES, chunkBytes))
  const chunks = await readChunks(runs, buffer)
  const ids = new Uint8Array(chunks.length * ID_BYTES)
  const zero = new Uint8Array(chunks.length)
  for (const [index, chunk] of chunks.entries()) {
    if (isZero(chunk)) zero[index] = 1
    else ids.set(keyedHash(idKey, chunk), index * ID_BYTES)
  }
  held.set(segment, { chunks, buffer })
  post({ type: 'hashed', segment, ids, zero })
}

const compress = (plain: Uint8Array): { codec: Codec; bytes: Uint8Array } => {
  const params = { [constants.ZSTD_c_compressionLevel]: level }
  // with its length known and room for the whole result, zstd takes a smaller table and one call
  const bytes = zstdCompressSync(plain, {
    params,
    pledgedSrcSize: plain.length,
    chunkSize: plain.length + ZSTD_MARGIN_BYTES,
  })
  return bytes.length < plain.length ? { codec: CODEC.zstd, bytes } : { codec: CODEC.raw, bytes: plain }
}

const prepare = (segment: number, picks: Uint8Array, proofKey: Uint8Array): void => {
  const { chunks } = held.get(segment)!
  const packed: { index: number; codec: Codec; plainLength: number; bytes: Uint8Array }[] = []
  const proofs: { index: number; proof: Uint8Array }[] = []
  for (const [index, chunk] of chunks.entries()) {
    if (picks[index] === PICK.send) packed.push({ index, plainLength: chunk.length, ...compress(chunk) })
    else if (picks[index] === PICK.prove) proofs.push({ index, proof: keyedHash(proofKey, chunk) })
  }
  // one buffer of our own for all of them: it is given away whole, which parts of a shared pool cannot be
  const joined = new Uint8Array(packed.reduce((sum, { bytes }) => sum + bytes.length, 0))
  let offset = 0
  const prepared = packed.map(({ index, codec, plainLength, bytes }): PreparedChunk => {
    joined.set(bytes, offset)
    offset += bytes.length
    return { index, codec, plainLength, stored: joined.subarray(offset - bytes.length, offset) }
  })
  post({ type: 'prepared', segment, chunks: prepared, proofs }, [joined.buffer])
}

port.on('message', (order: Order) => {
  switch (order.type) {
    case 'read':
      read(order.segment, order.runs).catch(fail)
      return
    case 'prepare':
      try {
        prepare(order.segment, order.picks, order.proofKey)
      } catch (thrown) {
        fail(thrown)
      }
      return
    case 'drop':
      spare.push(held.get(order.segment)!.buffer)
      held.delete(order.segment)
      return
    case 'close':
      held.clear()
      void client
        .then((nbd) => nbd.close())
        .catch(() => {})
        .finally(() => port.close())
  }
})
