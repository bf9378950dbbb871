// Packs in the catalog: made before their file, sealed when full, removed only when nothing names them.
import type { PackKind } from '../packs/format.ts'
import type { None, Question, Transaction } from './call.ts'

export interface PackRow {
  readonly id: number
  /** The tenant's uuid. */
  readonly tenant: string
  readonly kind: PackKind
  readonly uuid: string
  /** Acknowledged length, in bytes: 0 until the first commit. */
  readonly bytes: number
  /** 0 open, 1 sealed (nothing is added any more), 2 marked for removal because nothing names it. */
  readonly sealed: number
}

/** Bytes of all packs of a tenant. */
export interface PackTotal {
  /** The tenant's uuid. */
  readonly tenant: string
  readonly bytes: number
}

export interface Packs {
  /**
   * Marks sealed packs for removal, unless they hold known damage, and returns those marked; a later start finishes an
   * interrupted removal.
   */
  readonly doom: Transaction<{ ids: readonly number[] }, number[]>

  /** Unmarks a pack that was marked for removal. */
  readonly spare: Transaction<{ id: number }, void>

  /** The tenant's packs that are marked for removal. */
  readonly doomed: Question<{ tenant: string }, { id: number; uuid: string }[]>

  /** Removes the row of a pack that was marked for removal and whose file is gone. */
  readonly removed: Transaction<{ id: number }, void>

  /** The new pack's row id; the row is there before the file, so that no file is without one. */
  readonly add: Transaction<{ tenant: string; kind: PackKind; uuid: string; nowMs: number }, number>

  readonly list: Question<None, PackRow[]>

  /** Bytes of all packs of each tenant that has any. */
  readonly totals: Question<None, PackTotal[]>

  /** Ends a pack; its length becomes `bytes` where that is more than what was acknowledged. */
  readonly seal: Transaction<{ packs: readonly { id: number; bytes: number }[] }, null>

  /** Removes the row of a pack in which nothing was ever acknowledged; true when it did. */
  readonly forget: Transaction<{ id: number }, boolean>

  /** Bytes of the tenant's packs. */
  readonly tenantBytes: Question<{ tenant: string }, number>
}
