// What accounting asks of the catalog: restore points and images at one moment, what running backups have stored, growth.
import type { Question } from './call.ts'
import type { CatalogRoots } from './collection.ts'

/** A restore point, and what its manifest takes. */
export interface CountedPoint {
  readonly id: string
  readonly machine: string
  readonly timeMs: number
  /** Stored length of its manifest; null where the index does not have it. */
  readonly manifestLength: number | null
}

/** A tenant at one moment. */
export interface UsageRoots extends CatalogRoots {
  readonly counted: readonly CountedPoint[]
  /** Record bytes that running backups have stored so far. */
  readonly uploadBytes: number
}

export interface Usage {
  readonly roots: Question<{ tenant: string }, UsageRoots>

  /** One figure for each moment. */
  readonly growth: Question<{ tenant: string; sinceMs: readonly number[] }, number[]>
}
