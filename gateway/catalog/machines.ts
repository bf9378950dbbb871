// Machines: which agent declared them, their policy and their group.
import type { Policy } from '../../protocol/schemas.ts'
import type { Question, Transaction } from './call.ts'
import type { Configuration, Configured } from './retention.ts'

export interface MachineRow {
  readonly name: string
  readonly agent: string
  readonly host: string
  readonly policy: Policy
  readonly group: string | null
  readonly job: string | null
  readonly pointId: string | null
  readonly pointMs: number | null
}

export interface Machines {
  /**
   * Records the machines an agent serves. A name that another agent of the tenant holds is refused, and so is one past
   * MACHINES_MAX (`holder` is null).
   */
  readonly declare: Transaction<
    { tenant: string; agent: string; names: readonly string[]; policy: Policy; nowMs: number },
    { machine: string; holder: string | null }[]
  >

  /**
   * Assigns a machine, with its points, to another agent of the tenant; false, without a change, if that agent has it already.
   * NOT_FOUND, AGENT_REVOKED, JOB_RUNNING.
   */
  readonly assign: Transaction<{ tenant: string; name: string; agent: string }, boolean>

  /** By name, behind one name; those of one agent, or all. */
  readonly list: Question<{ tenant: string; agent: string | null; after: string | null; limit: number }, MachineRow[]>

  readonly get: Question<{ tenant: string; name: string; person?: boolean }, MachineRow>

  /**
   * Changes the given parts of a machine's policy, and its group (null for none); returns both as they are then. NOT_FOUND,
   * PARAMS_INVALID.
   */
  readonly configure: Transaction<Configuration, Configured>

  /** Names of the machines of a group, or of all for null; NOT_FOUND for a group without any. */
  readonly members: Question<{ tenant: string; group: string | null }, string[]>
}
