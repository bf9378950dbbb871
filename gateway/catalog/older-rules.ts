// What catalogs and states before there were plans said of machines, as plans that say the same. Pure.
import {
  COVERED_MAX,
  KEEP_OFF,
  PLAN_RULES_DEFAULT,
  type KeepRules,
  type Plan,
  type PlanRules,
} from '../../protocol/plans.ts'
import { POLICY_DEFAULT, type Policy } from '../../protocol/schemas.ts'

/** Rules of retention of a tenant, a group or a machine: `rules` is JSON text. */
export interface OlderRetention {
  readonly scope: string
  /** Of the group or machine; empty for the tenant. */
  readonly name: string
  readonly rules: string
}

/** A machine with the policy that it had, as JSON text. */
export interface OlderMachine {
  readonly name: string
  readonly group: string | null
  readonly policy: string
}

export interface OlderRules {
  readonly retention: readonly OlderRetention[]
  readonly machines: readonly OlderMachine[]
}

/** What a plan has of rules of retention. */
type Kept = Pick<PlanRules, 'keep' | 'timeZone' | 'lockDays'>

const KEPT_DEFAULT: Kept = { keep: KEEP_OFF, timeZone: PLAN_RULES_DEFAULT.timeZone, lockDays: 0 }

/** The fields of a JSON object; of what is none, which nothing writes, no field. */
const fieldsOf = (text: string): Readonly<Record<string, unknown>> => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

const keptOf = (text: string): Kept => {
  const rules = fieldsOf(text)
  const count = (field: string): number => (typeof rules[field] === 'number' ? rules[field] : 0)
  const keep: KeepRules = {
    last: count('keepLast'),
    hourly: count('keepHourly'),
    daily: count('keepDaily'),
    weekly: count('keepWeekly'),
    monthly: count('keepMonthly'),
    yearly: count('keepYearly'),
    withinDays: count('keepWithinDays'),
  }
  const { timeZone } = rules
  return {
    keep,
    timeZone: typeof timeZone === 'string' ? timeZone : KEPT_DEFAULT.timeZone,
    lockDays: count('lockDays'),
  }
}

const policyOf = (text: string): Policy => ({ ...POLICY_DEFAULT, ...(fieldsOf(text) as Partial<Policy>) })

const planOf = (name: string, rules: Partial<PlanRules>, covers: Partial<Plan['covers']>): Plan => {
  const all = { ...PLAN_RULES_DEFAULT, ...rules }
  return { ...all, covers: { ...PLAN_RULES_DEFAULT.covers, ...covers }, name }
}

/** A plan as a fact of its tenant, and as a row: its rules are JSON text. */
export const planFact = ({ name, ...rules }: Plan): { name: string; rules: string } => ({
  name,
  rules: JSON.stringify(rules),
})

/** Plans of machines that say more than their group and their tenant do; machines that say the same share one. */
const ofMachines = (
  { retention, machines }: OlderRules,
  keptBy: (scope: string, name: string) => Kept | null,
): Plan[] => {
  const found: { readonly name: string; readonly rules: Partial<PlanRules> }[] = []
  const known = new Map(machines.map((machine) => [machine.name, machine]))
  const own = new Set(retention.filter(({ scope }) => scope === 'machine').map(({ name }) => name))
  for (const name of [...new Set([...known.keys(), ...own])].toSorted()) {
    const { group, policy } = known.get(name) ?? { group: null, policy: '{}' }
    const { consistency, refuseFull, refuseLeftOut, compareDays } = policyOf(policy)
    const asked = { consistency, refuseFull, refuseLeftOut, compareDays }
    if (!own.has(name) && JSON.stringify(asked) === JSON.stringify(POLICY_DEFAULT)) continue
    const kept = keptBy('machine', name) ?? (group === null ? null : keptBy('group', group)) ?? keptBy('tenant', '')
    found.push({ name, rules: { ...asked, ...(kept ?? KEPT_DEFAULT) } })
  }
  return [...Map.groupBy(found, ({ rules }) => JSON.stringify(rules)).values()].flatMap((same) =>
    Array.from({ length: Math.ceil(same.length / COVERED_MAX) }, (_, index) => {
      const named = same.slice(index * COVERED_MAX, (index + 1) * COVERED_MAX).map(({ name }) => name)
      return planOf(`${named.length === 1 ? 'machine' : 'machines'}-${named[0]!}`, same[0]!.rules, { machines: named })
    }),
  )
}

/**
 * Plans without a schedule that say of every machine what the older rules said: `default` for the tenant's, `group-NAME` for each
 * group's, and `machine-NAME` for machines with rules or a policy of their own, with the nearest retention; several machines that
 * say the same share a plan `machines-NAME`, named by the first.
 */
export const plansOfOlder = (older: OlderRules): Plan[] => {
  const all = new Map(older.retention.map(({ scope, name, rules }) => [`${scope} ${name}`, keptOf(rules)]))
  const keptBy = (scope: string, name: string): Kept | null => all.get(`${scope} ${name}`) ?? null
  const tenant = keptBy('tenant', '')
  const groups = older.retention.filter(({ scope }) => scope === 'group').map(({ name }) => name)
  return [
    ...(tenant === null ? [] : [planOf('default', tenant, { others: true })]),
    ...groups.map((name) => planOf(`group-${name}`, keptBy('group', name)!, { groups: [name] })),
    ...ofMachines(older, keptBy),
  ]
}
