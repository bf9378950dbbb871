// Machines: which agent declared them, and their policy.
import { VarveError } from '../../../protocol/errors.ts'
import { read, write } from './operation.ts'
import type { Sql } from './sql.ts'

export interface MachineRow {
  readonly id: number
  readonly name: string
  readonly agent: string
  readonly host: string
  /** JSON of a Policy. */
  readonly policy: string
  readonly job: string | null
  readonly pointId: string | null
  readonly pointMs: number | null
}

const MACHINE = `SELECT machine.id, machine.name, machine.agent, agent.host, machine.policy,
  (SELECT job.id FROM job WHERE job.machine = machine.id AND job.ended_ms IS NULL AND job.agent = machine.agent LIMIT 1) AS job,
  (SELECT point.id FROM point WHERE point.machine = machine.id ORDER BY time_ms DESC LIMIT 1) AS pointId,
  (SELECT point.time_ms FROM point WHERE point.machine = machine.id ORDER BY time_ms DESC LIMIT 1) AS pointMs
  FROM machine JOIN agent ON agent.id = machine.agent`

/** One machine of a tenant by name; NOT_FOUND. */
export const machineByName = (sql: Sql, tenant: number, name: string): MachineRow => {
  const row = sql.get<MachineRow>(`${MACHINE} WHERE machine.tenant = ? AND machine.name = ?`, tenant, name)
  if (row === undefined) throw new VarveError('NOT_FOUND', `there is no machine "${name}"`)
  return row
}

export const machineOperations = {
  /** Records the machines an agent serves; a name that another live agent of the tenant holds is refused. */
  'machine.declare': write(
    (
      sql: Sql,
      args: { tenant: number; agent: string; names: readonly string[]; policy: string; nowMs: number },
    ): { machine: string; holder: string }[] => {
      const refused: { machine: string; holder: string }[] = []
      for (const name of args.names) {
        const held = sql.get<{ id: number; agent: string; host: string; revoked: number | null }>(
          `SELECT machine.id, machine.agent, agent.host, agent.revoked_ms AS revoked FROM machine JOIN agent ON agent.id = machine.agent
           WHERE machine.tenant = ? AND machine.name = ?`,
          args.tenant,
          name,
        )
        if (held === undefined)
          sql.run(
            'INSERT INTO machine (tenant, name, agent, policy, created_ms) VALUES (?, ?, ?, ?, ?)',
            args.tenant,
            name,
            args.agent,
            args.policy,
            args.nowMs,
          )
        else if (held.agent === args.agent) continue
        else if (held.revoked !== null) sql.run('UPDATE machine SET agent = ? WHERE id = ?', args.agent, held.id)
        else refused.push({ machine: name, holder: held.host })
      }
      return refused
    },
  ),

  'machine.list': read((sql: Sql, args: { tenant: number; agent: string | null }): MachineRow[] =>
    sql.all<MachineRow>(
      `${MACHINE} WHERE machine.tenant = ? AND (? IS NULL OR machine.agent = ?) ORDER BY machine.name`,
      args.tenant,
      args.agent,
      args.agent,
    ),
  ),

  'machine.get': read((sql: Sql, args: { tenant: number; name: string }): MachineRow =>
    machineByName(sql, args.tenant, args.name),
  ),

  'machine.setPolicy': write((sql: Sql, args: { id: number; policy: string }): void => {
    sql.run('UPDATE machine SET policy = ? WHERE id = ?', args.policy, args.id)
  }),
}
