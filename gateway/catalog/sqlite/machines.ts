// Machines: which agent declared them, their group, and the plan that covers them.
import { isUnused, type Announced, type MachineRow } from '../machines.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { MACHINES_MAX } from '../../../protocol/limits.ts'
import { policyOf } from '../../../protocol/plans.ts'
import { meant } from '../../common/meant.ts'
import { aside, read, write, type Operations } from './operation.ts'
import { coveringIn } from './plans.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql, SqlValue } from './sql.ts'

/** Asks for rows of machines; the newest point of each is the first in an index. */
export const MACHINE = `SELECT machine.id AS row, machine.name, machine.agent, agent.host, machine.member_of AS "group", machine.uuid, agent.site,
  (SELECT job.id FROM job WHERE job.machine = machine.id AND job.ended_ms IS NULL LIMIT 1) AS job,
  (SELECT point.id FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1) AS pointId,
  (SELECT point.time_ms FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1) AS pointMs
  , exclusion.subject AS excludedBy, exclusion.reason AS exclusionReason, exclusion.since_ms AS excludedMs, exclusion.until_ms AS excludedUntilMs
  FROM machine JOIN agent ON agent.id = machine.agent
  LEFT JOIN exclusion ON exclusion.tenant = machine.tenant AND exclusion.machine = machine.name`

/** Names of a tenant's machines. */
const namesOf = (sql: Sql, tenant: number): string[] =>
  sql.all<{ name: string }>('SELECT name FROM machine WHERE tenant = ? ORDER BY name', tenant).map(({ name }) => name)

/** A machine with its number in the tables. */
interface OwnMachine extends MachineRow {
  readonly row: number
}

/** An exclusion as columns; null in all of them where there is none. */
interface ExclusionColumns {
  readonly excludedBy: string | null
  readonly exclusionReason: string | null
  readonly excludedMs: number | null
  readonly excludedUntilMs: number | null
}

type Found = Omit<OwnMachine, 'policy' | 'plan' | 'exclusion'> & ExclusionColumns

const ownMachine = (found: Found, planFor: ReturnType<typeof coveringIn>): OwnMachine => {
  const { excludedBy: by, exclusionReason: reason, excludedMs: sinceMs, excludedUntilMs: untilMs, ...machine } = found
  const exclusion = by === null || reason === null || sinceMs === null ? null : { by, reason, sinceMs, untilMs }
  const plan = planFor(machine)
  return { ...machine, policy: policyOf(plan), plan: plan?.name ?? null, exclusion }
}

const shown = ({ row: _, ...machine }: OwnMachine): MachineRow => machine

/** One machine of a tenant by name; NOT_FOUND, for a person with the names that may be meant: an agent learns of its own only. */
export const machineByName = (sql: Sql, tenant: number, name: string, { person = true } = {}): OwnMachine => {
  const found = sql.get<Found>(`${MACHINE} WHERE machine.tenant = ? AND machine.name = ?`, tenant, name)
  if (found !== undefined) return ownMachine(found, coveringIn(sql, tenant))
  throw new VarveError('NOT_FOUND', `there is no machine "${name}"${person ? meant(name, namesOf(sql, tenant)) : ''}`)
}

const listed = (sql: Sql, tenant: number, where: string, ...values: SqlValue[]): MachineRow[] => {
  const planFor = coveringIn(sql, tenant)
  return sql.all<Found>(`${MACHINE} WHERE ${where}`, ...values).map((found) => shown(ownMachine(found, planFor)))
}

const machinesOf = (sql: Sql, agent: string): number =>
  sql.get<{ count: number }>('SELECT count(*) AS count FROM machine WHERE agent = ?', agent)?.count ?? 0

/** Notes which machines an agent announces no more, and which it does again. */
const noteAbsent = (
  sql: Sql,
  of: { readonly agent: string; readonly machines: readonly Announced[]; readonly nowMs: number },
) => {
  const names = JSON.stringify(of.machines.map(({ name }) => name))
  const others = 'machine.agent = ? AND machine.name NOT IN (SELECT value FROM json_each(?))'
  sql.run(
    `INSERT OR IGNORE INTO absent (machine, since_ms) SELECT machine.id, ? FROM machine WHERE ${others}`,
    of.nowMs,
    of.agent,
    names,
  )
  sql.run(
    `DELETE FROM absent WHERE machine IN (SELECT id FROM machine WHERE agent = ? AND name IN (SELECT value FROM json_each(?)))`,
    of.agent,
    names,
  )
}

/** A machine that another agent serves from now on: that one says whether it is there. */
const noteMoved = (sql: Sql, row: number): void => void sql.run('DELETE FROM absent WHERE machine = ?', row)

export const machineOperations = {
  'machines.declare': write((sql, args) => {
    const held: MachineRow[] = []
    const tooMany: string[] = []
    const changed: { machine: string; from: string; to: string | null }[] = []
    let count = machinesOf(sql, args.agent)
    for (const { name, uuid, here } of args.machines) {
      const found = sql.get<{ id: number; agent: string; uuid: string | null }>(
        'SELECT id, agent, uuid FROM machine WHERE tenant = ? AND name = ?',
        args.tenant,
        name,
      )
      if (found === undefined && count >= MACHINES_MAX) tooMany.push(name)
      else if (found === undefined) {
        count++
        sql.run(
          'INSERT INTO machine (tenant, name, agent, created_ms, uuid) VALUES (?, ?, ?, ?, ?)',
          args.tenant,
          name,
          args.agent,
          args.nowMs,
          here ? uuid : null,
        )
        // also a revoked agent's: serving a machine grants access to its points, so a person or a site must allow it
      } else if (found.agent !== args.agent) held.push(shown(machineByName(sql, args.tenant, name)))
      // one that is off, has left or is yet to arrive says nothing of the machine that the points are of
      else if (here && found.uuid !== uuid) {
        sql.run('UPDATE machine SET uuid = ? WHERE id = ?', uuid, found.id)
        if (found.uuid !== null) changed.push({ machine: name, from: found.uuid, to: uuid })
      }
    }
    noteAbsent(sql, args)
    return { held, tooMany, changed }
  }),

  'machines.move': write((sql, { tenant, name, from, to, known, uuid }) => {
    const { row, agent, site, ...machine } = machineByName(sql, tenant, name)
    const inSite =
      site !== null &&
      sql.get(
        'SELECT 1 FROM agent WHERE tenant = ? AND id = ? AND site = ? AND revoked_ms IS NULL',
        tenant,
        to,
        site,
      ) !== undefined
    const same = machine.uuid === known && (known !== null || isUnused(machine))
    if (agent !== from || !inSite || !same || machinesOf(sql, to) >= MACHINES_MAX)
      throw new VarveError('EXISTS', `${name} cannot go to agent ${to} any more`)
    sql.run('UPDATE machine SET agent = ?, uuid = ? WHERE id = ?', to, uuid, row)
    noteMoved(sql, row)
  }),

  'machines.assign': write((sql, args) => {
    const { row, job, agent: holder } = machineByName(sql, args.tenant, args.name)
    const agent = sql.get<{ revoked: number | null }>(
      'SELECT revoked_ms AS revoked FROM agent WHERE tenant = ? AND id = ?',
      args.tenant,
      args.agent,
    )
    if (agent === undefined)
      throw new VarveError(
        'NOT_FOUND',
        `there is no agent ${args.agent}; varve-gateway agent list shows those there are`,
      )
    if (holder === args.agent) return false
    if (agent.revoked !== null) throw new VarveError('AGENT_REVOKED', `agent ${args.agent} was revoked`)
    if (machinesOf(sql, args.agent) >= MACHINES_MAX)
      throw new VarveError('LIMIT_REACHED', `an agent serves at most ${MACHINES_MAX} machines`)
    if (job !== null) throw new VarveError('JOB_RUNNING', `a backup of ${args.name} is running: job ${job}`)
    sql.run('UPDATE machine SET agent = ? WHERE id = ?', args.agent, row)
    noteMoved(sql, row)
    return true
  }),

  'machines.list': aside((sql, asked) => {
    const { tenant, agent, after, limit } = asked
    const order = 'AND machine.name > ? ORDER BY machine.name LIMIT ?'
    if (agent === null) return listed(sql, tenant, `machine.tenant = ? ${order}`, tenant, after ?? '', limit)
    const own = `machine.agent = ? AND +machine.tenant = ? ${order}`
    return listed(sql, tenant, own, agent, tenant, after ?? '', limit)
  }),

  'machines.get': read((sql, args) => shown(machineByName(sql, args.tenant, args.name, args))),
} satisfies Partial<Operations>
