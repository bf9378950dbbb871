// Agents, enrolments and tokens in the database: walls between tenants, revocation, limits.
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { IDENTITIES_CHECK_MAX } from '../../../../gateway/catalog/identities.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { EXPIRED_KEEP_MIN } from '../../../../gateway/catalog/sqlite/identities.ts'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { asVarveError } from '../../../../protocol/errors.ts'
import { tempFolder } from '../../../support/temp.ts'

const NOW_MS = 1_700_000_000_000
const ALL = { after: null, limit: 1000 }

const setUp = async () => {
  const stack = new AsyncDisposableStack()
  const temp = stack.use(await tempFolder())
  const sql = stack.use(new Sql(temp.join('catalog.db')))
  const add = (name: string): Tenant =>
    runOperation(sql, 'tenants.add', {
      name,
      id: randomUUID(),
      idKey: randomBytes(32),
      chunkBytes: 65_536,
      nowMs: NOW_MS,
    })
  return { sql, acme: add('acme'), other: add('other'), [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

/** Code and message of the error that `work` throws; null where it throws none. */
const errorOf = (work: () => unknown): readonly [string, string] | null => {
  try {
    work()
    return null
  } catch (error) {
    const { code, message } = asVarveError(error)
    return [code, message]
  }
}

const codeOf = (work: () => unknown): string => errorOf(work)?.[0] ?? 'none'

const addToken = (sql: Sql, tenant: string | null, nowMs = NOW_MS): string => {
  const id = randomUUID()
  runOperation(sql, 'tokens.add', { id, tenant, subject: 'bob', role: 'viewer', nowMs, expiresMs: nowMs + 1000 })
  return id
}

const addEnrolment = (sql: Sql, tenant: string, nowMs = NOW_MS): string => {
  const id = randomUUID()
  runOperation(sql, 'enrolments.add', { id, tenant, nowMs, expiresMs: nowMs + 1000 })
  return id
}

const enrol = (sql: Sql, enrolment: string, nowMs = NOW_MS): string =>
  runOperation(sql, 'agents.enrol', { enrolment, agent: randomUUID(), host: 'hv1', publicKey: 'x', nowMs }).id

test('an enrolment serves once, while it lives, and only if it is known', async () => {
  await using t = await setUp()
  const enrolment = addEnrolment(t.sql, t.acme.id)
  expect(codeOf(() => enrol(t.sql, randomUUID()))).toBe('TOKEN_REVOKED')
  expect(codeOf(() => enrol(t.sql, enrolment, NOW_MS + 1000))).toBe('TOKEN_EXPIRED')
  const id = enrol(t.sql, enrolment)
  expect(codeOf(() => enrol(t.sql, enrolment))).toBe('ENROLMENT_USED')
  expect(runOperation(t.sql, 'agents.byId', { id })).toMatchObject({
    tenant: t.acme.id,
    tenantName: 'acme',
    host: 'hv1',
  })
  expect(runOperation(t.sql, 'enrolments.tenant', { id: enrolment })).toBe(t.acme.id)
  expect(runOperation(t.sql, 'enrolments.tenant', { id: randomUUID() })).toBeNull()
})

test('a tenant lists and revokes its own only; another’s is as one that does not exist', async () => {
  await using t = await setUp()
  const agent = enrol(t.sql, addEnrolment(t.sql, t.acme.id))
  const token = addToken(t.sql, t.acme.id)
  for (const name of ['agents.list', 'tokens.list'] as const) {
    expect(runOperation(t.sql, name, { tenant: t.acme.id, ...ALL }).map(({ id }) => id)).toEqual([
      name === 'agents.list' ? agent : token,
    ])
    expect(runOperation(t.sql, name, { tenant: t.other.id, ...ALL })).toEqual([])
  }
  for (const [name, id] of [
    ['agents.revoke', agent],
    ['tokens.revoke', token],
  ] as const) {
    const revoke = (target: string) => () =>
      runOperation(t.sql, name, { tenant: t.other.id, id: target, nowMs: NOW_MS })
    expect(codeOf(revoke(id))).toBe('NOT_FOUND')
    expect(errorOf(revoke(id))).toEqual(errorOf(revoke(randomUUID())))
  }
  expect(runOperation(t.sql, 'identities.check', { agents: [agent], tokens: [token] })).toEqual({
    agents: [],
    tokens: [],
  })
})

test('revoking is for good, and keeps its first time', async () => {
  await using t = await setUp()
  const agent = enrol(t.sql, addEnrolment(t.sql, t.acme.id))
  const token = addToken(t.sql, t.acme.id)
  for (const [name, id] of [
    ['agents.revoke', agent],
    ['tokens.revoke', token],
  ] as const)
    for (const nowMs of [NOW_MS + 1, NOW_MS + 2])
      expect(runOperation(t.sql, name, { tenant: t.acme.id, id, nowMs })).toMatchObject({ revokedMs: NOW_MS + 1 })
})

test('a token may belong to no tenant, which no tenant sees', async () => {
  await using t = await setUp()
  const [own, none] = [addToken(t.sql, t.acme.id), addToken(t.sql, null)]
  const listed = (tenant: string | null): string[] =>
    runOperation(t.sql, 'tokens.list', { tenant, ...ALL }).map(({ id }) => id)
  expect([listed(t.acme.id), listed(null)]).toEqual([[own], [none]])
  expect(runOperation(t.sql, 'tokens.byId', { id: none })).toMatchObject({
    tenant: null,
    tenantName: null,
  })
  const revoke = (tenant: string | null, id: string) => () =>
    runOperation(t.sql, 'tokens.revoke', { tenant, id, nowMs: NOW_MS })
  expect([codeOf(revoke(t.acme.id, none)), codeOf(revoke(null, own))]).toEqual(['NOT_FOUND', 'NOT_FOUND'])
  expect(revoke(null, none)()).toMatchObject({ revokedMs: NOW_MS })
})

test('a check names the revoked and the unknown', async () => {
  await using t = await setUp()
  const [kept, revoked] = [addToken(t.sql, t.acme.id), addToken(t.sql, t.acme.id)]
  const agent = enrol(t.sql, addEnrolment(t.sql, t.acme.id))
  runOperation(t.sql, 'tokens.revoke', { tenant: t.acme.id, id: revoked, nowMs: NOW_MS })
  const hostile = `'; DROP TABLE agent; --`
  expect(runOperation(t.sql, 'identities.check', { agents: [agent, hostile], tokens: [kept, revoked] })).toEqual({
    agents: [hostile],
    tokens: [revoked],
  })
  const many = Array.from({ length: IDENTITIES_CHECK_MAX + 1 }, () => agent)
  expect(codeOf(() => runOperation(t.sql, 'identities.check', { agents: many, tokens: [] }))).toBe('LIMIT_REACHED')
})

test('an agent is seen, and has another key', async () => {
  await using t = await setUp()
  const id = enrol(t.sql, addEnrolment(t.sql, t.acme.id))
  runOperation(t.sql, 'agents.seen', { id, nowMs: NOW_MS + 5 })
  expect(runOperation(t.sql, 'agents.byId', { id })).toMatchObject({ seenMs: NOW_MS + 5, publicKey: 'x' })
  runOperation(t.sql, 'agents.rotateKey', { id, publicKey: 'y' })
  expect(runOperation(t.sql, 'agents.byId', { id })).toMatchObject({ publicKey: 'y' })
})

test('a list has a most, and goes on after the last id', async () => {
  await using t = await setUp()
  const ids = t.sql.transaction(() =>
    Array.from({ length: 7 }, () => {
      const id = randomUUID()
      t.sql.run("INSERT INTO agent (id, tenant, host, public_key, enrolled_ms) VALUES (?, 1, 'h', 'x', 0)", id)
      return id
    }),
  )
  const first = runOperation(t.sql, 'agents.list', { tenant: t.acme.id, after: null, limit: 4 })
  const rest = runOperation(t.sql, 'agents.list', { tenant: t.acme.id, after: first.at(-1)!.id, limit: 4 })
  expect(first).toHaveLength(4)
  expect([...first, ...rest].map(({ id }) => id)).toEqual(ids.sort())
})

test('tokens and enrolments long expired go when new ones come; their agents stay', async () => {
  await using t = await setUp()
  const token = addToken(t.sql, t.acme.id)
  const agent = enrol(t.sql, addEnrolment(t.sql, t.acme.id))
  const later = NOW_MS + 31 * 24 * 60 * 60 * 1000
  const fresh = addToken(t.sql, t.acme.id, later)
  // a clock that is ahead for a while takes nothing that may be good when it is right again
  expect(runOperation(t.sql, 'tokens.byId', { id: token })).not.toBeNull()
  expect(runOperation(t.sql, 'agents.byId', { id: agent })).not.toBeNull()
  const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${EXPIRED_KEEP_MIN})`
  t.sql.run(
    `${numbers} INSERT INTO token (id, tenant, subject, role, created_ms, expires_ms) SELECT 't' || i, 1, 's', 'viewer', 1, 1 FROM n`,
  )
  t.sql.run(`${numbers} INSERT INTO enrolment (id, tenant, created_ms, expires_ms) SELECT 'e' || i, 1, 1, 1 FROM n`)
  addToken(t.sql, t.acme.id, later)
  expect(runOperation(t.sql, 'tokens.byId', { id: token })).toBeNull()
  expect(runOperation(t.sql, 'tokens.byId', { id: fresh })).not.toBeNull()
  expect(t.sql.all('SELECT id FROM enrolment')).toHaveLength(EXPIRED_KEEP_MIN)
  expect(runOperation(t.sql, 'agents.byId', { id: agent })).not.toBeNull()
})
