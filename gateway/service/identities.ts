// Identities: renewal of sessions, agents, tokens, enrolments, signing keys and the audit log.
import type { Tenant } from '../catalog/tenants.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { IDENTITY_METHODS } from '../../protocol/identity-methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Audit } from '../auth/audit.ts'
import { notFound } from '../auth/authorise.ts'
import { rotateKeys, type Authority } from '../auth/authority.ts'
import { verifyBearer } from '../auth/bearer.ts'
import { TokenRefused } from '../auth/jwt.ts'
import type { LoginCodes } from '../auth/login-codes.ts'
import { checkPublicKey, checkTokenIssue, issueEnrolment, issueToken } from '../auth/tokens.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { ActionsOf, Actor } from './action.ts'
import { COUNT_KEY, cursorOf, keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'
import type { Skews } from '../jobs/skews.ts'
import { Progress } from '../maintenance/progress.ts'
import { NOTHING_NOTED } from '../scheduler/audit-check.ts'
import type { Sessions } from './sessions.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'agents' | 'audit' | 'tenants' | 'tokens' | 'upkeep'>
  readonly authority: Authority
  readonly audit: Pick<Audit, 'check' | 'guard'>
  readonly sessions: Pick<Sessions, 'endWhere' | 'link' | 'online' | 'renew'>
  readonly codes: Pick<LoginCodes, 'issue'>
  readonly skews: Pick<Skews, 'get'>
  /** Where the console is served; null where no port is open. */
  readonly address: () => string | null
  /** What agents must trust, in PEM; null where they need nothing. */
  readonly agentsCa: () => string | null
  readonly clock: Clock
}

type Identities = ActionsOf<keyof typeof IDENTITY_METHODS>

/** The tenant that a call is about: the actor's own, or, for the platform, the one named; null for none. NOT_FOUND. */
const tenantAsked = async (
  { catalog }: Pick<Uses, 'catalog'>,
  { tenant: own }: Actor,
  name: string | null | undefined,
): Promise<Tenant | null> => {
  if (own === null) return typeof name === 'string' ? catalog.tenants.named({ name }) : null
  if (name === undefined || name === own.name) return own
  throw notFound(`tenant "${name}"`)
}

const agentActions = ({
  catalog,
  sessions,
  skews,
  clock,
}: Uses): Pick<Identities, 'agents.list' | 'agents.revoke' | 'agents.rotateKey' | 'agents.setSite'> => ({
  'agents.list': {
    turn: 'listing',
    run: async ({ enrolment, after, limit }, { tenant }) => {
      const behind = keyBehind('agents.list', after, TEXT_KEY)?.[0] ?? null
      const asked = { tenant: tenant.id, enrolment, after: behind, limit: limit + 1 }
      const page = pageOf(await catalog.agents.list(asked), limit)
      const agents = page.rows.map(({ id, host, enrolledMs, seenMs, revokedMs, site }) => {
        const known = sessions.link(id)
        const link = known === null ? null : { ...known, skewMs: skews.get(id) }
        return { id, host, enrolledMs, seenMs, revokedMs, online: sessions.online(id), site, link }
      })
      return { agents, next: nextOf('agents.list', page, ({ id }) => [id]) }
    },
  },

  'agents.revoke': {
    run: async ({ agent }, { tenant, change }) => {
      const nowMs = clock.now()
      const revoked = await change((entry) => catalog.agents.revoke({ tenant: tenant.id, id: agent, nowMs }, entry))
      const error = new VarveError('AGENT_REVOKED', 'the agent was revoked')
      sessions.endWhere(error, ({ role, subject }) => role === 'agent' && subject === agent)
      return { host: revoked.host, revokedMs: revoked.revokedMs ?? nowMs }
    },
  },

  'agents.setSite': {
    details: ({ site }) => ({ site }),
    run: ({ agent, site }, { tenant, change }) =>
      change((entry) => catalog.agents.setSite({ tenant: tenant.id, id: agent, site }, entry)),
  },

  'agents.rotateKey': {
    run: async ({ publicKey }, { actor, change }) => {
      await checkPublicKey(publicKey)
      await change((entry) => catalog.agents.rotateKey({ id: actor.subject, publicKey }, entry))
      return {}
    },
  },
})

const tokenActions = (
  uses: Uses,
): Pick<Identities, 'enrolments.issue' | 'login.issue' | 'tokens.issue' | 'tokens.list' | 'tokens.revoke'> => ({
  'tokens.issue': {
    details: ({ subject, role, ttlMs }) => ({ subject, role, ttlMs }),
    run: async ({ tenant: name, subject, role, ttlMs }, { actor, change }) => {
      const tenant = await tenantAsked(uses, actor, name)
      return issueToken(uses.authority, { tenant, subject, role, ttlMs, nowMs: uses.clock.now() }, change)
    },
  },

  'login.issue': {
    details: ({ subject, role, ttlMs }) => ({ subject, role, ttlMs }),
    run: async ({ tenant: name, subject, role, ttlMs }, { actor }) => {
      const tenant = await tenantAsked(uses, actor, name)
      // whoever has the link made learns what is wrong with it, and not whoever opens it
      checkTokenIssue({ tenant, subject, role, ttlMs })
      const issuer = { issuedBy: actor.subject, issuerToken: actor.tokenId }
      const login = { tenantId: tenant?.id ?? null, subject, role, ttlMs, ...issuer }
      return { ...uses.codes.issue(login), address: uses.address() }
    },
  },

  'tokens.list': {
    turn: 'listing',
    run: async ({ tenant: name, after, limit }, { actor }) => {
      const tenant = await tenantAsked(uses, actor, name)
      const list = `tokens.list ${tenant?.name ?? ''}`
      const behind = keyBehind(list, after, TEXT_KEY)?.[0] ?? null
      const asked = { tenant: tenant?.id ?? null, after: behind, limit: limit + 1 }
      const page = pageOf(await uses.catalog.tokens.list(asked), limit)
      const tokens = page.rows.map((row) => {
        const { id, subject, role, createdMs, expiresMs, revokedMs } = row
        return { id, subject, role, createdMs, expiresMs, revokedMs }
      })
      return { tokens, next: nextOf(list, page, ({ id }) => [id]) }
    },
  },

  'tokens.revoke': {
    run: async ({ token: id }, { actor, change }) => {
      const { catalog, sessions, clock } = uses
      const found = await catalog.tokens.byId({ id })
      // the platform may revoke its own and all tenants' tokens, an owner only the tenant's
      if (found === null || (actor.tenant !== null && found.tenant !== actor.tenant.id)) throw notFound(`token ${id}`)
      const { tenant, subject } = found
      const nowMs = clock.now()
      const about = { tenant, details: { subject } }
      const revoked = await change((entry) => catalog.tokens.revoke({ tenant, id, nowMs }, entry), about)
      sessions.endWhere(
        new VarveError('TOKEN_REVOKED', 'the token was revoked'),
        // who revokes the own token is answered first, and ends with the next look for revocations
        ({ role, tokenId }, other) => role !== 'agent' && tokenId === id && other !== actor,
      )
      return { subject, revokedMs: revoked.revokedMs ?? nowMs }
    },
  },

  'enrolments.issue': {
    details: ({ ttlMs }) => ({ ttlMs }),
    run: async ({ tenant: name, ttlMs }, { actor, change }) => {
      const tenant = await tenantAsked(uses, actor, name)
      if (tenant === null)
        throw new VarveError('PARAMS_INVALID', 'an agent belongs to a tenant: name the one that it enrols for')
      const issued = await issueEnrolment(uses.authority, { tenant, ttlMs, nowMs: uses.clock.now() }, change)
      return { ...issued, certificate: uses.agentsCa() }
    },
  },
})

export const identityActions = (uses: Uses): Identities => ({
  ...agentActions(uses),
  ...tokenActions(uses),

  'session.renew': {
    run: async ({ token }, { actor, tenant }) => {
      const timeMs = uses.clock.now()
      const attempt = { action: 'session.renew', address: actor.address, timeMs }
      const claims = await uses.audit.guard(attempt, async () => {
        const fresh = await verifyBearer(uses.authority, token, timeMs)
        if (fresh.subject === actor.subject && fresh.role === actor.role && fresh.tenant === tenant.id) return fresh
        const bearer = { tenantId: tenant.id, subject: actor.subject, role: actor.role }
        throw new TokenRefused('TOKEN_CLAIMS', 'only its own subject can renew a session', bearer)
      })
      uses.sessions.renew(actor, claims)
      return { expiresMs: claims.expiresAt * 1000 }
    },
  },

  'keys.list': { run: async () => ({ keys: [...uses.authority.keys.list()] }) },

  'keys.rotate': {
    run: async (_, { change }) => ({ key: await rotateKeys(uses.authority, uses.clock.now(), change) }),
  },

  'audit.list': {
    turn: 'listing',
    run: async ({ after, limit, ...filter }, { actor }) => {
      const list = `audit.list ${JSON.stringify([filter.newest, filter.contains, filter.failed])}`
      const behind = keyBehind(list, after, COUNT_KEY)?.[0] ?? null
      const { audit, upkeep } = uses.catalog
      const page = await audit.page({ ...filter, tenant: actor.tenant?.id ?? null, after: behind, limit })
      const checked = await upkeep.noted({ tenant: null, kind: 'audit' })
      const checkedMs = checked?.doneMs ?? null
      // a check that finds the log changed remembers nothing to go on from
      const chain = checkedMs === null ? null : { checkedMs, whole: checked?.note !== NOTHING_NOTED }
      const entries = page.entries.map((row) => {
        const { seq, timeMs, subject, role, action, resource, outcome } = row
        return { seq, timeMs, subject, role, action, resource, outcome, details: JSON.stringify(row.details) }
      })
      return { chain, entries, next: page.next === null ? null : cursorOf(list, [page.next]) }
    },
  },

  'audit.check': {
    run: (_, { call }) => {
      const progress = new Progress(uses.clock, (one) => call.send(one))
      return uses.audit.check((done) => progress.tell({ phase: 'audit', done, total: null }), call.signal)
    },
  },
})
