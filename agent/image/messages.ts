// What the upload pipeline and its worker threads say to each other.
import type { ErrorDetails } from '../../protocol/errors.ts'
import type { ChunkRun } from './segments.ts'

/** What a worker thread is started with. */
export interface WorkerSetup {
  readonly socketPath: string
  readonly exportName: string
  readonly size: number
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly level: number
}

/** Orders to a worker; `segment` numbers a segment of this upload. */
export type Order =
  /** Without `hold` the bytes are let go once they are hashed, and read again where they are asked for after all. */
  | { readonly type: 'read'; readonly segment: number; readonly runs: readonly ChunkRun[]; readonly hold: boolean }
  /** One entry of `picks` per chunk: nothing, compress it, or prove possession of it. */
  | { readonly type: 'prepare'; readonly segment: number; readonly picks: Uint8Array; readonly proofKey: Uint8Array }
  | { readonly type: 'drop'; readonly segment: number }
  | { readonly type: 'close' }

export const PICK = { none: 0, send: 1, prove: 2 } as const

/** Chunks ready to be sent: the table of their heads, and their stored bytes one behind the other. */
export interface PreparedChunks {
  readonly heads: Uint8Array
  readonly stored: Uint8Array
}

export type Report =
  /** Ids of the segment's reads one behind the other; `zero` has a 1 where a chunk turned out to be all zero. */
  | { readonly type: 'hashed'; readonly segment: number; readonly ids: Uint8Array; readonly zero: Uint8Array }
  | {
      readonly type: 'prepared'
      readonly segment: number
      /** Null when none was to be sent. */
      readonly chunks: PreparedChunks | null
      readonly proofs: readonly { readonly index: number; readonly proof: Uint8Array }[]
    }
  | {
      readonly type: 'failed'
      readonly error: { readonly code: string; readonly message: string; readonly details: ErrorDetails }
    }
