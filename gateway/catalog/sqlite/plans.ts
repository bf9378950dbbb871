// Plans in the catalog: their rows, which of them covers a machine, and machines that are left out.
import { PLAN_RULES_DEFAULT, type Plan, type PlanRules } from '../../../protocol/plans.ts'
import { coveringOf, type CoveredMachine } from '../../plans/covering.ts'
import { checkedChanges, noPlan } from '../../plans/differences.ts'
import { machineRow } from './machine-row.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'

interface PlanRow {
  readonly name: string
  readonly rules: string
}

/** The plan of a row; a rule that it does not name is as in the default. */
const planOf = ({ name, rules }: PlanRow): Plan => ({
  ...PLAN_RULES_DEFAULT,
  ...(JSON.parse(rules) as Partial<PlanRules>),
  name,
})

/** All plans of a tenant, by name. */
export const plansOf = (sql: Sql, tenant: number): Plan[] =>
  sql.all<PlanRow>('SELECT name, rules FROM plan WHERE tenant = ? ORDER BY name', tenant).map(planOf)

/** Adds a plan or changes it; what is as it was is not touched. */
export const putPlan = (sql: Sql, tenant: number, { name, ...rules }: Plan): void => {
  sql.run(
    `INSERT INTO plan (tenant, name, rules) VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET rules = excluded.rules WHERE rules <> excluded.rules`,
    tenant,
    name,
    JSON.stringify(rules),
  )
}

type PlanFor = (machine: CoveredMachine) => Plan | null

/** Tenants whose plans are kept parsed for each connection. */
const KEPT_MAX = 64

const kept = new WeakMap<Sql, Map<number, { readonly plans: number; readonly planFor: PlanFor }>>()

/**
 * Gives the plan of a machine of this tenant as the plans are in the transaction that asks. Those of before are taken again where
 * `tenant.plans` says that they are the same.
 */
export const coveringIn = (sql: Sql, tenant: number): PlanFor => {
  const ofThis = kept.get(sql) ?? new Map<number, { readonly plans: number; readonly planFor: PlanFor }>()
  kept.set(sql, ofThis)
  const plans = sql.get<{ plans: number }>('SELECT plans FROM tenant WHERE id = ?', tenant)?.plans ?? 0
  const before = ofThis.get(tenant)
  if (before?.plans === plans) return before.planFor
  const planFor = coveringOf(plansOf(sql, tenant))
  ofThis.delete(tenant)
  const [oldest] = ofThis.keys()
  if (ofThis.size >= KEPT_MAX && oldest !== undefined) ofThis.delete(oldest)
  ofThis.set(tenant, { plans, planFor })
  return planFor
}

/** The plan of a machine by its number; null where none covers it. */
export const planOfMachine = (sql: Sql, machine: number): Plan | null => {
  const row = sql.get<CoveredMachine & { readonly tenant: number }>(
    'SELECT tenant, name, member_of AS "group" FROM machine WHERE id = ?',
    machine,
  )
  return row === undefined ? null : coveringIn(sql, row.tenant)(row)
}

const namesOf = (sql: Sql, tenant: number): string[] => plansOf(sql, tenant).map(({ name }) => name)

export const planOperations = {
  'plans.list': aside((sql, { tenant }) => plansOf(sql, tenant)),

  'plans.page': aside((sql, { tenant, after, limit }) =>
    sql
      .all<PlanRow>(
        'SELECT name, rules FROM plan WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?',
        tenant,
        after ?? '',
        limit,
      )
      .map(planOf),
  ),

  'plans.get': aside((sql, { tenant, name }) => {
    const row = sql.get<PlanRow & object>('SELECT name, rules FROM plan WHERE tenant = ? AND name = ?', tenant, name)
    if (row === undefined) throw noPlan(name, namesOf(sql, tenant))
    return planOf(row)
  }),

  'plans.apply': write((sql, { tenant, ...wanted }) => {
    // read anew: it is this transaction that changes them
    const { after, changes } = checkedChanges(plansOf(sql, tenant), wanted)
    for (const { plan, change } of changes)
      if (change === 'removed') sql.run('DELETE FROM plan WHERE tenant = ? AND name = ?', tenant, plan)
    const touched = new Set(changes.map(({ plan }) => plan))
    for (const plan of after) if (touched.has(plan.name)) putPlan(sql, tenant, plan)
    return changes
  }),

  'plans.of': read((sql, { tenant, machine }) => planOfMachine(sql, machineRow(sql, tenant, machine))),

  'plans.machines': aside((sql, { tenant }) =>
    sql.all<CoveredMachine>('SELECT name, member_of AS "group" FROM machine WHERE tenant = ? ORDER BY name', tenant),
  ),

  // what is said again must not touch the row, or the tenant's state would be written again
  'plans.exclude': write((sql, { tenant, machine, exclusion }) => {
    machineRow(sql, tenant, machine)
    sql.run(
      `INSERT INTO exclusion (tenant, machine, subject, reason, since_ms, until_ms) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET subject = excluded.subject, reason = excluded.reason, since_ms = excluded.since_ms,
       until_ms = excluded.until_ms`,
      tenant,
      machine,
      exclusion.by,
      exclusion.reason,
      exclusion.sinceMs,
      exclusion.untilMs,
    )
  }),

  'plans.include': write((sql, { tenant, machine }) => {
    machineRow(sql, tenant, machine)
    return sql.run('DELETE FROM exclusion WHERE tenant = ? AND machine = ?', tenant, machine) > 0
  }),
} satisfies Partial<Operations>
