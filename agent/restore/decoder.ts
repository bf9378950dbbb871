// Worker threads that turn stored chunks into plain bytes and check each against its id.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError, type ErrorDetails } from '../../protocol/errors.ts'
import type { WireChunk } from '../../protocol/methods.ts'

export interface DecodeOrder {
  readonly number: number
  readonly idKey: Uint8Array
  readonly chunks: readonly WireChunk[]
}

export type DecodeReport =
  | { readonly number: number; readonly plain: Uint8Array }
  | { readonly number: number; readonly error: { code: string; message: string; details: ErrorDetails } }

const WORKERS_MAX = 8

interface Waiting {
  readonly resolve: (plain: Uint8Array) => void
  readonly reject: (error: VarveError) => void
}

export class Decoder implements AsyncDisposable {
  readonly #workers: Worker[]
  readonly #waiting = new Map<number, Waiting>()
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
      // views of a received frame are copied by the clone; the frame itself must not travel once per chunk
      const own = chunks.map(([id, codec, plainLength, stored]): WireChunk => [
        Uint8Array.from(id),
        codec,
        plainLength,
        Uint8Array.from(stored),
      ])
      this.#workers[number % this.#workers.length]!.postMessage(
        { number, idKey, chunks: own } satisfies DecodeOrder,
        own.map(([, , , stored]) => stored.buffer as ArrayBuffer),
      )
    })
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
