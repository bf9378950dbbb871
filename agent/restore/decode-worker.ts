// A thread that decompresses stored chunks and checks their ids.
import { parentPort } from 'node:worker_threads'
import { zstdDecompressSync } from 'node:zlib'
import { CODEC, equalBytes, hex, type Codec } from '../../protocol/chunk.ts'
import { chunkGroups, eachAlone, readHeads, type ChunkGroup } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { freeBuffer, freeBytes } from '../../protocol/memory.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import type { DecodeOrder, DecodeReport } from './decoder.ts'

/** Room beyond the plain length, by which an output that is too long shows. */
const OUTPUT_MARGIN_BYTES = 4096

const port = parentPort!

const plainOf = (codec: Codec, stored: Uint8Array, plainLength: number): Uint8Array => {
  if (codec === CODEC.raw) return stored
  // the output buffer is made as large as the result, so that it is filled by one call
  return zstdDecompressSync(stored, { maxOutputLength: plainLength, chunkSize: plainLength + OUTPUT_MARGIN_BYTES })
}

/** Decodes neighbours with one call into `target`; throws where one of them is not what its id says. */
const decodeTogether = (
  target: Uint8Array,
  { heads, codec, stored, plainLength }: ChunkGroup,
  idKey: Uint8Array,
): void => {
  const plain = plainOf(codec, stored, plainLength)
  let from = 0
  const same =
    plain.length === plainLength &&
    heads.every(({ id, plainLength: length }) =>
      equalBytes(keyedHash(idKey, plain.subarray(from, (from += length))), id),
    )
  if (same) target.set(plain)
  if (codec !== CODEC.raw) freeBuffer(plain.buffer)
  if (!same) throw new VarveError('DATA_DAMAGED', 'the content has another id')
}

/** Decodes a group into `target`; DATA_DAMAGED names the first chunk that is not what its id says. */
const decodeInto = (target: Uint8Array, group: ChunkGroup, idKey: Uint8Array): void => {
  try {
    decodeTogether(target, group, idKey)
  } catch (cause) {
    if (group.heads.length === 1) {
      const id = hex(group.heads[0]!.id)
      throw new VarveError('DATA_DAMAGED', `chunk ${id} is damaged`, { details: { id }, cause })
    }
    let offset = 0
    for (const chunk of eachAlone(group)) {
      decodeInto(target.subarray(offset), chunk, idKey)
      offset += chunk.plainLength
    }
  }
}

const decode = ({ idKey, heads: table, stored, target }: DecodeOrder): Uint8Array<ArrayBuffer> => {
  const heads = readHeads(table)
  const length = heads.reduce((sum, { plainLength }) => sum + plainLength, 0)
  const fits = target !== null && target.byteLength >= length
  const plain = fits ? new Uint8Array(target, 0, length) : new Uint8Array(length)
  let offset = 0
  for (const group of chunkGroups(heads, stored)) {
    decodeInto(plain.subarray(offset), group, idKey)
    offset += group.plainLength
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
