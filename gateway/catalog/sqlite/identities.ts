// Agents, enrolments and issued tokens.
import {
  IDENTITIES_CHECK_MAX,
  SITE_AGENTS_MAX,
  type AgentRecord,
  type Enrolment,
  type TokenRecord,
} from '../identities.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { happened } from './events.ts'
import { endJob } from './jobs.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'
import { tenantUuid } from './tenant-row.ts'
import { endUsesOf } from './uses.ts'

/** How long an expired token or enrolment is kept, in milliseconds. */
const EXPIRED_KEEP_MS = 30 * DAY_MS

/**
 * Newest tokens and enrolments of a tenant that are kept although they have expired: a clock that is ahead must not delete all of
 * them.
 */
export const EXPIRED_KEEP_MIN = 1000

const AGENT = `SELECT agent.id, tenant.uuid AS tenant, tenant.name AS tenantName, host, public_key AS publicKey,
  enrolled_ms AS enrolledMs, revoked_ms AS revokedMs, seen_ms AS seenMs, site FROM agent JOIN tenant ON tenant.id = agent.tenant`

const TOKEN = `SELECT token.id, tenant.uuid AS tenant, tenant.name AS tenantName, subject, role,
  token.created_ms AS createdMs, expires_ms AS expiresMs, revoked_ms AS revokedMs
  FROM token LEFT JOIN tenant ON tenant.id = token.tenant`

const agentById = (sql: Sql, id: string): AgentRecord | null =>
  sql.get<AgentRecord>(`${AGENT} WHERE agent.id = ?`, id) ?? null

/** An agent of a tenant; NOT_FOUND. */
const agentOf = (sql: Sql, tenant: number, id: string): AgentRecord => {
  const agent = agentById(sql, id)
  if (agent !== null && agent.tenant === tenantUuid(sql, tenant)) return agent
  throw new VarveError('NOT_FOUND', 'there is no such agent; varve-gateway agent list shows those there are')
}

const tokenById = (sql: Sql, id: string): TokenRecord | null =>
  sql.get<TokenRecord>(`${TOKEN} WHERE token.id = ?`, id) ?? null

const enrol = (sql: Sql, { enrolment, agent, host, publicKey, nowMs }: Enrolment): AgentRecord => {
  const row = sql.get<{ tenant: number; usedMs: number | null; expiresMs: number }>(
    'SELECT tenant, used_ms AS usedMs, expires_ms AS expiresMs FROM enrolment WHERE id = ?',
    enrolment,
  )
  if (row === undefined) throw new VarveError('TOKEN_REVOKED', 'the enrolment token is no longer known here')
  if (row.usedMs !== null) throw new VarveError('ENROLMENT_USED', 'the enrolment token was used already')
  if (row.expiresMs <= nowMs) throw new VarveError('TOKEN_EXPIRED', 'the enrolment token has expired')
  sql.run(
    'INSERT INTO agent (id, tenant, host, public_key, enrolled_ms) VALUES (?, ?, ?, ?, ?)',
    agent,
    row.tenant,
    host,
    publicKey,
    nowMs,
  )
  sql.run('UPDATE enrolment SET used_ms = ?, agent = ? WHERE id = ?', nowMs, agent, enrolment)
  const text = `the agent of ${host} was enrolled`
  const told = { timeMs: nowMs, severity: 'info', machine: null, text, data: { agent, host } } as const
  happened(sql, row.tenant, { ...told, kind: 'agent.enrolled' })
  return agentById(sql, agent)!
}

/** Ids of the JSON list in the first parameter that are revoked or not there. */
const goneIn = (sql: Sql, table: 'agent' | 'token', ids: readonly string[]): string[] => {
  if (ids.length > IDENTITIES_CHECK_MAX)
    throw new VarveError('LIMIT_REACHED', `at most ${IDENTITIES_CHECK_MAX} ids are checked at once`)
  return sql
    .all<{ id: string }>(
      `SELECT value AS id FROM json_each(?) LEFT JOIN ${table} ON ${table}.id = value
       WHERE ${table}.id IS NULL OR revoked_ms IS NOT NULL`,
      JSON.stringify(ids),
    )
    .map(({ id }) => id)
}

const dropExpired = (sql: Sql, tenant: number | null, nowMs: number): void => {
  for (const table of ['token', 'enrolment'] as const)
    sql.run(
      `DELETE FROM ${table} WHERE tenant IS ? AND expires_ms < ?
       AND rowid <= (SELECT rowid FROM ${table} WHERE tenant IS ? ORDER BY rowid DESC LIMIT 1 OFFSET ?)`,
      tenant,
      nowMs - EXPIRED_KEEP_MS,
      tenant,
      EXPIRED_KEEP_MIN,
    )
}

export const identityOperations = {
  'enrolments.add': write((sql, row) => {
    const { id, tenant, nowMs, expiresMs } = row
    dropExpired(sql, tenant, nowMs)
    sql.run(
      'INSERT INTO enrolment (id, tenant, created_ms, expires_ms) VALUES (?, ?, ?, ?)',
      id,
      tenant,
      nowMs,
      expiresMs,
    )
  }),

  'enrolments.tenant': read(
    (sql, { id }) =>
      sql.get<{ tenant: string }>(
        'SELECT tenant.uuid AS tenant FROM enrolment JOIN tenant ON tenant.id = enrolment.tenant WHERE enrolment.id = ?',
        id,
      )?.tenant ?? null,
  ),

  'agents.enrol': write(enrol),

  'agents.byId': read((sql, { id }) => agentById(sql, id)),

  'agents.list': aside((sql, { tenant, enrolment = null, after, limit }) =>
    sql.all<AgentRecord>(
      `${AGENT} WHERE agent.tenant = ?1 AND agent.id > ?2
       ${enrolment === null ? '' : 'AND agent.id = (SELECT agent FROM enrolment WHERE id = ?4 AND tenant = ?1)'}
       ORDER BY agent.id LIMIT ?3`,
      tenant,
      after ?? '',
      limit,
      ...(enrolment === null ? [] : [enrolment]),
    ),
  ),

  'agents.rotateKey': write((sql, { id, publicKey }) => {
    sql.run('UPDATE agent SET public_key = ? WHERE id = ?', publicKey, id)
  }),

  'agents.setSite': write((sql, { tenant, id, site }) => {
    const { host, revokedMs, site: before } = agentOf(sql, tenant, id)
    if (revokedMs !== null && site !== null) throw new VarveError('AGENT_REVOKED', `agent ${id} was revoked`)
    const changed = site !== before
    if (changed) sql.run('UPDATE agent SET site = ? WHERE id = ?', site, id)
    return { host, changed }
  }),

  'agents.mates': read((sql, { tenant, id }) =>
    sql.all<{ id: string; host: string }>(
      `SELECT mate.id, mate.host FROM agent JOIN agent AS mate ON mate.tenant = agent.tenant AND mate.site = agent.site
       WHERE agent.id = ? AND agent.tenant = ? AND mate.id <> agent.id AND mate.revoked_ms IS NULL
       ORDER BY mate.id LIMIT ?`,
      id,
      tenant,
      SITE_AGENTS_MAX,
    ),
  ),

  'agents.seen': write((sql, { id, nowMs }) => {
    sql.run('UPDATE agent SET seen_ms = ? WHERE id = ?', nowMs, id)
  }),

  'agents.revoke': write((sql, { tenant, id, nowMs }) => {
    const agent = agentOf(sql, tenant, id)
    if (agent.revokedMs !== null) return agent
    sql.run('UPDATE agent SET revoked_ms = ?, site = NULL WHERE id = ?', nowMs, id)
    endUsesOf(sql, id)
    // it can never report their outcome
    const error = { code: 'AGENT_REVOKED', message: 'the agent was revoked' }
    for (const job of sql.all<{ id: string }>('SELECT id FROM job WHERE agent = ? AND ended_ms IS NULL', id))
      endJob(sql, job.id, 'failed', error, nowMs)
    return agentById(sql, id)!
  }),

  'tokens.add': write((sql, row) => {
    const { id, tenant, subject, role, nowMs, expiresMs } = row
    dropExpired(sql, tenant, nowMs)
    sql.run(
      'INSERT INTO token (id, tenant, subject, role, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?)',
      id,
      tenant,
      subject,
      role,
      nowMs,
      expiresMs,
    )
  }),

  'tokens.byId': read((sql, { id }) => tokenById(sql, id)),

  'tokens.list': aside((sql, { tenant, after, limit }) =>
    sql.all<TokenRecord>(
      `${TOKEN} WHERE token.tenant IS ? AND token.id > ? ORDER BY token.id LIMIT ?`,
      tenant,
      after ?? '',
      limit,
    ),
  ),

  'tokens.revoke': write((sql, { tenant, id, nowMs }) => {
    const token = tokenById(sql, id)
    if (token === null || token.tenant !== (tenant === null ? null : tenantUuid(sql, tenant)))
      throw new VarveError('NOT_FOUND', 'there is no such token')
    if (token.revokedMs !== null) return token
    sql.run('UPDATE token SET revoked_ms = ? WHERE id = ?', nowMs, id)
    return tokenById(sql, id)!
  }),

  'identities.any': read((sql) => sql.get('SELECT 1 FROM agent UNION ALL SELECT 1 FROM token LIMIT 1') !== undefined),

  'identities.check': read((sql, { agents, tokens }) => ({
    agents: goneIn(sql, 'agent', agents),
    tokens: goneIn(sql, 'token', tokens),
  })),
} satisfies Partial<Operations>
