// Checks the token that a caller presents: a person's by the gateway's keys, an agent's by the key it enrolled with.
import * as v from 'valibot'
import {
  ASSERTION_LIFE_MAX_S,
  assertionPayloadSchema,
  CLOCK_SKEW_S,
  personPayloadSchema,
  TOKEN_TYPE,
  type Claims,
} from '../../protocol/claims.ts'
import type { Authority } from './authority.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { checkSignature, parseJwt, TokenRefused, type Jwt } from './jwt.ts'
import { importPublicKey } from './keys.ts'

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u

interface Times {
  readonly iat: number
  readonly exp: number
  readonly nbf?: number | undefined
}

type Bearer = TokenRefused['bearer']

/** TOKEN_NOT_YET_VALID or TOKEN_EXPIRED; the sender's clock may be CLOCK_SKEW_S ahead. */
export const checkTimes = ({ iat, exp, nbf }: Times, nowMs: number, bearer: Bearer = null): void => {
  const aheadMs = Math.max(iat, nbf ?? 0) * 1000 - nowMs
  if (aheadMs > CLOCK_SKEW_S * 1000) {
    const clock = `it begins ${durationText(aheadMs)} from now by the gateway's clock`
    throw new TokenRefused('TOKEN_NOT_YET_VALID', `the token is not valid yet: ${clock}; set the clocks right`, bearer)
  }
  if (exp * 1000 > nowMs) return
  const ago = durationText(nowMs - exp * 1000)
  throw new TokenRefused('TOKEN_EXPIRED', `the token expired ${ago} ago by the gateway's clock`, bearer)
}

/** TOKEN_AUDIENCE. */
export const checkAudience = ({ payload }: Jwt, audience: string, bearer: Bearer = null): void => {
  if (payload['aud'] !== audience)
    throw new TokenRefused('TOKEN_AUDIENCE', 'the token is meant for another use', bearer)
}

/** The payload in its checked shape; TOKEN_CLAIMS. */
export const parsePayload = <S extends v.GenericSchema>(schema: S, { payload }: Jwt): v.InferOutput<S> => {
  const result = v.safeParse(schema, payload)
  if (!result.success) throw new TokenRefused('TOKEN_CLAIMS', 'the token lacks a claim, or has an invalid one')
  return result.output
}

/** Checks that this gateway signed it: TOKEN_ISSUER, TOKEN_KEY_UNKNOWN, TOKEN_SIGNATURE. */
export const checkGatewaySignature = async (authority: Authority, jwt: Jwt, nowMs: number): Promise<void> => {
  // not trusted yet, but it explains the error to a person with another gateway's token
  if (jwt.payload['iss'] !== authority.issuer)
    throw new TokenRefused('TOKEN_ISSUER', 'the token was issued by another gateway')
  const key = jwt.keyId === null ? null : await authority.keys.verifier(jwt.keyId, nowMs)
  if (key === null)
    throw new TokenRefused('TOKEN_KEY_UNKNOWN', 'the token was signed with a key that is not known here')
  await checkSignature(jwt, key)
}

const verifyPerson = async (authority: Authority, jwt: Jwt, nowMs: number): Promise<Claims> => {
  await checkGatewaySignature(authority, jwt, nowMs)
  const issued = typeof jwt.payload['jti'] === 'string' ? jwt.payload['jti'] : ''
  const row = await authority.catalog.tokens.byId({ id: issued })
  const bearer = row === null ? null : { tenantId: row.tenant, subject: row.subject, role: row.role }
  checkAudience(jwt, authority.issuer, bearer)
  const payload = parsePayload(personPayloadSchema, jwt)
  checkTimes(payload, nowMs, bearer)
  if (row === null || row.revokedMs !== null) throw new TokenRefused('TOKEN_REVOKED', 'the token was revoked', bearer)
  if (row.tenant !== payload.tenant || row.role !== payload.role || row.subject !== payload.sub)
    throw new TokenRefused('TOKEN_CLAIMS', 'the claims of the token are not those that were issued', bearer)
  return {
    issuer: payload.iss,
    audience: payload.aud,
    tenant: payload.tenant,
    tenantName: row.tenantName,
    subject: payload.sub,
    role: payload.role,
    expiresAt: payload.exp,
    tokenId: payload.jti,
  }
}

const verifyAgent = async (authority: Authority, jwt: Jwt, nowMs: number): Promise<Claims> => {
  const { iss } = jwt.payload
  if (typeof iss !== 'string' || !UUID.test(iss))
    throw new TokenRefused('TOKEN_ISSUER', 'an assertion must name its agent as issuer')
  const agent = await authority.catalog.agents.byId({ id: iss })
  if (agent === null) throw new TokenRefused('TOKEN_KEY_UNKNOWN', 'the agent is not enrolled here')
  await checkSignature(jwt, await importPublicKey(agent.publicKey))
  const bearer = { tenantId: agent.tenant, subject: agent.id, role: 'agent' }
  if (agent.revokedMs !== null) throw new TokenRefused('AGENT_REVOKED', 'the agent was revoked', bearer)
  checkAudience(jwt, authority.issuer, bearer)
  const payload = parsePayload(assertionPayloadSchema, jwt)
  checkTimes(payload, nowMs, bearer)
  if (payload.sub !== agent.id || payload.exp * 1000 > nowMs + ASSERTION_LIFE_MAX_S * 1000)
    throw new TokenRefused('TOKEN_CLAIMS', 'an assertion must be the agent’s own and short-lived', bearer)
  return {
    issuer: payload.iss,
    audience: payload.aud,
    tenant: agent.tenant,
    tenantName: agent.tenantName,
    subject: agent.id,
    role: 'agent',
    expiresAt: payload.exp,
    tokenId: payload.jti,
  }
}

/** The claims of a valid token; each defect has its own TOKEN_ code, or AGENT_REVOKED. */
export const verifyBearer = async (authority: Authority, text: string, nowMs: number): Promise<Claims> => {
  const jwt = parseJwt(text)
  if (jwt.type === TOKEN_TYPE.person) return verifyPerson(authority, jwt, nowMs)
  if (jwt.type === TOKEN_TYPE.agent) return verifyAgent(authority, jwt, nowMs)
  throw new TokenRefused('TOKEN_CLAIMS', 'a token of this kind does not open a connection')
}
