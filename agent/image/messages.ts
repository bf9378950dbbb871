// What the upload pipeline and its worker threads say to each other.
import type { Framed } from '../../protocol/host/chunk-steps.ts'
import type { SpoolPlace } from '../push/spool.ts'

/** Where an image is read: over NBD, or where QEMU has written it. */
export type ImagePlace =
  | {
      readonly socketPath: string
      readonly exportName: string
      /** As a leased disk has it. */
      readonly boundaryBytes?: number | undefined
    }
  | { readonly spool: SpoolPlace }

/** What a worker thread is started with. */
export type WorkerSetup = ImagePlace & {
  readonly size: number
  readonly chunkBytes: number
  readonly idKey: Uint8Array
}

export const PICK = { none: 0, send: 1, prove: 2 } as const

/** Ids of a segment's reads one behind the other; `zero` has a 1 where a chunk turned out to be all zero. */
export interface Hashed {
  readonly ids: Uint8Array
  readonly zero: Uint8Array
  /** How long hashing them took, in milliseconds. */
  readonly computeMs: number
}

/** What was asked for of a segment. */
export interface Prepared {
  /** Null when none was to be sent. */
  readonly chunks: Framed | null
  readonly proofs: readonly { readonly index: number; readonly proof: Uint8Array }[]
  /** How long compressing and proving took, in milliseconds. */
  readonly computeMs: number
}
