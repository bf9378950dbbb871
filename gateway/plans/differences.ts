// What changes when plans are applied: the plans as they are then, and what that changes field by field. Pure.
import {
  PLAN_RULES_DEFAULT,
  type Plan,
  type PlanChange,
  type PlanDifference,
  type PlanRules,
} from '../../protocol/plans.ts'
import { VarveError } from '../../protocol/errors.ts'
import { andElse, meant } from '../common/meant.ts'
import { exactDuration } from './duration.ts'
import { planProblem, plansLimit, plansProblem } from './problem.ts'

/** Names of a list that one text has. */
const NAMED_MAX = 20

export interface WantedPlans {
  readonly plans: readonly PlanChange[]
  readonly merge?: boolean | undefined
  readonly remove?: readonly string[] | undefined
  readonly replace?: boolean | undefined
}

type Fields = PlanDifference['fields']

/** What is said, over what was there. */
const over = <T extends object>(before: T, said: { readonly [K in keyof T]?: T[K] | undefined }): T => {
  const given = Object.entries(said).filter(([, value]) => value !== undefined)
  return { ...before, ...(Object.fromEntries(given) as Partial<T>) }
}

/** A plan after a change of it. */
export const changed = (before: PlanRules, { name, keep = {}, covers = {}, ...said }: PlanChange): Plan => ({
  ...over<Omit<PlanRules, 'keep' | 'covers'>>(before, said),
  keep: over(before.keep, keep),
  covers: over(before.covers, covers),
  name,
})

/** Durations of a plan, which people read with their unit. */
const DURATIONS: ReadonlySet<string> = new Set(['rpoMs', 'jitterMs'])

type Scalar = string | number | boolean

const scalarText = (field: string, value: Scalar | null | undefined): string | null => {
  if (value === null || value === undefined) return null
  return DURATIONS.has(field) ? exactDuration(Number(value)) : String(value)
}

/** Of a list, names that go or come; null for none. */
const listText = (names: readonly string[]): string | null => {
  if (names.length === 0) return null
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : ''
  return names.slice(0, NAMED_MAX).join(', ') + more
}

const without = (names: readonly string[], others: readonly string[]): string[] => {
  const known = new Set(others)
  return names.filter((one) => !known.has(one))
}

type Value = Scalar | readonly string[] | null

/** A plan's fields, each with a name of its own. */
const flat = ({ keep, covers, ...rules }: PlanRules): [field: string, value: Value][] => [
  ...Object.entries(rules),
  ...Object.entries(keep).map(([field, value]): [string, Value] => [`keep.${field}`, value]),
  ...Object.entries(covers).map(([field, value]): [string, Value] => [`covers.${field}`, value]),
]

const isList = (value: Value | undefined): value is readonly string[] => Array.isArray(value)

const fieldsOf = (before: PlanRules, after: PlanRules): Fields => {
  const now = new Map(flat(after))
  return flat(before).flatMap(([field, was]): Fields => {
    const is = now.get(field)
    if (isList(was) && isList(is)) {
      const [goes, comes] = [without(was, is), without(is, was)]
      return goes.length + comes.length === 0 ? [] : [{ field, before: listText(goes), after: listText(comes) }]
    }
    if (isList(was) || isList(is) || was === is) return []
    return [{ field, before: scalarText(field, was), after: scalarText(field, is) }]
  })
}

/** A plan whose lists are in order: two that say the same are the same. */
const ordered = ({ covers, ...plan }: Plan): Plan => ({
  ...plan,
  covers: {
    machines: covers.machines.toSorted(),
    groups: covers.groups.toSorted(),
    patterns: covers.patterns.toSorted(),
    others: covers.others,
  },
})

/** The plans of a tenant after a change, by name, and what it changes; `missing` are those that are to go and are not there. */
export const applied = (
  before: readonly Plan[],
  { plans, merge = false, remove = [], replace = false }: WantedPlans,
): { readonly after: Plan[]; readonly changes: PlanDifference[]; readonly missing: string[] } => {
  const old = new Map(before.map((plan) => [plan.name, plan]))
  const now = new Map(replace ? [] : old)
  for (const name of remove) now.delete(name)
  for (const plan of plans)
    now.set(plan.name, ordered(changed((merge ? old.get(plan.name) : undefined) ?? PLAN_RULES_DEFAULT, plan)))
  const changes: PlanDifference[] = []
  for (const plan of [...new Set([...old.keys(), ...now.keys()])].toSorted()) {
    const [was, is] = [old.get(plan), now.get(plan)]
    if (is === undefined) changes.push({ plan, change: 'removed', fields: [] })
    else if (was === undefined) changes.push({ plan, change: 'added', fields: fieldsOf(PLAN_RULES_DEFAULT, is) })
    else {
      const fields = fieldsOf(was, is)
      if (fields.length > 0) changes.push({ plan, change: 'changed', fields })
    }
  }
  const after = [...now.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  return { after, changes, missing: remove.filter((name) => !old.has(name)) }
}

/**
 * The same, held against all that plans must be; NOT_FOUND for one that is to be removed and is not there, PARAMS_INVALID where a
 * plan or all together make no sense, LIMIT_REACHED.
 */
export const checkedChanges = (
  before: readonly Plan[],
  wanted: WantedPlans,
): { readonly after: Plan[]; readonly changes: PlanDifference[] } => {
  const { after, changes, missing } = applied(before, wanted)
  const names = before.map(({ name }) => name)
  if (missing[0] !== undefined) throw noPlan(missing[0], names)
  const touched = new Set(changes.map(({ plan }) => plan))
  const own = after.filter(({ name }) => touched.has(name)).map(planProblem)
  const problem = own.find((one) => one !== null) ?? plansProblem(after)
  if (problem !== null) throw new VarveError('PARAMS_INVALID', problem)
  const limit = plansLimit(after)
  if (limit !== null) throw new VarveError('LIMIT_REACHED', limit)
  return { after, changes }
}

/** NOT_FOUND with the names that may be meant. */
export const noPlan = (name: string, names: readonly string[]): VarveError =>
  new VarveError('NOT_FOUND', andElse(`there is no plan "${name}"${meant(name, names)}`, 'see varve-gateway plan list'))
