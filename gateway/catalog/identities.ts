// Agents, enrolments and issued tokens.
import type { Role } from '../../protocol/claims.ts'
import type { None, Question, Transaction } from './call.ts'

/** Most ids of each kind that one check takes. */
export const IDENTITIES_CHECK_MAX = 10_000

/** Most agents of a site that are asked for a machine. */
export const SITE_AGENTS_MAX = 1024

export interface AgentRecord {
  readonly id: string
  readonly tenant: string
  readonly tenantName: string
  readonly host: string
  /** The 32 bytes of an Ed25519 public key in base64url. */
  readonly publicKey: string
  readonly enrolledMs: number
  readonly revokedMs: number | null
  readonly seenMs: number | null
  /** Agents of one site hand machines over to one another; null for none. */
  readonly site: string | null
}

/** The tenant is null for a token that belongs to none. */
export interface TokenRecord {
  readonly id: string
  readonly tenant: string | null
  readonly tenantName: string | null
  readonly subject: string
  readonly role: Role
  readonly createdMs: number
  readonly expiresMs: number
  readonly revokedMs: number | null
}

/** What both kinds of revocation name: the row, and the tenant it must belong to; null for a token that belongs to none. */
export interface Revocation<T extends string | null = string> {
  readonly tenant: T
  readonly id: string
  readonly nowMs: number
}

export interface IdentitiesAsked<T extends string | null> {
  readonly tenant: T
  /** The last id of the page before; null for the first page. */
  readonly after: string | null
  readonly limit: number
}

export interface Enrolment {
  readonly enrolment: string
  readonly agent: string
  readonly host: string
  readonly publicKey: string
  readonly nowMs: number
}

export interface Enrolments {
  readonly add: Transaction<{ id: string; tenant: string; nowMs: number; expiresMs: number }, void>

  /** The tenant of an enrolment token, or null where it is not known. */
  readonly tenant: Question<{ id: string }, string | null>
}

export interface Agents {
  /** Marks the enrolment used and adds the agent; ENROLMENT_USED, TOKEN_EXPIRED, or TOKEN_REVOKED where it is unknown. */
  readonly enrol: Transaction<Enrolment, AgentRecord>

  readonly byId: Question<{ id: string }, AgentRecord | null>

  /** Agents of a tenant in the order of their ids, behind one id; only that of an enrolment, where one is named. */
  readonly list: Question<IdentitiesAsked<string> & { readonly enrolment?: string | null }, AgentRecord[]>

  /** Replaces the agent's key: assertions signed with the old one are refused from now on. */
  readonly rotateKey: Transaction<{ id: string; publicKey: string }, void>

  /**
   * Puts an agent into a site, or, for null, out of its own; `changed` is false where it was there already. NOT_FOUND for another
   * tenant's, AGENT_REVOKED.
   */
  readonly setSite: Transaction<{ tenant: string; id: string; site: string | null }, { host: string; changed: boolean }>

  /** Other agents of the agent's site that are not revoked, by their ids, SITE_AGENTS_MAX at most; none without a site. */
  readonly mates: Question<{ tenant: string; id: string }, { id: string; host: string }[]>

  readonly seen: Transaction<{ id: string; nowMs: number }, void>

  /** Permanent and idempotent, also takes the agent out of its site; NOT_FOUND for another tenant's. */
  readonly revoke: Transaction<Revocation, AgentRecord>
}

export interface Tokens {
  readonly add: Transaction<
    {
      id: string
      tenant: string | null
      subject: string
      role: Role
      nowMs: number
      expiresMs: number
    },
    void
  >

  readonly byId: Question<{ id: string }, TokenRecord | null>

  /** Tokens of a tenant, or (for null) of none, in the order of their ids, behind one id. */
  readonly list: Question<IdentitiesAsked<string | null>, TokenRecord[]>

  /** Permanent and idempotent; NOT_FOUND for another tenant's. */
  readonly revoke: Transaction<Revocation<string | null>, TokenRecord>
}

export interface Identities {
  /** Whether there is any agent or token. */
  readonly any: Question<None, boolean>

  /** Of the ids given, those that are revoked or gone, so that a running gateway can end their sessions. */
  readonly check: Question<
    { agents: readonly string[]; tokens: readonly string[] },
    { agents: string[]; tokens: string[] }
  >
}
