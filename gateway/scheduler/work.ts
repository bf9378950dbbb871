// What the scheduler does besides backups: work of upkeep, and who plans it.
import type { RunKind, SkipReason } from '../../protocol/runs.ts'
import type { NewRun } from '../catalog/runs.ts'
import type { Tenant } from '../catalog/tenants.ts'

/** What a work did, in a few words for people; or why there was nothing to do. */
export type WorkEnd = { readonly summary: string } | { readonly skipped: SkipReason; readonly summary?: string }

/** One kind of upkeep. */
export interface Work {
  readonly kind: RunKind
  /**
   * Does it for one tenant, or for the gateway itself. Ends soon once the signal is aborted: the gateway stops, or another one
   * has taken the run. Throws what it failed with.
   */
  run(tenant: Tenant | null, signal: AbortSignal): Promise<WorkEnd>
}

/** Says which upkeep is due. It is asked in each round, so it keeps to an interval of its own. */
export interface Planner {
  due(nowMs: number): Promise<readonly NewRun[]>
}
