// Groups of machines: who is in which, for the plans that cover them.
import { VarveError } from '../../../protocol/errors.ts'
import { GROUP_NONE } from '../../../protocol/retention.ts'
import { meant } from '../../common/meant.ts'
import { machineByName } from './machines.ts'
import { aside, write, type Operations } from './operation.ts'
import { coveringIn, plansOf } from './plans.ts'
import type { Sql } from './sql.ts'

/** The groups of a tenant: those that a machine is in, and those that a plan names. */
const groupsOf = (sql: Sql, tenant: number): string[] => {
  const joined = sql.all<{ name: string }>(
    'SELECT DISTINCT member_of AS name FROM machine WHERE tenant = ? AND member_of IS NOT NULL',
    tenant,
  )
  const named = plansOf(sql, tenant).flatMap(({ covers }) => covers.groups)
  return [...new Set([...joined.map(({ name }) => name), ...named])].toSorted()
}

export const groupOperations = {
  // a write without a change must not touch the row, or the tenant's state would be written again
  'machines.setGroup': write((sql, { tenant, name, group }) => {
    const machine = machineByName(sql, tenant, name)
    if (group === GROUP_NONE)
      throw new VarveError('PARAMS_INVALID', `no group is called "${GROUP_NONE}": the word means no group`)
    const newGroup = group !== null && !groupsOf(sql, tenant).includes(group)
    sql.run('UPDATE machine SET member_of = ? WHERE id = ? AND member_of IS NOT ?', group, machine.row, group)
    return { group, plan: coveringIn(sql, tenant)({ name, group })?.name ?? null, newGroup }
  }),

  'machines.members': aside((sql, { tenant, group }) => {
    const rows = sql.all<{ name: string }>(
      'SELECT name FROM machine WHERE tenant = ? AND (? IS NULL OR member_of = ?) ORDER BY name',
      tenant,
      group,
      group,
    )
    if (group !== null && rows.length === 0) {
      const groups = groupsOf(sql, tenant)
      throw new VarveError(
        'NOT_FOUND',
        groups.includes(group)
          ? `no machine is in the group "${group}" yet; only plans name it`
          : `no machine is in a group "${group}"${meant(group, groups)}`,
      )
    }
    return rows.map(({ name }) => name)
  }),
} satisfies Partial<Operations>
