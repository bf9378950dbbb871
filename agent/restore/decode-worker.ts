// A thread that decompresses stored chunks and checks their ids.
import { parentPort } from 'node:worker_threads'
import { zstdDecompressSync } from 'node:zlib'
import { CODEC, equalBytes, hex } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { keyedHash } from '../image/keyed-hash.ts'
import type { DecodeOrder, DecodeReport } from './decoder.ts'

/** Room beyond the plain length, by which an output that is too long shows. */
const OUTPUT_MARGIN_BYTES = 64

const port = parentPort!

/** The output buffer is made as large as the result, so that it is filled by one call. */
const decompress = (stored: Uint8Array, plainLength: number): Uint8Array =>
  zstdDecompressSync(stored, { maxOutputLength: plainLength, chunkSize: plainLength + OUTPUT_MARGIN_BYTES })

const decode = ({ idKey, chunks, target }: DecodeOrder): Uint8Array<ArrayBuffer> => {
  const length = chunks.reduce((sum, [, , plainLength]) => sum + plainLength, 0)
  const fits = target !== null && target.byteLength >= length
  const plain = fits ? new Uint8Array(target, 0, length) : new Uint8Array(length)
  let offset = 0
  for (const [id, codec, plainLength, stored] of chunks) {
    const damaged = (): VarveError =>
      new VarveError('DATA_DAMAGED', `chunk ${hex(id)} is damaged`, { details: { id: hex(id) } })
    let bytes: Uint8Array
    try {
      bytes = codec === CODEC.raw ? stored : decompress(stored, plainLength)
    } catch {
      throw damaged()
    }
    if (bytes.length !== plainLength || !equalBytes(keyedHash(idKey, bytes), id)) throw damaged()
    plain.set(bytes, offset)
    offset += plainLength
  }
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
