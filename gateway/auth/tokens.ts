// Issues tokens to people and one-time enrolment tokens to hosts, and exchanges the latter for an agent's identity.
import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import {
  enrolmentAudience,
  enrolmentPayloadSchema,
  SUBJECT_CHARS_MAX,
  TOKEN_ALGORITHM,
  TOKEN_TYPE,
  type Role,
} from '../../protocol/claims.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { Actor } from '../catalog/sqlite/identities.ts'
import type { Tenant } from '../catalog/sqlite/tenants.ts'
import type { Authority } from './authority.ts'
import { parseJwt, TokenRefused } from './jwt.ts'
import { importPublicKey, KEY_KEEP_MS } from './keys.ts'
import { checkAudience, checkGatewaySignature, checkTimes, parsePayload } from './bearer.ts'

/** Life of a person's token unless its issuer chose another, in milliseconds. */
export const TOKEN_TTL_MS = 8 * 60 * 60 * 1000

/** Longest life of a person's token, in milliseconds: as long as the key that signed it is kept. */
export const TOKEN_TTL_MAX_MS = KEY_KEEP_MS

/** Life of an enrolment token unless its issuer chose another, in milliseconds. */
export const ENROLMENT_TTL_MS = 60 * 60 * 1000

/** Longest life of an enrolment token, in milliseconds. */
export const ENROLMENT_TTL_MAX_MS = 7 * DAY_MS

/** Shortest life of either, in milliseconds. */
export const TTL_MIN_MS = 1000

/** Longest name of a host, in characters. */
export const HOST_CHARS_MAX = 255

/** Who issues tokens by a command on the gateway's own machine. */
export const LOCAL_ADMINISTRATOR: Actor = { subject: 'local-administrator', role: 'platform' }

interface Issue {
  readonly tenant: Pick<Tenant, 'id' | 'uuid'>
  readonly ttlMs: number
  readonly nowMs: number
  readonly by: Actor
}

/** What an agent gets for its enrolment token. */
export interface Enrolled {
  readonly agentId: string
  readonly issuer: string
  /** The tenant's uuid. */
  readonly tenant: string
  readonly tenantName: string
}

const checkTtl = (ttlMs: number, maxMs: number): void => {
  if (!(ttlMs >= TTL_MIN_MS && ttlMs <= maxMs))
    throw new VarveError('PARAMS_INVALID', `the life of this token must be from 1s to ${maxMs / DAY_MS}d`)
}

const printable = (text: string, charsMax: number): boolean =>
  text.length > 0 && text.length <= charsMax && text.isWellFormed() && !/\p{Cc}/u.test(text)

const sign = (
  authority: Authority,
  type: string,
  claims: { readonly iss: string; readonly aud: string; readonly [name: string]: string | number },
): Promise<string> => {
  const { kid, privateKey } = authority.keys.newest
  return new SignJWT(claims).setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: type, kid }).sign(privateKey)
}

/** From and to in whole seconds; the end is rounded up, so that a life of one second is one. */
const lifeOf = (nowMs: number, ttlMs: number): { iat: number; exp: number } => ({
  iat: Math.floor(nowMs / 1000),
  exp: Math.ceil((nowMs + ttlMs) / 1000),
})

/** A token for a person or a program of the tenant; any role but `agent`. TTL_MIN_MS to TOKEN_TTL_MAX_MS. PARAMS_INVALID. */
export const issueToken = async (
  authority: Authority,
  request: Issue & { readonly subject: string; readonly role: Role },
): Promise<string> => {
  const { tenant, subject, role, ttlMs, nowMs, by } = request
  checkTtl(ttlMs, TOKEN_TTL_MAX_MS)
  if (role === 'agent') throw new VarveError('PARAMS_INVALID', 'an agent enrols; it is not issued a token')
  if (!printable(subject, SUBJECT_CHARS_MAX))
    throw new VarveError('PARAMS_INVALID', `a subject has 1 to ${SUBJECT_CHARS_MAX} printable characters`)
  const { issuer, catalog } = authority
  const id = randomUUID()
  const life = lifeOf(nowMs, ttlMs)
  await catalog.tokens.add({ id, tenant: tenant.id, subject, role, nowMs, expiresMs: life.exp * 1000, by })
  const claims = { iss: issuer, aud: issuer, sub: subject, jti: id, tenant: tenant.uuid, role, ...life }
  return sign(authority, TOKEN_TYPE.person, claims)
}

/** A token that enrols one agent of the tenant, once. TTL_MIN_MS to ENROLMENT_TTL_MAX_MS. PARAMS_INVALID. */
export const issueEnrolment = async (authority: Authority, request: Issue): Promise<string> => {
  const { tenant, ttlMs, nowMs, by } = request
  checkTtl(ttlMs, ENROLMENT_TTL_MAX_MS)
  const { issuer, catalog } = authority
  const id = randomUUID()
  const life = lifeOf(nowMs, ttlMs)
  await catalog.enrolments.add({ id, tenant: tenant.id, nowMs, expiresMs: life.exp * 1000, by })
  const claims = { iss: issuer, aud: enrolmentAudience(issuer), jti: id, tenant: tenant.uuid, ...life }
  return sign(authority, TOKEN_TYPE.enrolment, claims)
}

const checkPublicKey = async (publicKey: string): Promise<void> => {
  const bytes = Buffer.from(publicKey, 'base64url')
  const good = bytes.length === 32 && bytes.toString('base64url') === publicKey
  if (!good) throw new VarveError('PARAMS_INVALID', 'a public key is 32 bytes in base64url')
  await importPublicKey(publicKey)
}

/**
 * Makes an agent of the host that holds an enrolment token; `publicKey` is its Ed25519 key, 32 bytes in base64url.
 * The TOKEN_ codes of any token, ENROLMENT_USED, PARAMS_INVALID.
 */
export const enrol = async (
  authority: Authority,
  request: { readonly token: string; readonly publicKey: string; readonly host: string; readonly nowMs: number },
): Promise<Enrolled> => {
  const { token, publicKey, host, nowMs } = request
  const jwt = parseJwt(token)
  if (jwt.type !== TOKEN_TYPE.enrolment)
    throw new TokenRefused('TOKEN_CLAIMS', 'a token of this kind does not enrol an agent')
  await checkGatewaySignature(authority, jwt, nowMs)
  const { catalog, issuer } = authority
  const enrolment = typeof jwt.payload['jti'] === 'string' ? jwt.payload['jti'] : ''
  const tenantId = await catalog.enrolments.tenant({ id: enrolment })
  const bearer = tenantId === null ? null : { tenantId, subject: enrolment, role: 'agent' }
  checkAudience(jwt, enrolmentAudience(issuer), bearer)
  checkTimes(parsePayload(enrolmentPayloadSchema, jwt), nowMs, bearer)
  if (!printable(host, HOST_CHARS_MAX))
    throw new VarveError('PARAMS_INVALID', `a host's name has 1 to ${HOST_CHARS_MAX} printable characters`)
  await checkPublicKey(publicKey)
  try {
    const agent = await catalog.agents.enrol({ enrolment, agent: randomUUID(), host, publicKey, nowMs })
    return { agentId: agent.id, issuer, tenant: agent.tenantUuid, tenantName: agent.tenantName }
  } catch (thrown) {
    // a second use is the tenant's business: the audit log needs to know whose token it was
    const { code, message } = asVarveError(thrown)
    if (code === 'ENROLMENT_USED') throw new TokenRefused(code, message, bearer)
    throw thrown
  }
}
