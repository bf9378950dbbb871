// Machines: which agent declared them, and their policy.
import type { MachineRow } from '../machines.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { MACHINES_MAX } from '../../../protocol/limits.ts'
import { policyOf } from '../../../protocol/schemas.ts'
import { meant } from '../../common/meant.ts'
import { aside, read, write, type Operations } from './operation.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql, SqlValue } from './sql.ts'

/** Asks for rows of machines; the newest point of each is the first in an index. */
export const MACHINE = `SELECT machine.id AS row, machine.name, machine.agent, agent.host, machine.policy, machine.member_of AS "group",
  (SELECT job.id FROM job WHERE job.machine = machine.id AND job.ended_ms IS NULL AND job.agent = machine.agent LIMIT 1) AS job,
  (SELECT point.id FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1) AS pointId,
  (SELECT point.time_ms FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1) AS pointMs
  FROM machine JOIN agent ON agent.id = machine.agent`

/** Names of a tenant's machines. */
const namesOf = (sql: Sql, tenant: number): string[] =>
  sql.all<{ name: string }>('SELECT name FROM machine WHERE tenant = ? ORDER BY name', tenant).map(({ name }) => name)

/** A machine with its number in the tables. */
interface OwnMachine extends MachineRow {
  readonly row: number
}

type Found = Omit<OwnMachine, 'policy'> & { readonly policy: string }

const ownMachine = (found: Found): OwnMachine => ({ ...found, policy: policyOf(found.policy) })

const shown = ({ row: _, ...machine }: OwnMachine): MachineRow => machine

/** One machine of a tenant by name; NOT_FOUND, for a person with the names that may be meant: an agent learns of its own only. */
export const machineByName = (sql: Sql, tenant: number, name: string, { person = true } = {}): OwnMachine => {
  const found = sql.get<Found>(`${MACHINE} WHERE machine.tenant = ? AND machine.name = ?`, tenant, name)
  if (found !== undefined) return ownMachine(found)
  throw new VarveError('NOT_FOUND', `there is no machine "${name}"${person ? meant(name, namesOf(sql, tenant)) : ''}`)
}

const listed = (sql: Sql, where: string, ...values: SqlValue[]): MachineRow[] =>
  sql.all<Found>(`${MACHINE} WHERE ${where}`, ...values).map((found) => shown(ownMachine(found)))

const machinesOf = (sql: Sql, agent: string): number =>
  sql.get<{ count: number }>('SELECT count(*) AS count FROM machine WHERE agent = ?', agent)?.count ?? 0

export const machineOperations = {
  'machines.declare': write((sql, args) => {
    const refused: { machine: string; holder: string | null }[] = []
    let count = machinesOf(sql, args.agent)
    for (const name of args.names) {
      const held = sql.get<{ agent: string; host: string }>(
        `SELECT machine.agent, agent.host FROM machine JOIN agent ON agent.id = machine.agent
           WHERE machine.tenant = ? AND machine.name = ?`,
        args.tenant,
        name,
      )
      if (held !== undefined) {
        // also a revoked agent's: serving a machine grants access to its points, so a person must assign it
        if (held.agent !== args.agent) refused.push({ machine: name, holder: held.host })
      } else if (count >= MACHINES_MAX) refused.push({ machine: name, holder: null })
      else {
        count++
        sql.run(
          'INSERT INTO machine (tenant, name, agent, policy, created_ms) VALUES (?, ?, ?, ?, ?)',
          args.tenant,
          name,
          args.agent,
          JSON.stringify(args.policy),
          args.nowMs,
        )
      }
    }
    return refused
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
    return true
  }),

  'machines.list': aside((sql, asked) => {
    const { tenant, agent, after, limit } = asked
    const order = 'AND machine.name > ? ORDER BY machine.name LIMIT ?'
    if (agent === null) return listed(sql, `machine.tenant = ? ${order}`, tenant, after ?? '', limit)
    const own = `machine.agent = ? AND +machine.tenant = ? ${order}`
    return listed(sql, own, agent, tenant, after ?? '', limit)
  }),

  'machines.get': read((sql, args) => shown(machineByName(sql, args.tenant, args.name, args))),
} satisfies Partial<Operations>
