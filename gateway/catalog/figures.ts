// What monitoring asks of the catalog: figures of all tenants, their agents and machines at one moment.
import type { RunKind, RunState } from '../../protocol/runs.ts'
import type { Question } from './call.ts'

/** One tenant. */
export interface TenantFigures {
  readonly tenant: string
  readonly softBytes: number | null
  readonly hardBytes: number | null
  readonly packBytes: number
  readonly machines: number
  readonly points: number
  /** Backups under way. */
  readonly running: number
  /** Ranges of restore points that cannot be restored, and records that were found damaged or missing. */
  readonly lostRanges: number
  readonly damaged: number
}

/** Machines in columns, as there may be very many: one value for each in every column. */
export interface MachineColumns {
  /** Place of its tenant among the figures. */
  readonly tenants: Uint32Array
  readonly names: readonly string[]
  /** Instant of its newest restore point; NaN where it has none. */
  readonly pointMs: Float64Array
}

/** Runs of one kind and state; the tenant is null for the platform's. */
export interface RunFigures {
  readonly tenant: string | null
  readonly kind: RunKind
  readonly state: RunState
  readonly count: number
}

/** How much is asked for; runs that ended later than `afterMs`, and no later than `untilMs`. */
export interface FiguresAsked {
  readonly machinesMax: number
  readonly agentsMax: number
  readonly afterMs: number
  readonly untilMs: number
}

export interface Figures {
  readonly tenants: readonly TenantFigures[]
  /** Agents that are not revoked, by tenant and host; at most `agentsMax`. */
  readonly agents: readonly { readonly id: string; readonly tenant: string; readonly host: string }[]
  /** Runs that are due or running. */
  readonly runs: readonly RunFigures[]
  /** Runs that ended within the time that is asked about. */
  readonly ended: readonly RunFigures[]
  /** Messages in the outbox; the tenant is null for the platform's. */
  readonly notices: readonly { readonly tenant: string | null; readonly state: string; readonly count: number }[]
  /** By tenant and name; at most `machinesMax`. */
  readonly machines: MachineColumns
}

export interface FigureBook {
  readonly now: Question<FiguresAsked, Figures>
}
