// Signing in with the one-time code of a link: what it gives, and what somebody can try who should not have it.
import { expect, test } from 'vitest'
import { LOGIN_CODE_LIFE_MS } from '../../../protocol/limits.ts'
import { codeOf, decodePart } from '../auth/test-authority.ts'
import { MemorySession, TestServices } from '../services.ts'
import { serviceOf } from '../../../gateway/service/service.ts'

const HOUR_MS = 60 * 60 * 1000

const anna = { subject: 'anna', role: 'operator', ttlMs: HOUR_MS } as const

test('a code signs in once, as whom and for how long it was made, and its token goes on', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { code, expiresMs, address } = await owner.call('login.issue', anna)
  expect({ expiresMs, address }).toEqual({ expiresMs: test.clock.now() + LOGIN_CODE_LIFE_MS, address: null })
  const session = test.connect()
  const welcome = await session.hello(test.services, { code })
  expect(welcome).toMatchObject({ subject: 'anna', role: 'operator', tenant: 'acme' })
  expect(welcome.expiresMs).toBe(test.clock.now() + HOUR_MS)
  expect(await session.peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  // a reconnect has no code any more, and needs none
  const again = test.connect()
  expect(await again.hello(test.services, { token: welcome.token! })).not.toHaveProperty('token')
  // it is a token like others: its tenant sees it and ends it
  const id = String(decodePart(welcome.token!, 1)['jti'])
  expect((await owner.call('tokens.list', {})).tokens).toContainEqual(expect.objectContaining({ id, subject: 'anna' }))
  await owner.call('tokens.revoke', { token: id })
  expect((await session.peer.closed).code).toBe('TOKEN_REVOKED')
  expect((await again.peer.closed).code).toBe('TOKEN_REVOKED')
})

test('both acts are in the log of the tenant, the second use of a code too, and the code is nowhere', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { code } = await owner.call('login.issue', anna)
  const { token } = await test.connect().hello(test.services, { code })
  expect(await codeOf(test.connect().hello(test.services, { code }))).toBe('LOGIN_CODE_INVALID')
  const entries = (await test.audited(test.acme)).map(({ action, subject, role, outcome, details }) => {
    const { issuedBy = null } = details as { issuedBy?: string }
    return { action, subject, role, outcome, issuedBy }
  })
  expect(entries).toEqual([
    { action: 'login.issue', subject: 'a owner', role: 'owner', outcome: 'ok', issuedBy: null },
    { action: 'tokens.issue', subject: 'anna', role: 'operator', outcome: 'ok', issuedBy: 'a owner' },
    { action: 'connect', subject: 'anna', role: 'operator', outcome: 'LOGIN_CODE_INVALID', issuedBy: null },
  ])
  const text = JSON.stringify(await test.audited(test.acme)) + JSON.stringify(await test.audited(null))
  expect(text).not.toContain(code)
  expect(text).not.toContain(token!)
})

test('an expired code, a guess and the code of a gateway that was restarted sign nobody in', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const trying = (code: string): Promise<string> => codeOf(test.connect().hello(test.services, { code }))
  const ended = await owner.call('login.issue', anna)
  await test.pass(LOGIN_CODE_LIFE_MS)
  expect(await trying(ended.code)).toBe('LOGIN_CODE_INVALID')
  for (const guess of ['', 'x', '__proto__', ended.code.slice(1)])
    expect(await trying(guess)).toBe('LOGIN_CODE_INVALID')
  expect((await test.audited(null)).filter(({ outcome }) => outcome === 'LOGIN_CODE_INVALID')).toHaveLength(5)
  const fresh = await owner.call('login.issue', anna)
  // what a restart leaves is the catalog and the keys
  const { registry, memory, ...parts } = test.services
  const restarted = { ...parts, ...serviceOf(parts), registry, memory }
  expect(await codeOf(new MemorySession(restarted, null).hello(test.services, { code: fresh.code }))).toBe(
    'LOGIN_CODE_INVALID',
  )
  expect(await trying(fresh.code)).toBe('none')
})

test('a code whose maker has lost the token since signs nobody in', async () => {
  await using test = await TestServices.open()
  const trying = (code: string): Promise<string> => codeOf(test.connect().hello(test.services, { code }))
  const owner = await test.person('owner')
  const eve = { subject: 'eve', role: 'owner', ttlMs: LOGIN_CODE_LIFE_MS / 2 } as const
  const lost = await owner.call('tokens.issue', { ...eve, ttlMs: HOUR_MS })
  const ended = await owner.call('tokens.issue', eve)
  const [first, second] = await Promise.all([test.session(lost.token), test.session(ended.token)])
  const codes = [await first.peer.call('login.issue', anna), await second.peer.call('login.issue', anna)]
  const good = await owner.call('login.issue', anna)
  await owner.call('tokens.revoke', { token: lost.id })
  expect(await trying(codes[0]!.code)).toBe('LOGIN_CODE_INVALID')
  await test.pass(LOGIN_CODE_LIFE_MS / 2 + 1000)
  expect(await trying(codes[1]!.code)).toBe('LOGIN_CODE_INVALID')
  expect(await trying(good.code)).toBe('none')
  const refused = (await test.audited(test.acme)).filter(({ outcome }) => outcome === 'LOGIN_CODE_INVALID')
  expect(refused.map(({ action, subject }) => [action, subject])).toEqual([
    ['connect', 'anna'],
    ['connect', 'anna'],
  ])
})

test('of two who use a code at once one is signed in', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { code } = await owner.call('login.issue', anna)
  const results = await Promise.all(
    Array.from({ length: 8 }, () => codeOf(test.connect().hello(test.services, { code }))),
  )
  expect(results.toSorted()).toEqual([...Array.from({ length: 7 }, () => 'LOGIN_CODE_INVALID'), 'none'])
})

test('nobody gives out what is not theirs: other tenants, the platform, more than a token may last', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  expect(await codeOf(owner.call('login.issue', { ...anna, tenant: 'other' }))).toBe('NOT_FOUND')
  expect(await codeOf(owner.call('login.issue', { ...anna, role: 'platform' }))).toBe('PARAMS_INVALID')
  expect(await codeOf(owner.call('login.issue', { ...anna, role: 'platform', tenant: null }))).toBe('NOT_FOUND')
  expect(await codeOf(owner.call('login.issue', { ...anna, ttlMs: 91 * 24 * HOUR_MS }))).toBe('PARAMS_INVALID')
  expect(await codeOf(owner.call('login.issue', { ...anna, subject: 'a\u0000b' }))).toBe('PARAMS_INVALID')
  for (const role of ['operator', 'viewer', 'auditor'] as const)
    expect(await codeOf((await test.person(role)).call('login.issue', anna))).toBe('ROLE_FORBIDDEN')
  const { peer } = await test.session((await test.agent()).assertion())
  expect(await codeOf(peer.call('login.issue', anna))).toBe('ROLE_FORBIDDEN')
  // the platform gives out for a tenant, and for itself
  const platform = await test.person('platform')
  const named = await platform.call('login.issue', { ...anna, tenant: 'other' })
  expect(await test.connect().hello(test.services, { code: named.code })).toMatchObject({ tenant: 'other' })
  const own = await platform.call('login.issue', { subject: 'ops', role: 'platform', ttlMs: HOUR_MS, tenant: null })
  expect(await test.connect().hello(test.services, { code: own.code })).toMatchObject({
    role: 'platform',
    tenant: null,
  })
})

test('a code serves no machines, and beside a token it is not used', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { code } = await owner.call('login.issue', anna)
  const token = await test.token('viewer')
  expect(await test.connect().hello(test.services, { code, token })).toMatchObject({ subject: 'a viewer' })
  const upgraded = await test.session(token, { code })
  expect(upgraded.frames[0]![1]).not.toHaveProperty('token')
  expect(await codeOf(test.connect().hello(test.services, { code, serving: true }))).toBe('ROLE_FORBIDDEN')
})
