// A worker thread of an upload: reads its segments over an NBD connection of its own, hashes, compresses and proves.
import { parentPort, workerData } from 'node:worker_threads'
import { constants, zstdCompressSync } from 'node:zlib'
import { CODEC, ID_BYTES, type Codec } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { NbdClient } from '../nbd/client.ts'
import { keyedHash } from './keyed-hash.ts'
import { PICK, type Order, type PreparedChunk, type Report, type WorkerSetup } from './messages.ts'
import type { ChunkRun } from './segments.ts'

/** Bytes of one NBD read. */
const READ_BYTES = 512 * 1024

/** Reads that are given to the NBD client at once: more than QEMU works on, and far fewer than the client lets wait. */
const READS_MAX = 64

const port = parentPort!
const setup = workerData as WorkerSetup
const { chunkBytes, size, idKey, level } = setup
const zeroes = Buffer.alloc(chunkBytes)
/** Chunks of the segments that may still be asked for. */
const held = new Map<number, Uint8Array[]>()
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

/** Reads the runs' chunks; those of one run are views of one buffer. */
const readChunks = async (runs: readonly ChunkRun[]): Promise<Uint8Array[]> => {
  const nbd = await client
  const chunks: Uint8Array[] = []
  const reads: Promise<void>[] = []
  for (const { kind, position, count } of runs) {
    if (kind !== 'read') continue
    const offset = position * chunkBytes
    const bytes = new Uint8Array(Math.min(count * chunkBytes, size - offset))
    for (let at = 0; at < bytes.length; at += READ_BYTES)
      reads.push(inTurn(() => nbd.readInto(offset + at, bytes.subarray(at, at + READ_BYTES))))
    for (let at = 0; at < bytes.length; at += chunkBytes) chunks.push(bytes.subarray(at, at + chunkBytes))
  }
  await Promise.all(reads)
  return chunks
}

const read = async (segment: number, runs: readonly ChunkRun[]): Promise<void> => {
  const chunks = await readChunks(runs)
  const ids = new Uint8Array(chunks.length * ID_BYTES)
  const zero = new Uint8Array(chunks.length)
  for (const [index, chunk] of chunks.entries()) {
    if (isZero(chunk)) zero[index] = 1
    else ids.set(keyedHash(idKey, chunk), index * ID_BYTES)
  }
  held.set(segment, chunks)
  post({ type: 'hashed', segment, ids, zero })
}

const compress = (plain: Uint8Array): { codec: Codec; bytes: Uint8Array } => {
  const bytes = zstdCompressSync(plain, { params: { [constants.ZSTD_c_compressionLevel]: level } })
  return bytes.length < plain.length ? { codec: CODEC.zstd, bytes } : { codec: CODEC.raw, bytes: plain }
}

const prepare = (segment: number, picks: Uint8Array, proofKey: Uint8Array): void => {
  const chunks = held.get(segment)!
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
