// A thread that decompresses stored chunks and checks their ids.
import { hex } from '../../protocol/chunk.ts'
import { plainLengthOf, readHeads } from '../../protocol/chunk-list.ts'
import { VarveError } from '../../protocol/errors.ts'
import { freeBytes } from '../../protocol/memory.ts'
import { checkChunks } from '../../protocol/host/chunk-steps.ts'
import { Moved, serveThread } from '../../protocol/host/threads.ts'

export interface DecodeOrder {
  readonly idKey: Uint8Array
  /** The table of the heads of bundles. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other. */
  readonly stored: Uint8Array
  /** A buffer to decode into, if it is large enough. */
  readonly target: ArrayBuffer | null
}

const damaged = (chunk: Uint8Array, cause: unknown): VarveError => {
  const id = hex(chunk)
  return new VarveError('DATA_DAMAGED', `chunk ${id} is damaged`, { details: { id }, cause })
}

const decode = ({ idKey, heads: table, stored, target }: DecodeOrder): Uint8Array<ArrayBuffer> => {
  const heads = readHeads(table)
  const length = heads.reduce((sum, { parts }) => sum + plainLengthOf(parts), 0)
  const fits = target !== null && target.byteLength >= length
  const plain = fits ? new Uint8Array(target, 0, length) : new Uint8Array(length)
  let filled = 0
  const take = (bytes: Uint8Array): void => {
    plain.set(bytes, filled)
    filled += bytes.length
  }
  checkChunks(heads, stored, { idKey, take, refusal: damaged })
  freeBytes(stored)
  return plain
}

const methods = {
  decode: (order: DecodeOrder): Moved<Uint8Array> => {
    const plain = decode(order)
    return new Moved(plain, [plain.buffer])
  },
}
export type DecodeMethods = typeof methods

serveThread(methods)
