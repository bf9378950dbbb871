// Tokens, keys and tenants over sessions: what is revoked ends at once, what is rotated signs at once, and the platform has
// no tenant.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { NOTHING_NOTED } from '../../../gateway/scheduler/audit-check.ts'
import { REVOCATION_INTERVAL_MS, watchRevocations } from '../../../gateway/service/revocations.ts'
import { ASSERTION_LIFE_S, TOKEN_TYPE } from '../../../protocol/claims.ts'
import { TOKEN_LIFE_MAX_MS } from '../../../protocol/limits.ts'
import { codeOf, decodePart, forge } from '../auth/test-authority.ts'
import { MemorySession, TestServices } from '../services.ts'

const HOUR_MS = 60 * 60 * 1000

test('a token is issued, listed and revoked by an owner: its sessions end at once and it opens none', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const issued = await owner.call('tokens.issue', { subject: 'eve', role: 'viewer', ttlMs: HOUR_MS })
  const eve = await test.session(issued.token)
  const { tokens } = await owner.call('tokens.list', {})
  expect(tokens.find(({ id }) => id === issued.id)).toMatchObject({
    subject: 'eve',
    role: 'viewer',
    expiresMs: issued.expiresMs,
    revokedMs: null,
  })
  expect(JSON.stringify(tokens)).not.toContain(issued.token)
  // another tenant's owner cannot see or end it
  const stranger = await test.person('owner', test.other)
  expect(await codeOf(stranger.call('tokens.revoke', { token: issued.id }))).toBe('NOT_FOUND')
  expect((await stranger.call('tokens.list', {})).tokens.map(({ id }) => id)).not.toContain(issued.id)
  expect(await codeOf(stranger.call('tokens.list', { tenant: 'acme' }))).toBe('NOT_FOUND')
  // no time passes: nothing has to look for it
  expect(await owner.call('tokens.revoke', { token: issued.id })).toMatchObject({ subject: 'eve' })
  expect((await eve.peer.closed).code).toBe('TOKEN_REVOKED')
  expect(await codeOf(test.session(issued.token))).toBe('TOKEN_REVOKED')
  const long = { subject: 'eve', role: 'viewer', ttlMs: TOKEN_LIFE_MAX_MS + 1 } as const
  expect(await codeOf(owner.call('tokens.issue', long))).toBe('PARAMS_INVALID')
  expect(await codeOf(owner.call('tokens.issue', { ...long, ttlMs: TOKEN_LIFE_MAX_MS }))).toBe('none')
})

test('who revokes the own token is answered, and its session ends with the next look for revocations', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const { log, registry } = test.services
  const owner = await test.person('owner')
  const { token, id } = await owner.call('tokens.issue', { subject: 'eve', role: 'owner', ttlMs: HOUR_MS })
  const [eve, other] = [await test.session(token), await test.session(token)]
  expect(await eve.peer.call('tokens.revoke', { token: id })).toMatchObject({ subject: 'eve' })
  expect((await other.peer.closed).code).toBe('TOKEN_REVOKED')
  using stack = new DisposableStack()
  stack.defer(watchRevocations({ catalog, sessions: registry, clock: test.clock, log }))
  test.clock.advance(REVOCATION_INTERVAL_MS)
  expect((await eve.peer.closed).code).toBe('TOKEN_REVOKED')
})

test('the platform has no tenant: its token, its session and its log belong to none', async () => {
  await using test = await TestServices.open()
  const platform = await test.person('platform')
  const { token, id } = await platform.call('tokens.issue', { subject: 'ops', role: 'platform', ttlMs: HOUR_MS })
  expect(decodePart(token, 1)).toMatchObject({ role: 'platform', tenant: null })
  const session = new MemorySession(test.services, null)
  expect(await session.hello(test.services, { token })).toMatchObject({ role: 'platform', tenant: null })
  await expect(session.peer.call('machines.list', {})).rejects.toMatchObject({ code: 'ROLE_FORBIDDEN' })
  expect((await session.peer.call('tenants.list', { tenant: 'acme' })).tenants).toMatchObject([
    { name: 'acme', quota: { softBytes: null, hardBytes: null }, packBytes: 0 },
  ])
  await expect(session.peer.call('tenants.list', { tenant: 'acne' })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('acme') as string,
  })
  expect((await session.peer.call('tokens.list', {})).tokens.map(({ subject }) => subject)).toContain('ops')
  expect((await session.peer.call('tokens.list', { tenant: 'acme' })).tokens).toEqual([])
  expect(await codeOf(session.peer.call('tokens.issue', { subject: 'x', role: 'owner', ttlMs: HOUR_MS }))).toBe(
    'PARAMS_INVALID',
  )
  const { entries } = await session.peer.call('audit.list', {})
  expect(entries).toContainEqual(expect.objectContaining({ action: 'tokens.issue', subject: 'a platform' }))
  const owner = await test.person('owner')
  expect(await codeOf(owner.call('tokens.revoke', { token: id }))).toBe('NOT_FOUND')
})

test('a new signing key signs at once, and tokens of the one before stay good', async () => {
  await using test = await TestServices.open()
  const platform = await test.person('platform')
  const before = await test.token('viewer')
  const { key } = await platform.call('keys.rotate', {})
  const after = await test.token('viewer')
  expect([before, after].map((token) => decodePart(token, 0)['kid'] === key)).toEqual([false, true])
  for (const token of [before, after]) expect(await codeOf(test.session(token))).toBe('none')
  const { keys } = await platform.call('keys.list', {})
  const nowMs = test.clock.now()
  expect(keys).toMatchObject([{ endsMs: nowMs + TOKEN_LIFE_MAX_MS + 1 }, { id: key, endsMs: null }])
})

test('an agent has another key: assertions of the old one are refused, its session goes on', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const serving = await test.serve(agent, ['db1'])
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  await serving.call('agents.rotateKey', { publicKey: publicKey.export({ format: 'jwk' }).x! })
  expect(await codeOf(serving.call('machines.list', {}))).toBe('none')
  expect(await codeOf(test.session(agent.assertion()))).toBe('TOKEN_SIGNATURE')
  const iat = Math.floor(test.clock.now() / 1000)
  const payload = { iss: agent.id, sub: agent.id, aud: test.authority.issuer, jti: randomUUID(), iat }
  const fresh = forge({ alg: 'EdDSA', typ: TOKEN_TYPE.agent }, { ...payload, exp: iat + ASSERTION_LIFE_S }, privateKey)
  expect(await codeOf(test.session(fresh))).toBe('none')
  expect(await codeOf(serving.call('agents.rotateKey', { publicKey: 'short' }))).toBe('PARAMS_INVALID')
})

test('on the local socket a session is the platform’s, or the owner’s of the tenant named', async () => {
  await using test = await TestServices.open()
  const { admission } = test.services
  expect(await admission.local(null)).toMatchObject({ role: 'platform', tenant: null, subject: 'local-administrator' })
  expect(await admission.local('acme')).toMatchObject({ role: 'owner', tenantName: 'acme' })
  expect(await codeOf(admission.local('nobody'))).toBe('NOT_FOUND')
})

test('a list of agents says of those that are connected which program it is, since when, and what it relays', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const owner = await test.person('owner')
  const linkOf = async () => (await owner.call('agents.list', {})).agents[0]!.link
  expect(await linkOf()).toBeNull()
  const peer = await test.serve(agent, ['db1'])
  const sinceMs = test.clock.now()
  const none = { program: 'test', sinceMs, lagMs: null, skewMs: null }
  expect(await linkOf()).toEqual({ ...none, machines: 1, relay: null })
  const relay = { commands: ['query-status'], more: 3 }
  await peer.call('agent.inventory', { host: 'h', machines: [], jobs: [], relay })
  test.services.backups.skews.note(agent.id, 1200)
  expect(await linkOf()).toEqual({ ...none, skewMs: 1200, machines: 0, relay })
})

test('an enrolment shows which agent came of it, to its tenant alone', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { id, token, certificate } = await owner.call('enrolments.issue', { ttlMs: HOUR_MS })
  expect(certificate).toBeNull()
  const cameOf = async (one = owner) =>
    (await one.call('agents.list', { enrolment: id })).agents.map(({ host }) => host)
  await test.agent()
  expect(await cameOf()).toEqual([])
  const { publicKey } = generateKeyPairSync('ed25519')
  const key = publicKey.export({ format: 'jwk' }).x!
  await test.services.admission.enrol({ token, publicKey: key, host: 'h7' }, 'memory')
  expect(await cameOf()).toEqual(['h7'])
  expect(await cameOf(await test.person('owner', test.other))).toEqual([])
})

test('the audit log is searched from its newest entry on, with what the last check of the chain found', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  for (const subject of ['eve', 'bob', 'eve'])
    await owner.call('tokens.issue', { subject, role: 'viewer', ttlMs: HOUR_MS })
  await codeOf(owner.call('tokens.revoke', { token: randomUUID() }))
  const asked = { newest: true, contains: '"EVE"', limit: 1 }
  const first = await owner.call('audit.list', asked)
  expect([first.entries.map(({ seq }) => seq), first.chain]).toEqual([[3], null])
  const second = await owner.call('audit.list', { ...asked, after: first.next })
  expect(second.entries.map(({ seq }) => seq)).toEqual([1])
  // a cursor belongs to its search
  expect(await codeOf(owner.call('audit.list', { newest: true, after: first.next }))).toBe('PARAMS_INVALID')
  expect((await owner.call('audit.list', { failed: true })).entries).toMatchObject([{ outcome: 'NOT_FOUND' }])
  const { upkeep } = test.services.datastore.catalog
  const note = { tenant: null, kind: 'audit', ok: true } as const
  await upkeep.note({ ...note, nowMs: 5, note: '{"seq":1}' })
  expect((await owner.call('audit.list', {})).chain).toEqual({ checkedMs: 5, whole: true })
  await upkeep.note({ ...note, nowMs: 6, note: NOTHING_NOTED })
  expect((await owner.call('audit.list', {})).chain).toEqual({ checkedMs: 6, whole: false })
})
