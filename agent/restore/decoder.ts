// Worker threads that turn stored chunks into plain bytes and check each against its id.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError, type ErrorDetails } from '../../protocol/errors.ts'
import { ownsBuffer } from '../../protocol/memory.ts'

export interface DecodeOrder {
  readonly number: number
  readonly idKey: Uint8Array
  /** The table of the chunks' heads. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other. */
  readonly stored: Uint8Array
  /** A buffer to decode into, if it is large enough. */
  readonly target: ArrayBuffer | null
}

export type DecodeReport =
  | { readonly number: number; readonly plain: Uint8Array }
  | { readonly number: number; readonly error: { code: string; message: string; details: ErrorDetails } }

const WORKERS_MAX = 8

/** Buffers kept for further messages. */
const SPARE_MAX = 16

interface Waiting {
  readonly resolve: (plain: Uint8Array) => void
  readonly reject: (error: VarveError) => void
}

export class Decoder implements AsyncDisposable {
  readonly #workers: Worker[]
  readonly #waiting = new Map<number, Waiting>()
  /** Buffers whose bytes are written: fresh ones of megabytes cost more time in page faults than the decoding. */
  readonly #spare: ArrayBuffer[] = []
  #failure: VarveError | null = null
  #number = 0

  constructor() {
    const count = Math.min(WORKERS_MAX, Math.max(1, availableParallelism()))
    this.#workers = Array.from({ length: count }, () => {
      const worker = new Worker(new URL('decode-worker.ts', import.meta.url))
      worker.on('message', (report: DecodeReport) => this.#onReport(report))
      worker.on('error', (error) => this.#failAll(asVarveError(error)))
      worker.on('exit', () => this.#failAll(new VarveError('INTERNAL', 'a thread that decodes chunks ended')))
      return worker
    })
  }

  /**
   * Plain bytes of the chunks one behind the other; DATA_DAMAGED names the first that is not what its id says, CHUNK_INVALID one that is
   * not stored as the protocol wants it.
   * Stored bytes in a large buffer of their own are taken, and empty afterwards.
   */
  decode(idKey: Uint8Array, table: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
    const number = this.#number++
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure)
      this.#waiting.set(number, { resolve, reject })
      const heads = new Uint8Array(table)
      const stored = ownsBuffer(bytes) ? bytes : new Uint8Array(bytes)
      const target = this.#spare.pop() ?? null
      const order: DecodeOrder = { number, idKey, heads, stored, target }
      const given = target === null ? [stored.buffer] : [stored.buffer, target]
      this.#workers[number % this.#workers.length]!.postMessage(order, given)
    })
  }

  /** Takes decoded bytes back that nobody needs any more; their buffer serves again. */
  release(plain: Uint8Array): void {
    if (this.#spare.length < SPARE_MAX && plain.buffer.byteLength > 0) this.#spare.push(plain.buffer as ArrayBuffer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failAll(new VarveError('CANCELLED', 'the restore ended'))
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  #onReport(report: DecodeReport): void {
    const waiting = this.#waiting.get(report.number)
    this.#waiting.delete(report.number)
    if ('plain' in report) return waiting?.resolve(report.plain)
    const { code, message, details } = report.error
    waiting?.reject(new VarveError(isErrorCode(code) ? code : 'INTERNAL', message, { details }))
  }

  #failAll(error: VarveError): void {
    this.#failure ??= error
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
  }
}
