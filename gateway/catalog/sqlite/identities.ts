// Agents, enrolments and issued tokens; every change is audited in its own transaction.
import type { Role } from '../../../protocol/claims.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { appendAudit } from './audit.ts'
import { endJob } from './jobs.ts'
import { aside, read, write } from './operation.ts'
import type { Sql } from './sql.ts'

/** Most rows that one call lists. */
export const IDENTITIES_PAGE_MAX = 1000

/** Most ids of each kind that one check takes. */
export const IDENTITIES_CHECK_MAX = 10_000

/** How long an expired token or enrolment is kept, in milliseconds. */
const EXPIRED_KEEP_MS = 30 * DAY_MS

/** Newest tokens and enrolments of a tenant that are kept although they have expired: a clock that is ahead must not take all of them for good. */
export const EXPIRED_KEEP_MIN = 1000

/** Who makes a change, for the audit log. */
export interface Actor {
  readonly subject: string
  readonly role: Role
}

export interface AgentRecord {
  readonly id: string
  readonly tenant: number
  readonly tenantUuid: string
  readonly tenantName: string
  readonly host: string
  /** The 32 bytes of an Ed25519 public key in base64url. */
  readonly publicKey: string
  readonly enrolledMs: number
  readonly revokedMs: number | null
  readonly seenMs: number | null
}

export interface TokenRecord {
  readonly id: string
  readonly tenant: number
  readonly tenantUuid: string
  readonly tenantName: string
  readonly subject: string
  readonly role: Role
  readonly createdMs: number
  readonly expiresMs: number
  readonly revokedMs: number | null
}

const AGENT = `SELECT agent.id, agent.tenant, tenant.uuid AS tenantUuid, tenant.name AS tenantName, host, public_key AS publicKey,
  enrolled_ms AS enrolledMs, revoked_ms AS revokedMs, seen_ms AS seenMs FROM agent JOIN tenant ON tenant.id = agent.tenant`

const TOKEN = `SELECT token.id, token.tenant, tenant.uuid AS tenantUuid, tenant.name AS tenantName, subject, role,
  token.created_ms AS createdMs, expires_ms AS expiresMs, revoked_ms AS revokedMs
  FROM token JOIN tenant ON tenant.id = token.tenant`

const agentById = (sql: Sql, id: string): AgentRecord | null =>
  sql.get<AgentRecord>(`${AGENT} WHERE agent.id = ?`, id) ?? null

const tokenById = (sql: Sql, id: string): TokenRecord | null =>
  sql.get<TokenRecord>(`${TOKEN} WHERE token.id = ?`, id) ?? null

const audit = (
  sql: Sql,
  what: { nowMs: number; tenant: number; by: Actor; action: string; resource: string },
  details: Record<string, string | number>,
): void => {
  const { nowMs, tenant, by, action, resource } = what
  appendAudit(sql, {
    timeMs: nowMs,
    tenant,
    subject: by.subject,
    role: by.role,
    action,
    resource,
    outcome: 'ok',
    details,
  })
}

/** What both kinds of revocation name: the row, and the tenant it must belong to. */
export interface Revocation {
  readonly tenant: number
  readonly id: string
  readonly nowMs: number
  readonly by: Actor
}

export interface Enrolment {
  readonly enrolment: string
  readonly agent: string
  readonly host: string
  readonly publicKey: string
  readonly nowMs: number
}

const enrol = (sql: Sql, { enrolment, agent, host, publicKey, nowMs }: Enrolment): AgentRecord => {
  const row = sql.get<{ tenant: number; usedMs: number | null; expiresMs: number }>(
    'SELECT tenant, used_ms AS usedMs, expires_ms AS expiresMs FROM enrolment WHERE id = ?',
    enrolment,
  )
  if (row === undefined) throw new VarveError('TOKEN_REVOKED', 'the enrolment token is not known here any more')
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
  const by: Actor = { subject: agent, role: 'agent' }
  audit(sql, { nowMs, tenant: row.tenant, by, action: 'agent.enrol', resource: agent }, { host, enrolment })
  return agentById(sql, agent)!
}

/** Ids of the JSON list in the first parameter that are revoked or not there. */
const goneIn = (sql: Sql, table: 'agent' | 'token', ids: readonly string[]): string[] => {
  if (ids.length > IDENTITIES_CHECK_MAX)
    throw new VarveError('TOO_MANY_REQUESTS', `at most ${IDENTITIES_CHECK_MAX} ids are checked at once`)
  return sql
    .all<{ id: string }>(
      `SELECT value AS id FROM json_each(?) LEFT JOIN ${table} ON ${table}.id = value
       WHERE ${table}.id IS NULL OR revoked_ms IS NOT NULL`,
      JSON.stringify(ids),
    )
    .map(({ id }) => id)
}

const dropExpired = (sql: Sql, tenant: number, nowMs: number): void => {
  for (const table of ['token', 'enrolment'] as const)
    sql.run(
      `DELETE FROM ${table} WHERE tenant = ? AND expires_ms < ?
       AND rowid <= (SELECT rowid FROM ${table} WHERE tenant = ? ORDER BY rowid DESC LIMIT 1 OFFSET ?)`,
      tenant,
      nowMs - EXPIRED_KEEP_MS,
      tenant,
      EXPIRED_KEEP_MIN,
    )
}

export const identityOperations = {
  'enrolments.add': write(
    (sql: Sql, row: { id: string; tenant: number; nowMs: number; expiresMs: number; by: Actor }): void => {
      const { id, tenant, nowMs, expiresMs, by } = row
      dropExpired(sql, tenant, nowMs)
      sql.run(
        'INSERT INTO enrolment (id, tenant, created_ms, expires_ms) VALUES (?, ?, ?, ?)',
        id,
        tenant,
        nowMs,
        expiresMs,
      )
      audit(sql, { nowMs, tenant, by, action: 'enrolment.issue', resource: id }, { expiresMs })
    },
  ),

  /** The tenant of an enrolment token, or null where it is not known. */
  'enrolments.tenant': read(
    (sql: Sql, { id }: { id: string }): number | null =>
      sql.get<{ tenant: number }>('SELECT tenant FROM enrolment WHERE id = ?', id)?.tenant ?? null,
  ),

  /** Marks the enrolment used and adds the agent; ENROLMENT_USED, TOKEN_EXPIRED, or TOKEN_REVOKED where it is unknown. */
  'agents.enrol': write(enrol),

  'agents.byId': read((sql: Sql, { id }: { id: string }): AgentRecord | null => agentById(sql, id)),

  /** Agents of a tenant in the order of their ids, after one id; at most IDENTITIES_PAGE_MAX. */
  'agents.list': aside((sql: Sql, { tenant, afterId = '' }: { tenant: number; afterId?: string }): AgentRecord[] =>
    sql.all<AgentRecord>(
      `${AGENT} WHERE agent.tenant = ? AND agent.id > ? ORDER BY agent.id LIMIT ${IDENTITIES_PAGE_MAX}`,
      tenant,
      afterId,
    ),
  ),

  'agents.seen': write((sql: Sql, { id, nowMs }: { id: string; nowMs: number }): void => {
    sql.run('UPDATE agent SET seen_ms = ? WHERE id = ?', nowMs, id)
  }),

  /** For good, and again without effect; NOT_FOUND for another tenant's. */
  'agents.revoke': write((sql: Sql, { tenant, id, nowMs, by }: Revocation): AgentRecord => {
    const agent = agentById(sql, id)
    if (agent === null || agent.tenant !== tenant)
      throw new VarveError('NOT_FOUND', 'there is no such agent; varve-gateway agent list shows those there are')
    if (agent.revokedMs !== null) return agent
    sql.run('UPDATE agent SET revoked_ms = ? WHERE id = ?', nowMs, id)
    // it can never report what became of them
    const error = JSON.stringify({ code: 'AGENT_REVOKED', message: 'the agent was revoked' })
    for (const job of sql.all<{ id: string }>('SELECT id FROM job WHERE agent = ? AND ended_ms IS NULL', id))
      endJob(sql, job.id, 'failed', error, nowMs)
    audit(sql, { nowMs, tenant, by, action: 'agent.revoke', resource: id }, { host: agent.host })
    return agentById(sql, id)!
  }),

  'tokens.add': write(
    (
      sql: Sql,
      row: { id: string; tenant: number; subject: string; role: Role; nowMs: number; expiresMs: number; by: Actor },
    ): void => {
      const { id, tenant, subject, role, nowMs, expiresMs, by } = row
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
      audit(sql, { nowMs, tenant, by, action: 'token.issue', resource: id }, { subject, role, expiresMs })
    },
  ),

  'tokens.byId': read((sql: Sql, { id }: { id: string }): TokenRecord | null => tokenById(sql, id)),

  /** Tokens of a tenant in the order of their ids, after one id; at most IDENTITIES_PAGE_MAX. */
  'tokens.list': read((sql: Sql, { tenant, afterId = '' }: { tenant: number; afterId?: string }): TokenRecord[] =>
    sql.all<TokenRecord>(
      `${TOKEN} WHERE token.tenant = ? AND token.id > ? ORDER BY token.id LIMIT ${IDENTITIES_PAGE_MAX}`,
      tenant,
      afterId,
    ),
  ),

  /** For good, and again without effect; NOT_FOUND for another tenant's. */
  'tokens.revoke': write((sql: Sql, { tenant, id, nowMs, by }: Revocation): TokenRecord => {
    const token = tokenById(sql, id)
    if (token === null || token.tenant !== tenant) throw new VarveError('NOT_FOUND', 'there is no such token')
    if (token.revokedMs !== null) return token
    sql.run('UPDATE token SET revoked_ms = ? WHERE id = ?', nowMs, id)
    audit(sql, { nowMs, tenant, by, action: 'token.revoke', resource: id }, { subject: token.subject })
    return tokenById(sql, id)!
  }),

  /** Whether there is any agent or token. */
  'identities.any': read(
    (sql: Sql, _: Record<string, never>): boolean =>
      sql.get('SELECT 1 FROM agent UNION ALL SELECT 1 FROM token LIMIT 1') !== undefined,
  ),

  /** Of the ids given, those that are revoked or gone, so that a running gateway can end their sessions. */
  'identities.check': read(
    (
      sql: Sql,
      { agents, tokens }: { agents: readonly string[]; tokens: readonly string[] },
    ): { agents: string[]; tokens: string[] } => ({
      agents: goneIn(sql, 'agent', agents),
      tokens: goneIn(sql, 'token', tokens),
    }),
  ),
}
