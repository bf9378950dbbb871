// Worker threads that turn stored chunks into plain bytes and check each against its id.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError, type ErrorDetails } from '../../protocol/errors.ts'
import type { WireChunk } from '../../protocol/methods.ts'

export interface DecodeOrder {
  readonly number: number
  readonly idKey: Uint8Array
  readonly chunks: readonly WireChunk[]
  /** A buffer to decode into, if it is large enough. */
  readonly target: ArrayBuffer | null
}

export type DecodeReport =
  | { readonly number: number; readonly plain: Uint8Array }
  | { readonly number: number; readonly error: { code: string; message: string; details: ErrorDetails } }

const WORKERS_MAX = 8

/** Buffers kept for further messages. */
const SPARE_MAX = 16

/** The chunks in one buffer of their own: views of a received frame would take all of it along, once per chunk. */
const ownChunks = (chunks: readonly WireChunk[]): { chunks: WireChunk[]; buffer: ArrayBuffer } => {
  const joined = new Uint8Array(chunks.reduce((sum, [id, , , stored]) => sum + id.length + stored.length, 0))
  let filled = 0
  const take = (bytes: Uint8Array): Uint8Array => {
    joined.set(bytes, filled)
    filled += bytes.length
    return joined.subarray(filled - bytes.length, filled)
  }
  const own = chunks.map(([id, codec, plainLength, stored]): WireChunk => [take(id), codec, plainLength, take(stored)])
  return { chunks: own, buffer: joined.buffer }
}

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

  /** Plain bytes of the chunks one behind the other; DATA_DAMAGED names the first that is not what its id says. */
  decode(idKey: Uint8Array, chunks: readonly WireChunk[]): Promise<Uint8Array> {
    const number = this.#number++
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure)
      this.#waiting.set(number, { resolve, reject })
      const own = ownChunks(chunks)
      const target = this.#spare.pop() ?? null
      const order: DecodeOrder = { number, idKey, chunks: own.chunks, target }
      const given = target === null ? [own.buffer] : [own.buffer, target]
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
