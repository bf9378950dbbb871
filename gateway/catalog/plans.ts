// Plans: what is wanted for the machines of a tenant, which plan covers each, and machines that are left out on purpose.
import type { Exclusion, Plan, PlanChange, PlanDifference } from '../../protocol/plans.ts'
import type { Question, Transaction } from './call.ts'

/** What changes of a tenant's plans. */
export interface PlansChange {
  readonly tenant: string
  /** Plans, or what changes of them. */
  readonly plans: readonly PlanChange[]
  /** What a plan does not say stays as it is; without this it is as the default has it. */
  readonly merge?: boolean
  /** Names of plans that go. */
  readonly remove?: readonly string[]
  /** Plans that are not among `plans` go too. */
  readonly replace?: boolean
}

export interface Plans {
  /** All plans of a tenant, by name. */
  readonly list: Question<{ tenant: string }, Plan[]>

  /** By name, behind one name. */
  readonly page: Question<{ tenant: string; after: string | null; limit: number }, Plan[]>

  /** One plan by its name; NOT_FOUND. */
  readonly get: Question<{ tenant: string; name: string }, Plan>

  /**
   * Changes plans, all together or none, and returns what that changed; NOT_FOUND for one that is to be removed and is not
   * there, PARAMS_INVALID where plans contradict each other, LIMIT_REACHED.
   */
  readonly apply: Transaction<PlansChange, PlanDifference[]>

  /** The plan that covers a machine, or null; NOT_FOUND. */
  readonly of: Question<{ tenant: string; machine: string }, Plan | null>

  /** Names and groups of all machines of a tenant, by name. */
  readonly machines: Question<{ tenant: string }, { name: string; group: string | null }[]>

  /** Leaves a machine out of all plans; what was said before is replaced. NOT_FOUND. */
  readonly exclude: Transaction<{ tenant: string; machine: string; exclusion: Exclusion }, void>

  /** Ends that; false where the machine was not left out. NOT_FOUND. */
  readonly include: Transaction<{ tenant: string; machine: string }, boolean>
}
