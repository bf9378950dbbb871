// The methods about who may do what: sessions, agents, tokens, enrolments, signing keys and the audit log.
import * as v from 'valibot'
import { PERSON_ROLES, ROLES, SUBJECT_CHARS_MAX } from './claims.ts'
import { AUDIT_SEARCH_CHARS_MAX, LOGIN_CODE_CHARS_MAX, PUBLIC_KEY_CHARS_MAX, TOKEN_CHARS_MAX } from './limits.ts'
import { progress } from './maintenance.ts'
import { AGENT, audited, ISSUERS, none, OWNER, plain, PLATFORM, streamOf } from './method.ts'
import * as s from './schemas.ts'
import { relayed } from './views.ts'

const token = v.pipe(v.string(), v.maxLength(TOKEN_CHARS_MAX))
const publicKey = v.pipe(v.string(), v.maxLength(PUBLIC_KEY_CHARS_MAX))

/** An agent that is connected. */
const agentLink = v.object({
  /** Name and version, as `varve-agent/0.1.0`. */
  program: v.string(),
  sinceMs: s.timeMs,
  /** How long it took to answer a ping, in milliseconds, a minute ago at most; null while none was answered yet. */
  lagMs: v.nullable(s.count),
  /** How far its clock was ahead of the gateway's at its last backup, in milliseconds; null while that is not known. */
  skewMs: v.nullable(v.pipe(v.number(), v.safeInteger())),
  /** How many machines it serves; null until it has said so. */
  machines: v.nullable(s.count),
  /** QMP commands that people may send through it; null where it does not say. */
  relay: v.nullable(relayed),
})
export type AgentLink = Readonly<v.InferOutput<typeof agentLink>>

const ofTenant = v.optional(v.nullable(s.name))

export const IDENTITY_METHODS = {
  'session.renew': { ...plain, roles: AGENT, params: v.object({ token }), result: v.object({ expiresMs: s.timeMs }) },
  'agents.list': {
    ...plain,
    roles: ['owner', 'operator', 'auditor'],
    params: v.object({
      /** Just the one that enrolled with this token; none while it was not used. Nil for all. */
      enrolment: v.optional(v.nullable(s.uuid), null),
      ...s.page,
    }),
    result: v.object({
      agents: s.rows(
        v.object({
          id: s.uuid,
          host: v.string(),
          enrolledMs: s.timeMs,
          /** When it was last connected, or seen to be so; null for never. */
          seenMs: v.nullable(s.timeMs),
          revokedMs: v.nullable(s.timeMs),
          online: v.boolean(),
          /** Agents of one site hand machines over to one another. */
          site: v.nullable(s.name),
          /** What its connection says of it; null while it is not connected. */
          link: v.nullable(agentLink),
        }),
      ),
      next: s.next,
    }),
  },
  'agents.revoke': {
    ...audited,
    roles: OWNER,
    params: v.object({ agent: s.uuid }),
    result: v.object({ host: v.string(), revokedMs: s.timeMs }),
  },
  'agents.setSite': {
    ...audited,
    roles: OWNER,
    params: v.object({
      agent: s.uuid,
      /** Nil takes the agent out of its site. */
      site: v.nullable(s.name),
    }),
    /** `changed`: the agent was not in it already. */
    result: v.object({ host: v.string(), changed: v.boolean() }),
  },
  'agents.rotateKey': {
    ...audited,
    roles: AGENT,
    params: v.object({
      /** The new Ed25519 key: 32 bytes in base64url. */
      publicKey,
    }),
    result: none,
  },
  'tokens.issue': {
    ...audited,
    roles: ISSUERS,
    params: v.object({
      /** Named by the platform; absent, the session's own. Nil, for the platform: a token of its own. */
      tenant: ofTenant,
      subject: v.pipe(v.string(), v.minLength(1), v.maxLength(SUBJECT_CHARS_MAX)),
      role: v.picklist(PERSON_ROLES),
      ttlMs: s.count,
    }),
    result: v.object({ token, id: s.uuid, expiresMs: s.timeMs }),
  },
  'login.issue': {
    ...audited,
    roles: ISSUERS,
    params: v.object({
      /** Named by the platform; absent, the session's own. Nil, for the platform: a code of its own. */
      tenant: ofTenant,
      subject: v.pipe(v.string(), v.minLength(1), v.maxLength(SUBJECT_CHARS_MAX)),
      role: v.picklist(PERSON_ROLES),
      /** Life of the token that the code becomes. */
      ttlMs: s.count,
    }),
    result: v.object({
      code: v.pipe(v.string(), v.maxLength(LOGIN_CODE_CHARS_MAX)),
      /** Of the code. */
      expiresMs: s.timeMs,
      /** Where the gateway listens, as the address of a page; null where no port is open. */
      address: v.nullable(v.string()),
    }),
  },
  'tokens.list': {
    ...plain,
    roles: ['owner', 'auditor', 'platform'],
    params: v.object({
      /** Named by the platform; absent, the session's own. Nil, for the platform: its own tokens. */
      tenant: ofTenant,
      ...s.page,
    }),
    result: v.object({
      tokens: s.rows(
        v.object({
          id: s.uuid,
          subject: v.string(),
          role: v.picklist(ROLES),
          createdMs: s.timeMs,
          expiresMs: s.timeMs,
          revokedMs: v.nullable(s.timeMs),
        }),
      ),
      next: s.next,
    }),
  },
  'tokens.revoke': {
    ...audited,
    roles: ISSUERS,
    params: v.object({
      /** Its id, as the list has it. */
      token: s.uuid,
    }),
    result: v.object({ subject: v.string(), revokedMs: s.timeMs }),
  },
  'enrolments.issue': {
    ...audited,
    roles: ISSUERS,
    params: v.object({
      /** Named by the platform; absent, the session's own. */
      tenant: v.optional(s.name),
      ttlMs: s.count,
    }),
    result: v.object({
      token,
      id: s.uuid,
      expiresMs: s.timeMs,
      /** What the gateway shows its callers, in PEM, where that signed itself: the agent's `ca`. Nil where no agent needs it. */
      certificate: v.nullable(v.string()),
    }),
  },
  'keys.list': {
    ...plain,
    roles: PLATFORM,
    params: none,
    result: v.object({
      keys: s.rows(
        v.object({
          id: v.string(),
          createdMs: s.timeMs,
          /** Until when tokens that it signed are good; null for the one that signs now. */
          endsMs: v.nullable(s.timeMs),
        }),
      ),
    }),
  },
  'keys.rotate': { ...audited, roles: PLATFORM, params: none, result: v.object({ key: v.string() }) },
  'audit.list': {
    ...plain,
    // the platform reads what belongs to no tenant
    roles: ['owner', 'auditor', 'platform'],
    params: v.object({
      /** The newest first; absent, the oldest. */
      newest: v.optional(v.boolean(), false),
      /** Text that who, action, resource, outcome or details contain, whatever its case; nil for all. */
      contains: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(AUDIT_SEARCH_CHARS_MAX))), null),
      /** Just what was not done: an outcome that is neither `ok` nor `begun`. */
      failed: v.optional(v.boolean(), false),
      ...s.page,
    }),
    /** A search looks at so many entries a call at most: a page may end early, or be empty, with more behind it. */
    result: v.object({
      /** What the gateway's last check of the whole log found; nil while it made none. */
      chain: v.nullable(v.object({ checkedMs: s.timeMs, whole: v.boolean() })),
      entries: s.rows(
        v.object({
          /** Numbered within the tenant. */
          seq: s.count,
          timeMs: s.timeMs,
          subject: v.string(),
          role: v.string(),
          /** A method's name. */
          action: v.string(),
          /** What it was about, such as `machine=db1`. */
          resource: v.string(),
          /** `ok`, `begun` or an error's code. */
          outcome: v.string(),
          /** JSON text. */
          details: v.string(),
        }),
      ),
      next: s.next,
    }),
  },
  'audit.check': {
    ...audited,
    roles: PLATFORM,
    params: none,
    result: v.object({
      /** Those that are as they were written, from the first one on. */
      entries: s.count,
      /** Number of the first entry that is missing, edited or added beside the log; null where all are as written. */
      brokenSeq: v.nullable(s.count),
    }),
    down: streamOf(progress),
  },
} as const
