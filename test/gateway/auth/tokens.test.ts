// Issuing tokens and enrolling agents: limits, one use only, and the audit entry of each.
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  enrol,
  ENROLMENT_TTL_MAX_MS,
  HOST_CHARS_MAX,
  issueEnrolment,
  issueToken,
} from '../../../gateway/auth/tokens.ts'
import { verifyBearer } from '../../../gateway/auth/bearer.ts'
import { ROLES, SUBJECT_CHARS_MAX } from '../../../protocol/claims.ts'
import { TOKEN_LIFE_MAX_MS } from '../../../protocol/limits.ts'
import { codeOf, decodePart, forge, NOW_MS, testAuthority, type TestAuthority } from './test-authority.ts'

const TOKEN_TTL_MS = 8 * 60 * 60 * 1000
const ENROLMENT_TTL_MS = 60 * 60 * 1000
const ALL = { after: null, limit: 100 }
const publicKey = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x ?? ''
const host = 'hv1.example'

const enrolment = async ({ authority, acme }: TestAuthority): Promise<string> =>
  (await issueEnrolment(authority, { tenant: acme, ttlMs: ENROLMENT_TTL_MS, nowMs: NOW_MS })).token

/** The gateway's own signing key, as someone who broke in would read it. */
const stolenKey = async ({ folder }: TestAuthority): Promise<KeyObject> => {
  const [name = ''] = await readdir(path.join(folder, 'keys'))
  const jwk = JSON.parse(await readFile(path.join(folder, 'keys', name), 'utf8')) as Record<string, string>
  return createPrivateKey({ key: { kty: 'OKP', crv: 'Ed25519', x: jwk['x'] ?? '', d: jwk['d'] ?? '' }, format: 'jwk' })
}

describe('a person’s token', () => {
  test.each(ROLES.filter((role) => role !== 'agent'))('%s: verified, it says what was issued', async (role) => {
    await using gateway = await testAuthority()
    const { authority, acme } = gateway
    const tenant = role === 'platform' ? null : acme
    const request = { tenant, subject: 'ann@example', role, ttlMs: TOKEN_TTL_MS, nowMs: NOW_MS }
    const claims = await verifyBearer(authority, (await issueToken(authority, request)).token, NOW_MS)
    expect(claims).toMatchObject({
      tenant: tenant?.id ?? null,
      tenantName: tenant?.name ?? null,
      subject: 'ann@example',
      role,
    })
    expect(claims).toMatchObject({ issuer: authority.issuer, audience: authority.issuer })
    expect(claims.expiresAt * 1000).toBe(NOW_MS + TOKEN_TTL_MS)
  })

  test('is added with the entry that goes with it, which does not hold it', async () => {
    await using gateway = await testAuthority()
    const { authority, acme, catalog } = gateway
    const request = { tenant: acme, subject: 'ann', role: 'viewer' as const, ttlMs: 1000, nowMs: NOW_MS }
    const about: unknown[] = []
    const { token, id, expiresMs } = await issueToken(authority, request, (apply, entry) => {
      about.push(entry)
      return apply()
    })
    expect(decodePart(token, 1)['jti']).toBe(id)
    expect(about).toEqual([{ tenant: acme.id, details: { token: id, expiresMs } }])
    expect(await catalog.tokens.list({ tenant: acme.id, ...ALL })).toMatchObject([{ id, subject: 'ann', expiresMs }])
  })

  test.each([
    ['the role of an agent', { role: 'agent' as const }],
    ['the platform with a tenant', { role: 'platform' as const }],
    ['a role of a tenant without one', { tenant: null }],
    ['no subject', { subject: '' }],
    ['a long subject', { subject: 'x'.repeat(SUBJECT_CHARS_MAX + 1) }],
    ['a line break in the subject', { subject: 'ann\nroot' }],
    ['half a character in the subject', { subject: '\uD800' }],
    ['a life too short', { ttlMs: 999 }],
    ['a life too long', { ttlMs: TOKEN_LIFE_MAX_MS + 1 }],
    ['a life that is no number', { ttlMs: Number.NaN }],
  ])('refused: %s', async (_, change) => {
    await using gateway = await testAuthority()
    const { authority, acme, catalog } = gateway
    const request = { tenant: acme, subject: 'ann', role: 'viewer' as const, ttlMs: 1000, nowMs: NOW_MS }
    expect(await codeOf(issueToken(authority, { ...request, ...change }))).toBe('PARAMS_INVALID')
    expect(await catalog.tokens.list({ tenant: acme.id, ...ALL })).toEqual([])
  })
})

describe('enrolment', () => {
  test('makes an agent of the token’s tenant', async () => {
    await using gateway = await testAuthority()
    const { authority, acme, other, catalog } = gateway
    const token = await enrolment(gateway)
    const enrolled = await enrol(authority, { token, publicKey, host, nowMs: NOW_MS })
    expect(enrolled).toMatchObject({ issuer: authority.issuer, tenant: acme.id, tenantName: 'acme' })
    const agents = await catalog.agents.list({ tenant: acme.id, ...ALL })
    expect(agents).toMatchObject([{ id: enrolled.agentId, host, publicKey, enrolledMs: NOW_MS, revokedMs: null }])
    expect(await catalog.agents.list({ tenant: other.id, ...ALL })).toEqual([])
    const audit = await catalog.audit.list({ tenant: acme.id, afterSeq: 0, limit: 10 })
    expect(audit).toMatchObject([{ action: 'agents.enrol', resource: `agent=${enrolled.agentId}`, outcome: 'ok' }])
  })

  test('a second use is refused, names the tenant for the log, and adds nothing', async () => {
    await using gateway = await testAuthority(true)
    const { authority, acme, catalog } = gateway
    const token = await enrolment(gateway)
    await enrol(authority, { token, publicKey, host, nowMs: NOW_MS })
    const again = enrol(authority, { token, publicKey, host, nowMs: NOW_MS + 1 })
    await expect(again).rejects.toMatchObject({ code: 'ENROLMENT_USED', bearer: { tenantId: acme.id } })
    expect(await catalog.agents.list({ tenant: acme.id, ...ALL })).toHaveLength(1)
  })

  test('of many uses at once exactly one wins', async () => {
    await using gateway = await testAuthority(true)
    const { authority, acme, catalog } = gateway
    const token = await enrolment(gateway)
    const uses = Array.from({ length: 20 }, () => enrol(authority, { token, publicKey, host, nowMs: NOW_MS }))
    const codes = (await Promise.all(uses.map(codeOf))).sort()
    expect(codes).toEqual([...Array.from({ length: 19 }, () => 'ENROLMENT_USED'), 'none'])
    expect(await catalog.agents.list({ tenant: acme.id, ...ALL })).toHaveLength(1)
  })

  test('a refused attempt does not use the token up', async () => {
    await using gateway = await testAuthority()
    const { authority } = gateway
    const token = await enrolment(gateway)
    for (const bad of [
      { publicKey: '' },
      { publicKey: Buffer.alloc(31).toString('base64url') },
      { publicKey: `${publicKey}=` },
      { publicKey: 'x'.repeat(1_000_000) },
      { host: '' },
      { host: 'x'.repeat(HOST_CHARS_MAX + 1) },
      { host: 'hv1\u0000' },
    ])
      expect(await codeOf(enrol(authority, { token, publicKey, host, nowMs: NOW_MS, ...bad }))).toBe('PARAMS_INVALID')
    expect(await codeOf(enrol(authority, { token, publicKey, host, nowMs: NOW_MS }))).toBe('none')
  })

  test('expired, too early, or for longer than is allowed', async () => {
    await using gateway = await testAuthority()
    const { authority, acme } = gateway
    const token = await enrolment(gateway)
    const use = (nowMs: number) => codeOf(enrol(authority, { token, publicKey, host, nowMs }))
    expect(await use(NOW_MS + ENROLMENT_TTL_MS)).toBe('TOKEN_EXPIRED')
    expect(await use(NOW_MS - 60_000)).toBe('TOKEN_NOT_YET_VALID')
    expect(await use(NOW_MS + ENROLMENT_TTL_MS - 1)).toBe('none')
    const long = issueEnrolment(authority, { tenant: acme, ttlMs: ENROLMENT_TTL_MAX_MS + 1, nowMs: NOW_MS })
    expect(await codeOf(long)).toBe('PARAMS_INVALID')
  })

  test('a person’s token does not enrol, and an enrolment token does not connect', async () => {
    await using gateway = await testAuthority()
    const { authority, acme } = gateway
    const request = { tenant: acme, subject: 'ann', role: 'owner' as const, ttlMs: 60_000, nowMs: NOW_MS }
    const { token: person } = await issueToken(authority, request)
    expect(await codeOf(enrol(authority, { token: person, publicKey, host, nowMs: NOW_MS }))).toBe('TOKEN_CLAIMS')
    expect(await codeOf(verifyBearer(authority, await enrolment(gateway), NOW_MS))).toBe('TOKEN_CLAIMS')
  })

  test('a person’s token whose type was changed does not enrol', async () => {
    await using gateway = await testAuthority()
    const { authority, acme } = gateway
    const request = { tenant: acme, subject: 'ann', role: 'owner' as const, ttlMs: 60_000, nowMs: NOW_MS }
    const [head, body, signature] = (await issueToken(authority, request)).token.split('.')
    const header = { ...decodePart(`${head}.`, 0), typ: 'varve-enrol+jwt' }
    const changed = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${body}.${signature}`
    const use = (token: string) => codeOf(enrol(authority, { token, publicKey, host, nowMs: NOW_MS }))
    expect(await use(changed)).toBe('TOKEN_SIGNATURE')
    // even signed by the gateway itself, the audience and the missing enrolment stand against it
    const key = await stolenKey(gateway)
    const payload = decodePart(`${head}.${body}.`, 1)
    expect(await use(forge(header, payload, key))).toBe('TOKEN_AUDIENCE')
    const aud = `${authority.issuer}:enrol`
    expect(await use(forge(header, { ...payload, aud }, key))).toBe('TOKEN_REVOKED')
    expect(await use(forge(header, { ...payload, aud, exp: undefined }, key))).toBe('TOKEN_CLAIMS')
  })

  test('another gateway’s token is refused', async () => {
    await using gateway = await testAuthority()
    await using elsewhere = await testAuthority()
    const token = await enrolment(elsewhere)
    expect(await codeOf(enrol(gateway.authority, { token, publicKey, host, nowMs: NOW_MS }))).toBe('TOKEN_ISSUER')
  })
})
