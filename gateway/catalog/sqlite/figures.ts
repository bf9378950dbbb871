// What monitoring asks of the catalog, each count from an index that holds just what is counted or is short.
import type { Figures, MachineColumns, RunFigures, TenantFigures } from '../figures.ts'
import { aside, type Operations } from './operation.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql } from './sql.ts'

// a cross join keeps its order: few ranges are lost, and points are very many
const TENANTS = `SELECT name AS tenant, quota_soft AS softBytes, quota_hard AS hardBytes,
  (SELECT coalesce(sum(bytes), 0) FROM pack WHERE pack.tenant = tenant.id) AS packBytes,
  (SELECT count(*) FROM machine WHERE machine.tenant = tenant.id) AS machines,
  (SELECT count(*) FROM point WHERE point.tenant = tenant.id) AS points,
  ifnull(open.count, 0) AS running, ifnull(losses.count, 0) AS lostRanges,
  (SELECT count(*) FROM damage WHERE damage.tenant = tenant.id) AS damaged
  FROM tenant
  LEFT JOIN (SELECT tenant, count(*) AS count FROM job WHERE ended_ms IS NULL GROUP BY tenant) AS open ON open.tenant = tenant.id
  LEFT JOIN (SELECT point.tenant, count(*) AS count FROM lost CROSS JOIN point ON point.id = lost.point
    GROUP BY point.tenant) AS losses
    ON losses.tenant = tenant.id
  ORDER BY name`

const AGENTS = `SELECT agent.id, tenant.name AS tenant, host FROM agent JOIN tenant ON tenant.id = agent.tenant
  WHERE revoked_ms IS NULL ORDER BY tenant.name, host, agent.id LIMIT ?`

const runsWhere = (where: string): string =>
  `SELECT tenant.name AS tenant, kind, state, count(*) AS count FROM run LEFT JOIN tenant ON tenant.id = run.tenant
   WHERE ${where} GROUP BY run.tenant, kind, state ORDER BY tenant.name, kind, state`

const NOTICES = `SELECT tenant.name AS tenant, state, count(*) AS count FROM notice LEFT JOIN tenant ON tenant.id = notice.tenant
  GROUP BY notice.tenant, state ORDER BY tenant.name, state`

const MACHINES = `SELECT tenant.name AS tenant, machine.name,
  (SELECT time_ms FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1) AS pointMs
  FROM machine JOIN tenant ON tenant.id = machine.tenant ORDER BY tenant.name, machine.name LIMIT ?`

const machineColumns = (sql: Sql, tenants: readonly TenantFigures[], max: number): MachineColumns => {
  const places = new Map(tenants.map(({ tenant }, place) => [tenant, place]))
  const rows = sql.all<{ tenant: string; name: string; pointMs: number | null }>(MACHINES, max)
  return {
    tenants: Uint32Array.from(rows, ({ tenant }) => places.get(tenant)!),
    names: rows.map(({ name }) => name),
    pointMs: Float64Array.from(rows, ({ pointMs }) => pointMs ?? Number.NaN),
  }
}

export const figureOperations = {
  'figures.now': aside((sql, { machinesMax, agentsMax, afterMs, untilMs }) => {
    const tenants = sql.all<TenantFigures>(TENANTS)
    return {
      tenants,
      agents: sql.all<Figures['agents'][number]>(AGENTS, agentsMax),
      runs: sql.all<RunFigures & object>(runsWhere("state IN ('due', 'running')")),
      ended: sql.all<RunFigures & object>(runsWhere('ended_ms > ? AND ended_ms <= ?'), afterMs, untilMs),
      notices: sql.all<Figures['notices'][number]>(NOTICES),
      machines: machineColumns(sql, tenants, machinesMax),
    }
  }),
} satisfies Partial<Operations>
