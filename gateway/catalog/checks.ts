// What a check of packs asks of the catalog: where the index says records are, and which restore points it knows.
import type { Question } from './call.ts'

/** Places of a part of the index, in columns. */
export interface PlacePage {
  /** Id of the last row; null at the end of the index. */
  readonly last: Uint8Array | null
  /** Handles of packs. */
  readonly packs: Uint32Array
  readonly offsets: Uint32Array
}

export interface Checks {
  /** The next places behind `after` (null: from the beginning). */
  readonly places: Question<{ tenant: string; after: Uint8Array | null }, PlacePage>

  /** One byte per id: 1 where the catalog has the backup. */
  readonly jobs: Question<{ tenant: string; jobs: readonly string[] }, Uint8Array>

  /** One byte per id: 1 where the catalog has the restore point, or a backup of this id that was not committed. */
  readonly points: Question<{ tenant: string; points: readonly string[] }, Uint8Array>
}
