// A thread that decompresses stored chunks and checks their ids.
import { parentPort } from 'node:worker_threads'
import { zstdDecompressSync } from 'node:zlib'
import { CODEC, equalBytes, hex, type Codec } from '../../protocol/chunk.ts'
import { chunkGroups, readHeads, type ChunkGroup } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { freeBuffer, freeBytes } from '../../protocol/memory.ts'
import { keyedHash } from '../image/keyed-hash.ts'
import type { DecodeOrder, DecodeReport } from './decoder.ts'

/** Room beyond the plain length, by which an output that is too long shows. */
const OUTPUT_MARGIN_BYTES = 4096

const port = parentPort!

const plainOf = (codec: Codec, stored: Uint8Array, plainLength: number): Uint8Array => {
  if (codec === CODEC.raw) return stored
  // the output buffer is made as large as the result, so that it is filled by one call
  return zstdDecompressSync(stored, { maxOutputLength: plainLength, chunkSize: plainLength + OUTPUT_MARGIN_BYTES })
}

/** Decodes neighbours with one call into `target`; false where one of them is not what its id says. */
const decodeInto = (
  target: Uint8Array,
  { heads, codec, stored, plainLength }: ChunkGroup,
  idKey: Uint8Array,
): boolean => {
  try {
    const plain = plainOf(codec, stored, plainLength)
    if (plain.length !== plainLength) return false
    let from = 0
    for (const { id, plainLength: length } of heads)
      if (!equalBytes(keyedHash(idKey, plain.subarray(from, (from += length))), id)) return false
    target.set(plain)
    if (codec !== CODEC.raw) freeBuffer(plain.buffer)
    return true
  } catch {
    return false
  }
}

/** The group's chunks one by one. */
function* alone({ heads, stored }: ChunkGroup): Generator<ChunkGroup> {
  let from = 0
  for (const head of heads) {
    const { codec, plainLength, storedLength } = head
    yield { heads: [head], codec, plainLength, stored: stored.subarray(from, (from += storedLength)) }
  }
}

const decode = ({ idKey, heads: table, stored, target }: DecodeOrder): Uint8Array<ArrayBuffer> => {
  const heads = readHeads(table)
  const length = heads.reduce((sum, { plainLength }) => sum + plainLength, 0)
  const fits = target !== null && target.byteLength >= length
  const plain = fits ? new Uint8Array(target, 0, length) : new Uint8Array(length)
  let offset = 0
  const fill = (group: ChunkGroup): boolean => {
    const filled = decodeInto(plain.subarray(offset), group, idKey)
    if (filled) offset += group.plainLength
    return filled
  }
  for (const group of chunkGroups(heads, stored)) {
    if (fill(group)) continue
    for (const chunk of alone(group)) {
      const id = hex(chunk.heads[0]!.id)
      if (!fill(chunk)) throw new VarveError('DATA_DAMAGED', `chunk ${id} is damaged`, { details: { id } })
    }
  }
  freeBytes(stored)
  return plain
}

port.on('message', (order: DecodeOrder) => {
  let report: DecodeReport
  try {
    const plain = decode(order)
    report = { number: order.number, plain }
    port.postMessage(report, [plain.buffer])
  } catch (thrown) {
    const { code, message, details } = asVarveError(thrown)
    report = { number: order.number, error: { code, message, details } }
    port.postMessage(report)
  }
})
