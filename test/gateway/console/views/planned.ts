// A plan after a change that is merged into it, as the gateway plans it.
import { checkedChanges } from '../../../../gateway/plans/differences.ts'
import type { Plan, PlanChange } from '../../../../protocol/plans.ts'

export const plannedAfter = (plan: Plan, change: PlanChange): Plan =>
  checkedChanges([plan], { plans: [change], merge: true }).after[0]!
