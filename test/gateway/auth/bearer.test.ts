// Every way for a bearer token to be bad has a code of its own; good ones give the claims that were issued.
import { createPrivateKey, generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { enrol, issueEnrolment, issueToken } from '../../../gateway/auth/tokens.ts'
import { verifyBearer } from '../../../gateway/auth/bearer.ts'
import { ASSERTION_LIFE_MAX_S, CLOCK_SKEW_S } from '../../../protocol/claims.ts'
import { codeOf, decodePart, forge, NOW_MS, testAuthority, type TestAuthority } from './test-authority.ts'

const NOW_S = NOW_MS / 1000
const LIFE_MS = 3_600_000

type Parts = Record<string, unknown>

const ownKey = async ({ folder }: TestAuthority): Promise<KeyObject> => {
  const [name = ''] = await readdir(path.join(folder, 'keys'))
  const jwk = JSON.parse(await readFile(path.join(folder, 'keys', name), 'utf8')) as Record<string, string>
  return createPrivateKey({ key: { kty: 'OKP', crv: 'Ed25519', x: jwk['x'] ?? '', d: jwk['d'] ?? '' }, format: 'jwk' })
}

const personToken = async ({ authority, acme }: TestAuthority): Promise<string> => {
  const request = { tenant: acme, subject: 'ann', role: 'operator', ttlMs: LIFE_MS, nowMs: NOW_MS } as const
  return (await issueToken(authority, request)).token
}

const codeAt = ({ authority }: TestAuthority, token: string, nowMs = NOW_MS): Promise<string> =>
  codeOf(verifyBearer(authority, token, nowMs))

describe('a person’s token', () => {
  test.each<[string, string, Parts, Parts]>([
    ['another issuer', 'TOKEN_ISSUER', {}, { iss: 'varve:00000000-0000-4000-8000-000000000000' }],
    ['no issuer', 'TOKEN_ISSUER', {}, { iss: undefined }],
    ['another audience', 'TOKEN_AUDIENCE', {}, { aud: 'varve:elsewhere' }],
    ['a list of audiences', 'TOKEN_AUDIENCE', {}, { aud: ['varve:elsewhere'] }],
    ['an unknown key', 'TOKEN_KEY_UNKNOWN', { kid: 'unknown' }, {}],
    ['a key outside the folder', 'TOKEN_KEY_UNKNOWN', { kid: '../../catalog' }, {}],
    ['no key', 'TOKEN_KEY_UNKNOWN', { kid: undefined }, {}],
    ['an unknown type', 'TOKEN_CLAIMS', { typ: 'JWT' }, {}],
    ['the type of an enrolment', 'TOKEN_CLAIMS', { typ: 'varve-enrol+jwt' }, {}],
    ['the type of an agent', 'TOKEN_ISSUER', { typ: 'varve-agent+jwt' }, {}],
    ['expired', 'TOKEN_EXPIRED', {}, { exp: NOW_S }],
    ['issued in the future', 'TOKEN_NOT_YET_VALID', {}, { iat: NOW_S + CLOCK_SKEW_S + 1 }],
    ['not before later', 'TOKEN_NOT_YET_VALID', {}, { nbf: NOW_S + CLOCK_SKEW_S + 1 }],
    ['no expiry', 'TOKEN_CLAIMS', {}, { exp: undefined }],
    ['an expiry as text', 'TOKEN_CLAIMS', {}, { exp: String(NOW_S + 60) }],
    ['no id', 'TOKEN_CLAIMS', {}, { jti: undefined }],
    ['an id that was never issued', 'TOKEN_REVOKED', {}, { jti: randomUUID() }],
    ['a higher role than was issued', 'TOKEN_CLAIMS', {}, { role: 'owner' }],
    ['the role of an agent', 'TOKEN_CLAIMS', {}, { role: 'agent' }],
    ['another subject than was issued', 'TOKEN_CLAIMS', {}, { sub: 'bob' }],
    ['another tenant than was issued', 'TOKEN_CLAIMS', {}, { tenant: randomUUID() }],
    ['nothing changed', 'none', {}, {}],
    ['a clock a little behind', 'none', {}, { iat: NOW_S + CLOCK_SKEW_S, nbf: NOW_S + CLOCK_SKEW_S }],
    ['expiring in a second', 'none', {}, { exp: NOW_S + 1 }],
  ])('signed by the gateway’s key, with %s: %s', async (_, code, header, payload) => {
    await using gateway = await testAuthority()
    const token = await personToken(gateway)
    const key = await ownKey(gateway)
    const forged = forge({ ...decodePart(token, 0), ...header }, { ...decodePart(token, 1), ...payload }, key)
    expect(await codeAt(gateway, forged)).toBe(code)
  })

  test('a forged signature', async () => {
    await using gateway = await testAuthority()
    const token = await personToken(gateway)
    const { privateKey } = generateKeyPairSync('ed25519')
    expect(await codeAt(gateway, forge(decodePart(token, 0), decodePart(token, 1), privateKey))).toBe('TOKEN_SIGNATURE')
  })

  test('the moment of its expiry', async () => {
    await using gateway = await testAuthority()
    const token = await personToken(gateway)
    expect(await codeAt(gateway, token, NOW_MS + LIFE_MS - 1)).toBe('none')
    expect(await codeAt(gateway, token, NOW_MS + LIFE_MS)).toBe('TOKEN_EXPIRED')
  })

  test('another gateway’s token, and one that claims to be this gateway’s', async () => {
    await using gateway = await testAuthority()
    await using elsewhere = await testAuthority()
    const token = await personToken(elsewhere)
    expect(await codeAt(gateway, token)).toBe('TOKEN_ISSUER')
    const renamed = { ...decodePart(token, 1), iss: gateway.authority.issuer, aud: gateway.authority.issuer }
    const key = await ownKey(elsewhere)
    expect(await codeAt(gateway, forge(decodePart(token, 0), renamed, key))).toBe('TOKEN_KEY_UNKNOWN')
    const header = { ...decodePart(token, 0), kid: gateway.authority.keys.newest.kid }
    expect(await codeAt(gateway, forge(header, renamed, key))).toBe('TOKEN_SIGNATURE')
  })

  test('revoked, and only that one', async () => {
    await using gateway = await testAuthority()
    const { catalog, acme } = gateway
    const [one, two] = [await personToken(gateway), await personToken(gateway)]
    const id = String(decodePart(one, 1)['jti'])
    await catalog.tokens.revoke({ tenant: acme.id, id, nowMs: NOW_MS })
    expect(await codeAt(gateway, one)).toBe('TOKEN_REVOKED')
    expect(await codeAt(gateway, two)).toBe('none')
  })

  test('a rotation of the keys leaves issued tokens good', async () => {
    await using gateway = await testAuthority()
    const { authority } = gateway
    const before = await personToken(gateway)
    await authority.keys.rotate(NOW_MS + 1)
    const after = await personToken(gateway)
    expect(decodePart(after, 0)['kid']).not.toBe(decodePart(before, 0)['kid'])
    expect(await codeAt(gateway, before)).toBe('none')
    expect(await codeAt(gateway, after)).toBe('none')
  })

  test('a refusal names the bearer to the gateway only once the signature was good, and to the peer never', async () => {
    await using gateway = await testAuthority()
    const { authority, acme } = gateway
    const token = await personToken(gateway)
    const late = await verifyBearer(authority, token, NOW_MS + LIFE_MS).catch((error: unknown) => error)
    expect(late).toMatchObject({ bearer: { tenantId: acme.id, subject: 'ann', role: 'operator' }, details: {} })
    const forged = forge(decodePart(token, 0), decodePart(token, 1), generateKeyPairSync('ed25519').privateKey)
    const refused = await verifyBearer(authority, forged, NOW_MS).catch((error: unknown) => error)
    expect(refused).toMatchObject({ bearer: null, details: {} })
    for (const error of [late, refused]) expect(JSON.stringify(error) + String(error)).not.toContain(token.slice(0, 20))
  })
})

describe('an agent’s assertion', () => {
  const pair = generateKeyPairSync('ed25519')
  const publicKey = pair.publicKey.export({ format: 'jwk' }).x ?? ''
  const header = { alg: 'EdDSA', typ: 'varve-agent+jwt' }

  const enrolled = async (
    { authority, acme }: TestAuthority,
    key = publicKey,
  ): Promise<{ id: string; payload: Parts }> => {
    const { token } = await issueEnrolment(authority, { tenant: acme, ttlMs: LIFE_MS, nowMs: NOW_MS })
    const { agentId: id } = await enrol(authority, { token, publicKey: key, host: 'hv1', nowMs: NOW_MS })
    const times = { iat: NOW_S, exp: NOW_S + 300 }
    return { id, payload: { iss: id, sub: id, aud: authority.issuer, jti: randomUUID(), ...times } }
  }

  test('gives the agent’s claims', async () => {
    await using gateway = await testAuthority()
    const { id, payload } = await enrolled(gateway)
    const claims = await verifyBearer(gateway.authority, forge(header, payload, pair.privateKey), NOW_MS)
    expect(claims).toEqual({
      issuer: id,
      audience: gateway.authority.issuer,
      tenant: gateway.acme.id,
      tenantName: 'acme',
      subject: id,
      role: 'agent',
      expiresAt: NOW_S + 300,
      tokenId: payload['jti'],
    })
  })

  test.each<[string, string, Parts, Parts]>([
    ['an agent that is not enrolled', 'TOKEN_KEY_UNKNOWN', {}, { iss: randomUUID() }],
    ['an issuer that is no id', 'TOKEN_ISSUER', {}, { iss: 'varve:x' }],
    ['a list as issuer', 'TOKEN_ISSUER', {}, { iss: [randomUUID()] }],
    ['another subject', 'TOKEN_CLAIMS', {}, { sub: randomUUID() }],
    ['another audience', 'TOKEN_AUDIENCE', {}, { aud: 'varve:elsewhere' }],
    ['no audience', 'TOKEN_AUDIENCE', {}, { aud: undefined }],
    ['too long a life', 'TOKEN_CLAIMS', {}, { exp: NOW_S + ASSERTION_LIFE_MAX_S + 1 }],
    ['no expiry', 'TOKEN_CLAIMS', {}, { exp: undefined }],
    ['expired', 'TOKEN_EXPIRED', {}, { iat: NOW_S - 60, exp: NOW_S }],
    ['a clock far ahead', 'TOKEN_NOT_YET_VALID', {}, { iat: NOW_S + CLOCK_SKEW_S + 1 }],
    ['no id', 'TOKEN_CLAIMS', {}, { jti: undefined }],
    ['the type of a person’s token', 'TOKEN_ISSUER', { typ: 'varve+jwt' }, {}],
    ['a role of its own choice', 'none', {}, { role: 'owner', tenant: randomUUID() }],
    ['the longest life', 'none', {}, { exp: NOW_S + ASSERTION_LIFE_MAX_S }],
  ])('signed with its key, with %s: %s', async (_, code, head, change) => {
    await using gateway = await testAuthority()
    const { payload } = await enrolled(gateway)
    const token = forge({ ...header, ...head }, { ...payload, ...change }, pair.privateKey)
    expect(await codeAt(gateway, token)).toBe(code)
    if (code === 'none') expect((await verifyBearer(gateway.authority, token, NOW_MS)).role).toBe('agent')
  })

  test('one agent cannot speak for another', async () => {
    await using gateway = await testAuthority()
    const mine = generateKeyPairSync('ed25519')
    await enrolled(gateway, mine.publicKey.export({ format: 'jwk' }).x)
    const { payload } = await enrolled(gateway)
    expect(await codeAt(gateway, forge(header, payload, mine.privateKey))).toBe('TOKEN_SIGNATURE')
  })

  test('an agent cannot issue people’s tokens with its key', async () => {
    await using gateway = await testAuthority()
    const { id, payload } = await enrolled(gateway)
    const { authority, acme } = gateway
    const claims = { ...payload, iss: authority.issuer, tenant: acme.id, role: 'owner' }
    const token = forge({ alg: 'EdDSA', typ: 'varve+jwt', kid: id }, claims, pair.privateKey)
    expect(await codeAt(gateway, token)).toBe('TOKEN_KEY_UNKNOWN')
  })

  test('revoked: said only to who holds the key', async () => {
    await using gateway = await testAuthority()
    const { id, payload } = await enrolled(gateway)
    await gateway.catalog.agents.revoke({ tenant: gateway.acme.id, id, nowMs: NOW_MS })
    expect(await codeAt(gateway, forge(header, payload, pair.privateKey))).toBe('AGENT_REVOKED')
    const stranger = generateKeyPairSync('ed25519').privateKey
    expect(await codeAt(gateway, forge(header, payload, stranger))).toBe('TOKEN_SIGNATURE')
  })

  test('an assertion for one gateway does not open another', async () => {
    await using gateway = await testAuthority()
    await using elsewhere = await testAuthority()
    const { payload } = await enrolled(gateway)
    expect(await codeAt(elsewhere, forge(header, payload, pair.privateKey))).toBe('TOKEN_KEY_UNKNOWN')
  })
})
