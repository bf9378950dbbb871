// Packs in the catalog: made before their file, sealed when full, removed only when nothing names them.
import type { PackKind } from '../packs/format.ts'
import type { None, Question, Transaction } from './call.ts'

/** A pack as the engine names it: small, as every row of the index has one; it means nothing to anybody else. */
export type PackHandle = number

/** `open` while it may grow, `sealed` when nothing is added any more, `doomed` when nothing names it and it is to be removed. */
export type PackState = 'open' | 'sealed' | 'doomed'

export interface PackRow {
  readonly id: PackHandle
  /** The tenant's uuid. */
  readonly tenant: string
  readonly kind: PackKind
  readonly uuid: string
  /** Acknowledged length, in bytes: 0 until the first commit. */
  readonly bytes: number
  readonly state: PackState
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
  readonly doom: Transaction<{ ids: readonly PackHandle[] }, PackHandle[]>

  /** Unmarks a pack that was marked for removal. */
  readonly spare: Transaction<{ id: PackHandle }, void>

  /** The tenant's packs that are marked for removal. */
  readonly doomed: Question<{ tenant: string }, { id: PackHandle; uuid: string }[]>

  /** Removes the row of a pack that was marked for removal and whose file is gone. */
  readonly removed: Transaction<{ id: PackHandle }, void>

  /** The new pack's handle; the catalog has it before there is a file, so that no file is unknown. */
  readonly add: Transaction<{ tenant: string; kind: PackKind; uuid: string; nowMs: number }, PackHandle>

  readonly list: Question<None, PackRow[]>

  /** Bytes of all packs of each tenant that has any. */
  readonly totals: Question<None, PackTotal[]>

  /** Ends a pack; its length becomes `bytes` where that is more than what was acknowledged. */
  readonly seal: Transaction<{ packs: readonly { id: PackHandle; bytes: number }[] }, void>

  /** Removes the row of a pack in which nothing was ever acknowledged; true when it did. */
  readonly forget: Transaction<{ id: PackHandle }, boolean>

  /** Bytes of the tenant's packs. */
  readonly tenantBytes: Question<{ tenant: string }, number>
}
