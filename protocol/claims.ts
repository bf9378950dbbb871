// Who is calling: roles, the claims that a checked token gives, and the payloads of the three kinds of token.
import * as v from 'valibot'

export const ROLES = ['owner', 'operator', 'viewer', 'auditor', 'agent', 'platform'] as const
export type Role = (typeof ROLES)[number]

/** Roles of people and programs, who are issued tokens; an agent enrols. */
export const PERSON_ROLES = ROLES.filter((role) => role !== 'agent')

export type PersonRole = (typeof PERSON_ROLES)[number]

export const isRole = (text: string): text is Role => (ROLES as readonly string[]).includes(text)

/** Media types in a token's protected header: one per kind, so that none passes for another. */
export const TOKEN_TYPE = { person: 'varve+jwt', enrolment: 'varve-enrol+jwt', agent: 'varve-agent+jwt' } as const

/** The only signature algorithm: Ed25519 (RFC 8037). */
export const TOKEN_ALGORITHM = 'EdDSA'

/** Longest subject of a person's token, in characters. */
export const SUBJECT_CHARS_MAX = 256

/** Life of an assertion that an agent signs, in seconds. */
export const ASSERTION_LIFE_S = 5 * 60

/** How far ahead of the gateway's clock an assertion may end, in seconds. */
export const ASSERTION_LIFE_MAX_S = 10 * 60

/** How far a peer's clock may be ahead when it says when a token begins, in seconds; expiry has no such grace. */
export const CLOCK_SKEW_S = 30

/** In place of a token's id for who came over the gateway's local socket: there is nothing to revoke. */
export const NO_TOKEN = ''

/** What is known of a caller once its token was checked. */
export interface Claims {
  readonly issuer: string
  readonly audience: string
  /** The tenant's uuid; null for the platform, which belongs to none. */
  readonly tenant: string | null
  readonly tenantName: string | null
  /** A person's name, or the agent's id. */
  readonly subject: string
  readonly role: Role
  /** Seconds since 1970; the claims hold before it. */
  readonly expiresAt: number
  /** NO_TOKEN where none was asked for. */
  readonly tokenId: string
}

/** Audience of an enrolment token of the gateway with this issuer name. */
export const enrolmentAudience = (issuer: string): string => `${issuer}:enrol`

const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const uuid = v.pipe(v.string(), v.uuid())
const times = { iat: seconds, exp: seconds, nbf: v.optional(seconds) }

/** Payload of a token that the gateway issued to a person or a program. */
export const personPayloadSchema = v.object({
  iss: v.string(),
  aud: v.string(),
  sub: v.pipe(v.string(), v.minLength(1), v.maxLength(SUBJECT_CHARS_MAX)),
  jti: uuid,
  tenant: v.nullable(uuid),
  role: v.picklist(PERSON_ROLES),
  ...times,
})
export type PersonPayload = v.InferOutput<typeof personPayloadSchema>

/** Payload of a one-time enrolment token. */
export const enrolmentPayloadSchema = v.object({ iss: v.string(), aud: v.string(), jti: uuid, tenant: uuid, ...times })
export type EnrolmentPayload = v.InferOutput<typeof enrolmentPayloadSchema>

/** Payload of an assertion that an agent signs with its own key; issuer and subject are the agent's id. */
export const assertionPayloadSchema = v.object({ iss: uuid, aud: v.string(), sub: uuid, jti: uuid, ...times })
export type AssertionPayload = v.InferOutput<typeof assertionPayloadSchema>
