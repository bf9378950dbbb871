// Machines: which agent declared them, their group, and the plan that covers them.
import type { Exclusion } from '../../protocol/plans.ts'
import type { Policy } from '../../protocol/schemas.ts'
import type { Question, Transaction } from './call.ts'

export interface MachineRow {
  readonly name: string
  readonly agent: string
  readonly host: string
  /** The hypervisor's uuid of it, as its agent announced it last; null where none is known. */
  readonly uuid: string | null
  /** The site of its agent; null where that is in none. */
  readonly site: string | null
  /** What its plan asks of its backups. */
  readonly policy: Policy
  readonly group: string | null
  /** Name of the plan that covers it; null where none does. */
  readonly plan: string | null
  /** Why it is left out of plans; of one that has ended by itself too, see `isExcluded`. */
  readonly exclusion: Exclusion | null
  readonly job: string | null
  readonly pointId: string | null
  readonly pointMs: number | null
}

/** Whether a machine has neither a restore point nor a backup under way: whoever serves it learns nothing by that. */
export const isUnused = ({ pointId, job }: Pick<MachineRow, 'pointId' | 'job'>): boolean =>
  pointId === null && job === null

/** What became of a machine that was put into a group. */
export interface JoinedGroup {
  readonly group: string | null
  /** Name of the plan that covers it now. */
  readonly plan: string | null
  readonly newGroup: boolean
}

/** A machine as an agent announces it. */
export interface Announced {
  readonly name: string
  readonly uuid: string | null
  /** It runs on the agent's host. */
  readonly here: boolean
}

/** What came of an announcement. */
export interface Declared {
  /** Machines that another agent of the tenant has. */
  readonly held: readonly MachineRow[]
  /** Names past MACHINES_MAX. */
  readonly tooMany: readonly string[]
  /** Machines of the agent that run here under another uuid than before. */
  readonly changed: readonly { machine: string; from: string; to: string | null }[]
}

/** A machine that goes from one agent of a site to another. */
export interface Move {
  readonly tenant: string
  readonly name: string
  readonly from: string
  readonly to: string
  /** What it was known by; null for one that never ran where it was, and has no restore point. */
  readonly known: string | null
  /** What it is known by from now on. */
  readonly uuid: string | null
}

export interface Machines {
  /**
   * Records the machines that an agent serves, and the uuid of those that run there. A name that another agent of the tenant
   * holds stays with that one, and one past MACHINES_MAX is not taken.
   */
  readonly declare: Transaction<
    { tenant: string; agent: string; machines: readonly Announced[]; nowMs: number },
    Declared
  >

  /**
   * Hands a machine over within a site, with its points. EXISTS unless at this moment `from` has it, both agents are in one
   * site of the tenant, `to` is not revoked and has room, and `known` is the machine's uuid (null: it has neither one nor a
   * restore point nor an open job).
   */
  readonly move: Transaction<Move, void>

  /**
   * Assigns a machine, with its points, to another agent of the tenant; false, without a change, if that agent has it already.
   * NOT_FOUND, AGENT_REVOKED, JOB_RUNNING.
   */
  readonly assign: Transaction<{ tenant: string; name: string; agent: string }, boolean>

  /** By name, behind one name; those of one agent, or all. */
  readonly list: Question<{ tenant: string; agent: string | null; after: string | null; limit: number }, MachineRow[]>

  readonly get: Question<{ tenant: string; name: string; person?: boolean }, MachineRow>

  /**
   * Puts a machine into a group, or with null into none. NOT_FOUND; PARAMS_INVALID for GROUP_NONE. `newGroup`: no other machine
   * is in it, and no plan names it.
   */
  readonly setGroup: Transaction<{ tenant: string; name: string; group: string | null }, JoinedGroup>

  /** Names of the machines of a group, or of all for null; NOT_FOUND for a group without any. */
  readonly members: Question<{ tenant: string; group: string | null }, string[]>
}
