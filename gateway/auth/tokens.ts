// Issues tokens to people and one-time enrolment tokens to hosts, and exchanges the latter for an agent's identity.
import type { Tenant } from '../catalog/tenants.ts'
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
import { TOKEN_LIFE_MAX_MS } from '../../protocol/limits.ts'
import { unaudited, type Change } from '../catalog/change.ts'
import type { Authority } from './authority.ts'
import { parseJwt, TokenRefused } from './jwt.ts'
import { importPublicKey } from './keys.ts'
import { checkAudience, checkGatewaySignature, checkTimes, parsePayload } from './bearer.ts'

/** Longest life of an enrolment token, in milliseconds. */
export const ENROLMENT_TTL_MAX_MS = 7 * DAY_MS

/** Shortest life of a token of either kind, in milliseconds. */
export const TTL_MIN_MS = 1000

/** Longest name of a host, in characters. */
export const HOST_CHARS_MAX = 255

/** The subject of sessions over the local socket or on the data folder of a stopped gateway. */
export const LOCAL_ADMINISTRATOR = { subject: 'local-administrator', role: 'platform' } as const

interface Issue {
  readonly tenant: Pick<Tenant, 'id'>
  readonly ttlMs: number
  readonly nowMs: number
}

interface TokenIssue extends Omit<Issue, 'tenant'> {
  /** Null for the role `platform`, and for no other. */
  readonly tenant: Issue['tenant'] | null
  readonly subject: string
  readonly role: Role
}

/** A token that was just issued: its bearer acts as its subject, so it is shown once and stored nowhere. */
export interface Issued {
  readonly token: string
  readonly id: string
  readonly expiresMs: number
}

/** What an agent receives for its enrolment token. */
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
  claims: { readonly iss: string; readonly aud: string; readonly [name: string]: string | number | null },
): Promise<string> => {
  const { kid, privateKey } = authority.keys.newest
  return new SignJWT(claims).setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: type, kid }).sign(privateKey)
}

/** From and to in whole seconds; the end is rounded up, so that a life of one second is one. */
const lifeOf = (nowMs: number, ttlMs: number): { iat: number; exp: number } => ({
  iat: Math.floor(nowMs / 1000),
  exp: Math.ceil((nowMs + ttlMs) / 1000),
})

/** Whether such a token may be issued; PARAMS_INVALID. */
export const checkTokenIssue = ({ tenant, subject, role, ttlMs }: Omit<TokenIssue, 'nowMs'>): void => {
  checkTtl(ttlMs, TOKEN_LIFE_MAX_MS)
  if (role === 'agent') throw new VarveError('PARAMS_INVALID', 'an agent enrols; it is not issued a token')
  if ((role === 'platform') !== (tenant === null))
    throw new VarveError(
      'PARAMS_INVALID',
      tenant === null
        ? `a token of the role ${role} belongs to a tenant: name the tenant`
        : 'a token of the role platform belongs to no tenant: name none',
    )
  if (!printable(subject, SUBJECT_CHARS_MAX))
    throw new VarveError('PARAMS_INVALID', `a subject has 1 to ${SUBJECT_CHARS_MAX} printable characters`)
}

/** A token for a person or a program; any role but `agent`, which enrols. TTL_MIN_MS to TOKEN_LIFE_MAX_MS. PARAMS_INVALID. */
export const issueToken = async (
  authority: Authority,
  { tenant, subject, role, ttlMs, nowMs }: TokenIssue,
  change: Change = unaudited,
): Promise<Issued> => {
  checkTokenIssue({ tenant, subject, role, ttlMs })
  const { issuer, catalog } = authority
  const id = randomUUID()
  const life = lifeOf(nowMs, ttlMs)
  const expiresMs = life.exp * 1000
  const row = { id, tenant: tenant?.id ?? null, subject, role, nowMs, expiresMs }
  const about = { tenant: row.tenant, details: { token: id, expiresMs } }
  await change((entry) => catalog.tokens.add(row, entry), about)
  const claims = { iss: issuer, aud: issuer, sub: subject, jti: id, tenant: tenant?.id ?? null, role, ...life }
  return { token: await sign(authority, TOKEN_TYPE.person, claims), id, expiresMs }
}

/** A token that enrols one agent of the tenant, once. TTL_MIN_MS to ENROLMENT_TTL_MAX_MS. PARAMS_INVALID. */
export const issueEnrolment = async (
  authority: Authority,
  { tenant, ttlMs, nowMs }: Issue,
  change: Change = unaudited,
): Promise<Issued> => {
  checkTtl(ttlMs, ENROLMENT_TTL_MAX_MS)
  const { issuer, catalog } = authority
  const id = randomUUID()
  const life = lifeOf(nowMs, ttlMs)
  const expiresMs = life.exp * 1000
  const about = { tenant: tenant.id, details: { enrolment: id, expiresMs } }
  await change((entry) => catalog.enrolments.add({ id, tenant: tenant.id, nowMs, expiresMs }, entry), about)
  const claims = { iss: issuer, aud: enrolmentAudience(issuer), jti: id, tenant: tenant.id, ...life }
  return { token: await sign(authority, TOKEN_TYPE.enrolment, claims), id, expiresMs }
}

/** Checks that it is an Ed25519 key: 32 bytes in base64url; PARAMS_INVALID. */
export const checkPublicKey = async (publicKey: string): Promise<void> => {
  const bytes = Buffer.from(publicKey, 'base64url')
  const good = bytes.length === 32 && bytes.toString('base64url') === publicKey
  if (!good) throw new VarveError('PARAMS_INVALID', 'a public key is 32 bytes in base64url')
  await importPublicKey(publicKey)
}

/**
 * Enrols the host that holds an enrolment token as an agent; `publicKey` is its Ed25519 key, 32 bytes in base64url.
 * The TOKEN_ codes of any token, ENROLMENT_USED, PARAMS_INVALID.
 */
export const enrol = async (
  authority: Authority,
  request: {
    readonly token: string
    readonly publicKey: string
    readonly host: string
    readonly nowMs: number
    /** Of the host, for the audit log. */
    readonly address?: string
  },
): Promise<Enrolled> => {
  const { token, publicKey, host, nowMs, address = '' } = request
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
    const id = randomUUID()
    const about = { subject: id, role: 'agent', action: 'agents.enrol', resource: `agent=${id}`, outcome: 'ok' }
    const entry = { timeMs: nowMs, tenant: tenantId, ...about, details: { host, enrolment, address } }
    const agent = await catalog.agents.enrol({ enrolment, agent: id, host, publicKey, nowMs }, entry)
    return { agentId: agent.id, issuer, tenant: agent.tenant, tenantName: agent.tenantName }
  } catch (thrown) {
    // a second use concerns the tenant: the audit log needs to know whose token it was
    const { code, message } = asVarveError(thrown)
    if (code === 'ENROLMENT_USED') throw new TokenRefused(code, message, bearer)
    throw thrown
  }
}
