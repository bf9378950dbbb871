// The chunk index: which record of which pack holds an id of a tenant; ids travel packed, 32 bytes each.
import type { RecordLocation } from '../packs/format.ts'
import type { Question, Transaction } from './call.ts'
import type { PackHandle } from './packs.ts'

/** A part of a record to be indexed; its id is at the same index in the packed ids. */
export interface NewRecord extends Omit<RecordLocation, 'pack'> {
  readonly pack: PackHandle
}

/** How far an upload is. */
export interface UploadProgress {
  readonly job: string
  readonly disk: string
  /** Chunks placed so far. */
  readonly position: number
  /** The tree builder's state, encoded by the caller. */
  readonly state: Uint8Array
  /** Bytes that the agent has sent so far. */
  readonly bytesSent: number
  /** Bytes of the disk, so far, that were not kept from the base. */
  readonly changedBytes: number
  readonly finished: boolean
  /** Root id of a finished image that is not all zero. */
  readonly root: Uint8Array | null
}

export interface RecordCommit {
  readonly tenant: string
  /** Name of the machine that sent the chunks, or null. */
  readonly machine: string | null
  readonly ids: Uint8Array
  readonly records: readonly NewRecord[]
  readonly packs: readonly { readonly id: PackHandle; readonly bytes: number; readonly sealed: boolean }[]
  /** The upload that the records belong to, whose stored bytes are counted. */
  readonly upload: { readonly job: string; readonly disk: string } | null
  readonly progress: Omit<UploadProgress, 'job' | 'disk'> | null
}

/**
 * What a chunk is to a machine: absent, first added by another machine, first added by this one, or there with another length
 * than it must have.
 */
export const HAVE = { absent: 0, other: 1, own: 2, misfit: 3 } as const

export interface Records {
  /** One byte of HAVE per id; `lengths` are the plain lengths that the chunks must have, in bytes, where they are known. */
  readonly have: Question<
    { tenant: string; machine: string; ids: Uint8Array; lengths?: readonly number[] | undefined },
    Uint8Array
  >

  /** One byte per id: 1 where a record of any type has it. */
  readonly indexed: Question<{ tenant: string; ids: Uint8Array }, Uint8Array>

  /** Where each record is, or null where none has the id. */
  readonly locate: Question<{ tenant: string; ids: Uint8Array }, (RecordLocation | null)[]>

  /**
   * Records that are already synced to their packs, with the packs' lengths and the upload's progress; returns the bytes
   * newly stored. JOB_ENDED.
   */
  readonly commit: Transaction<RecordCommit, number>
}
