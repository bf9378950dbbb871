// The catalog as it lies on the disk: whether it is as it was written, and the room it keeps for a full disk.
import type { None, Question, Transaction } from './call.ts'

export interface Condition {
  /**
   * What is wrong with the catalog, in words; nothing where it is as it was written. Reads all of it, some 2.5 s of CPU for a
   * million records; with `trusted` (its file is as it was left) it skips an index of more than TRUSTED_ROWS_MIN records.
   */
  readonly examine: Question<{ trusted: boolean }, string[]>

  readonly acknowledged: Question<None, number>
}

export interface Room {
  /** Bytes of the catalog's free pages, less what its file must still grow by. */
  readonly free: Question<None, number>

  /** Grows catalog and log by so many bytes, which 'room.leave' frees again. STORE_FULL; never uses the ballast. */
  readonly take: Transaction<{ bytes: number }, void>

  /** Frees what was taken: its pages stay in the catalog for the next writes. */
  readonly leave: Transaction<None, void>
}
