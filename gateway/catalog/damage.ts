// Damage: records that were found bad or missing, what of restore points is lost with them, and whose loss a person may accept.
import type { DamagedRecord, LostRange } from '../../protocol/maintenance.ts'
import type { Damage } from '../packs/damage.ts'
import type { RecordLocation, RecordType } from '../packs/format.ts'
import type { None, Question, Transaction } from './call.ts'

/** A range of a disk that one record leaves unreadable. */
export interface LostRow {
  readonly point: string
  readonly disk: string
  readonly offset: number
  readonly length: number
  readonly id: Uint8Array
}

/** Ranges of one disk of a base that are to be read again: offset and length in bytes; null for all of it. */
export interface RereadDisk {
  readonly name: string
  readonly size: number
  readonly reread: [number, number][] | null
  /** Its bitmap is known to have missed changes. */
  readonly missed: boolean
  /** The agent's evidence of the files under the disk. */
  readonly evidence: string | null
}

/** Where a record in quarantine lay. */
export interface DamagedPlace {
  readonly id: Uint8Array
  readonly type: RecordType
  readonly pack: string
  readonly offset: number
}

/** A quarantined record that a second read found whole. */
export interface RestoredRecord extends RecordLocation {
  readonly id: Uint8Array
}

/** The last range of a page; the next page begins behind it. */
export interface LostPlace {
  readonly disk: string
  readonly offset: number
}

/** A disk of a restore point that needs a tree node which cannot be read. */
export interface LostSubtrees {
  readonly point: string
  readonly machine: string
  readonly disk: string
  /** True while a person holds it. */
  readonly held: boolean
  readonly lockedUntilMs: number | null
}

/** Restore points whose loss a person accepts. */
export interface Acceptance {
  readonly points: readonly string[]
  readonly nowMs: number
}

export interface DamageNotes {
  /**
   * Removes damaged records from the index, unless it names another copy by now, and notes them; one byte each: 1 where the
   * damage is new.
   */
  readonly enter: Transaction<{ tenant: string; nowMs: number; records: readonly Damage[] }, Uint8Array>

  readonly any: Question<{ tenant: string }, boolean>

  /** Whether a new point may hold damage: its base has some, or some was found since its backup began. */
  readonly mayTouch: Question<{ tenant: string; base: string | null; sinceMs: number }, boolean>

  /** The tenants with damage. */
  readonly tenants: Question<None, string[]>

  /** Damaged records in the order of their ids, those behind `after`. */
  readonly page: Question<
    { tenant: string; after: Uint8Array | null; limit: number },
    (DamagedRecord & { readonly key: Uint8Array })[]
  >

  /** Damaged records whose place is known, in the order of their ids, behind `after`. */
  readonly places: Question<{ tenant: string; after: Uint8Array | null; limit: number }, DamagedPlace[]>

  /** Puts records that turned out to be whole back into the index, unless it has another copy; returns how many that heals. */
  readonly restore: Transaction<{ tenant: string; records: readonly RestoredRecord[] }, number>

  /**
   * Forgets damage of chunks and nodes that no restore point refers to, and of manifests and states that nothing refers to any
   * more.
   */
  readonly settle: Transaction<{ tenant: string; ids: Uint8Array }, void>

  /** Packed ids of the damaged records behind `after`, in order. */
  readonly ids: Question<{ tenant: string; after: Uint8Array | null }, Uint8Array>

  /** One byte per id: 1 where it is known to be damaged. */
  readonly known: Question<{ tenant: string; ids: Uint8Array }, Uint8Array>

  /** Whether tree nodes are known to be damaged. */
  readonly nodes: Question<{ tenant: string }, boolean>

  /** Uuids of the packs in which records lay that are known to be damaged. */
  readonly packs: Question<{ tenant: string }, string[]>
}

export interface LostRanges {
  /** Stages lost ranges until all are known; `first` discards what an earlier run staged. */
  readonly stage: Transaction<{ tenant: string; first: boolean; rows: readonly LostRow[] }, void>

  /** Replaces all lost ranges of the tenant by the staged ones, except what was healed or removed meanwhile. */
  readonly replace: Transaction<{ tenant: string }, void>

  /** Lost ranges, neighbours joined, of one restore point or all, of one disk or all; with their number and bytes altogether. */
  readonly list: Question<
    { tenant: string; point: string | null; disk: string | null; after?: LostPlace | null; limit: number },
    { lost: LostRange[]; lostCount: number; lostBytes: number }
  >

  /** The same, on the thread for read-only callers. */
  readonly show: Question<
    { tenant: string; point: string | null; disk: string | null; after?: LostPlace | null; limit: number },
    { lost: LostRange[]; lostCount: number; lostBytes: number }
  >

  /** The disks of a base, with what the next backup must read of them again. */
  readonly reread: Question<{ tenant: string; point: string }, RereadDisk[]>
}

export interface Losses {
  /** Whether the loss of these points may be accepted. POINT_HELD, NOT_FOUND. */
  readonly acceptable: Question<{ tenant: string; accepted: Acceptance }, void>

  /** Disks of points that known damage of tree nodes touches. */
  readonly subtrees: Question<{ tenant: string }, LostSubtrees[]>
}
