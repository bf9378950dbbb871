// Worker threads that turn stored chunks into plain bytes and check each against its id.
import { availableParallelism } from 'node:os'
import { VarveError } from '../../protocol/errors.ts'
import { WorkPool } from '../../protocol/host/work-pool.ts'
import { ownsBuffer } from '../../protocol/memory.ts'
import type { DecodeMethods } from './decode-worker.ts'

const WORKERS_MAX = 8

/** Messages that may wait for a thread: more than a restore has on the way. */
const WAITING_MAX = 1024

/** Buffers kept for further messages. */
const SPARE_MAX = 16

export class Decoder implements AsyncDisposable {
  readonly #pool = new WorkPool<DecodeMethods>(new URL('decode-worker.ts', import.meta.url), {
    threads: Math.min(WORKERS_MAX, Math.max(1, availableParallelism())),
    perThread: 2,
    waitingMax: WAITING_MAX,
    full: () => new VarveError('INTERNAL', 'too many chunks are waiting to be decoded'),
    closed: () => new VarveError('CANCELLED', 'the restore ended'),
    ended: () => new VarveError('INTERNAL', 'a thread that decodes chunks ended'),
  })
  /** Buffers whose bytes are written: fresh ones of megabytes cost more time in page faults than the decoding. */
  readonly #spare: ArrayBuffer[] = []

  /**
   * Plain bytes of the chunks one behind the other; DATA_DAMAGED names the first that is not what its id says, CHUNK_INVALID
   * one that is not stored as the protocol wants it. Stored bytes in a large buffer of their own are taken, and empty
   * afterwards.
   */
  decode(idKey: Uint8Array, table: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
    const heads = new Uint8Array(table)
    const stored = ownsBuffer(bytes) ? bytes : new Uint8Array(bytes)
    const target = this.#spare.pop() ?? null
    const given = target === null ? [stored.buffer] : [stored.buffer, target]
    return this.#pool.call('decode', [{ idKey, heads, stored, target }], given)
  }

  /** Takes decoded bytes back that nobody needs any more; their buffer serves again. */
  release(plain: Uint8Array): void {
    if (this.#spare.length < SPARE_MAX && plain.buffer.byteLength > 0) this.#spare.push(plain.buffer as ArrayBuffer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.cancel()
  }
}
