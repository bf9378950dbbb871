// A plan of which a test says what matters.
import { PLAN_RULES_DEFAULT, type Covers, type Plan } from '../../../protocol/plans.ts'

export const wholePlan = ({
  covers,
  ...rules
}: Partial<Omit<Plan, 'covers'>> & { readonly name: string; readonly covers?: Partial<Covers> }): Plan => ({
  ...PLAN_RULES_DEFAULT,
  ...rules,
  covers: { ...PLAN_RULES_DEFAULT.covers, ...covers },
})
