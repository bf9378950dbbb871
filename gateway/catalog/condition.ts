// The catalog as it lies on the disk: whether it is as it was written, and the room it keeps for a full disk.
import type { None, Question, Transaction } from './call.ts'

export interface Condition {
  /**
   * What is wrong with the catalog, in words; nothing where it is as it was written. Reads all of it, some 2.5 s of CPU for a
   * million records; with `trusted`, which says that its file is as it was left, an index of more than TRUSTED_ROWS_MIN
   * records is not read.
   */
  readonly examine: Question<{ trusted: boolean }, string[]>

  readonly acknowledged: Question<None, number>
}

export interface Room {
  /** Bytes of the catalog's free pages. */
  readonly free: Question<None, number>

  /**
   * Makes catalog and log longer by so many bytes, as a value that 'room.leave' lets go. STORE_FULL, and the ballast is left
   * alone.
   */
  readonly take: Transaction<{ bytes: number }, void>

  /** Lets go of what was taken: its pages stay in the catalog, free for whatever is written next. */
  readonly leave: Transaction<None, void>
}
