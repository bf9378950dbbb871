// What the watcher asks: agents that serve, tokens that end, damage by machine, the oldest proofs and the last locks.
import {
  TOKENS_SEEN_MAX,
  type DamagedMachine,
  type DamagedTenant,
  type EndingToken,
  type MachineProofs,
  type ServingAgent,
} from '../watching.ts'
import { aside, type Operations } from './operation.ts'

export const watchingOperations = {
  'watching.agents': aside((sql) =>
    sql.all<ServingAgent>(
      `SELECT tenant.uuid AS tenant, agent.id, host, seen_ms AS seenMs, machines
       FROM (SELECT agent, count(*) AS machines FROM machine GROUP BY agent)
       JOIN agent ON agent.id = agent JOIN tenant ON tenant.id = agent.tenant WHERE revoked_ms IS NULL`,
    ),
  ),

  'watching.tokens': aside((sql, { fromMs, untilMs }) =>
    sql.all<EndingToken>(
      `SELECT tenant.uuid AS tenant, tenant.name AS tenantName, token.id, subject, role, token.created_ms AS createdMs,
         expires_ms AS expiresMs,
         (SELECT max(other.expires_ms) FROM token AS other WHERE other.tenant IS token.tenant AND other.subject = token.subject
            AND other.role = token.role AND other.revoked_ms IS NULL) AS lastMs
       FROM token LEFT JOIN tenant ON tenant.id = token.tenant
       WHERE revoked_ms IS NULL AND expires_ms BETWEEN ? AND ? ORDER BY token.tenant, token.id LIMIT ?`,
      fromMs,
      untilMs,
      TOKENS_SEEN_MAX,
    ),
  ),

  'watching.damage': aside((sql) => ({
    machines: sql.all<DamagedMachine>(
      `SELECT tenant.uuid AS tenant, tenant.name AS tenantName, machine.name AS machine, count(*) AS points,
         sum(bytes) AS lostBytes
       FROM (SELECT point, sum(length) AS bytes FROM lost GROUP BY point) JOIN point ON point.id = point
       JOIN machine ON machine.id = point.machine JOIN tenant ON tenant.id = machine.tenant
       GROUP BY machine.id ORDER BY machine.id`,
    ),
    tenants: sql.all<DamagedTenant>(
      `SELECT uuid AS tenant, name AS tenantName, records, foundMs
       FROM (SELECT tenant AS damaged, count(*) AS records, min(found_ms) AS foundMs FROM damage GROUP BY tenant) JOIN tenant ON tenant.id = damaged`,
    ),
  })),

  'watching.proofs': aside((sql, { tenant, nowMs }) =>
    sql.all<MachineProofs>(
      `SELECT machine.name AS machine, member_of AS "group",
         min(CASE WHEN verified_ms <= ? THEN verified_ms ELSE committed_ms END) AS oldestMs, max(locked_ms) AS lockedUntilMs
       FROM point JOIN machine ON machine.id = point.machine WHERE point.tenant = ? GROUP BY machine.id ORDER BY machine.id`,
      nowMs,
      tenant,
    ),
  ),

  'watching.recordedMs': aside(
    (sql) =>
      sql.get<{ timeMs: number }>(
        `SELECT time_ms AS timeMs FROM (
           SELECT * FROM (SELECT time_ms, 0 AS rank FROM audit ORDER BY seq DESC LIMIT 1)
           UNION ALL SELECT * FROM (SELECT time_ms, 1 FROM event ORDER BY seq DESC LIMIT 1)) ORDER BY time_ms LIMIT 1`,
      )?.timeMs ?? null,
  ),
} satisfies Partial<Operations>
