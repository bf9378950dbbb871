// Admission: the claims of a token, of the local socket and of an enrolling host, and the actor of a session.
import { NO_TOKEN, type Claims } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Audit } from '../auth/audit.ts'
import type { Authority } from '../auth/authority.ts'
import { verifyBearer } from '../auth/bearer.ts'
import type { PublicJwk } from '../auth/keys.ts'
import { refusedCode, type Login, type LoginCodes } from '../auth/login-codes.ts'
import { enrol, issueToken, LOCAL_ADMINISTRATOR, type Enrolled } from '../auth/tokens.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Actor } from './action.ts'

/** How long a session on the local socket lasts, in seconds: longer than any work. */
const LOCAL_LIFE_S = 366 * 24 * 60 * 60

interface Uses {
  readonly catalog: Pick<Catalog, 'agents' | 'settings' | 'tenants' | 'tokens'>
  readonly authority: Authority
  readonly audit: Pick<Audit, 'guard' | 'refused'>
  readonly codes: Pick<LoginCodes, 'take'>
  readonly clock: Clock
  readonly log: Log
}

export class Admission {
  readonly #uses: Uses

  constructor(uses: Uses) {
    this.#uses = uses
  }

  /** The claims of a valid token; each defect has its own TOKEN_ code, or AGENT_REVOKED. */
  byToken(token: string, address: string): Promise<Claims> {
    const { audit, authority, clock } = this.#uses
    const timeMs = clock.now()
    return audit.guard({ action: 'connect', address, timeMs }, () => verifyBearer(authority, token, timeMs))
  }

  /** The token that a one-time code becomes, now used, and its claims. LOGIN_CODE_INVALID. */
  async byCode(code: string, address: string): Promise<{ readonly token: string; readonly claims: Claims }> {
    const { audit, authority, codes, clock } = this.#uses
    const timeMs = clock.now()
    const { tenantId, subject, role, ttlMs, issuedBy } = await audit.guard(
      { action: 'connect', address, timeMs },
      // a code that is taken twice at once is good for one of both
      async () => this.#stillIssued(codes.take(code), timeMs),
    )
    const tenant = tenantId === null ? null : { id: tenantId }
    const told = { subject, role, ttlMs, issuedBy, address }
    const { token } = await issueToken(authority, { tenant, subject, role, ttlMs, nowMs: timeMs }, (apply, about) => {
      const act = { action: 'tokens.issue', resource: '', outcome: 'ok', details: { ...told, ...about?.details } }
      return apply({ timeMs, tenant: tenantId, subject, role, ...act })
    })
    return { token, claims: await verifyBearer(authority, token, timeMs) }
  }

  /** What whoever had the code made may still give out: not with a token that was revoked or has ended since. */
  async #stillIssued(login: Login, nowMs: number): Promise<Login> {
    const { issuerToken: id } = login
    if (id === NO_TOKEN) return login
    const token = await this.#uses.catalog.tokens.byId({ id })
    if (token === null || token.revokedMs !== null || token.expiresMs <= nowMs)
      throw refusedCode('was made with a token that was revoked, or has ended', login)
    return login
  }

  /**
   * The claims of a caller over the local socket: owner of the named tenant, or, without one, the platform. Anyone who can open
   * it can read the signing keys beside it, so no token is required. NOT_FOUND.
   */
  async local(name: string | null): Promise<Claims> {
    const { authority, catalog, clock } = this.#uses
    const tenant = name === null ? null : await catalog.tenants.named({ name })
    return {
      issuer: authority.issuer,
      audience: authority.issuer,
      tenant: tenant?.id ?? null,
      tenantName: tenant?.name ?? null,
      subject: LOCAL_ADMINISTRATOR.subject,
      role: tenant === null ? LOCAL_ADMINISTRATOR.role : 'owner',
      expiresAt: Math.floor(clock.now() / 1000) + LOCAL_LIFE_S,
      tokenId: NO_TOKEN,
    }
  }

  /**
   * The actor of a session with these claims. TOKEN_CLAIMS for an unknown tenant; ROLE_FORBIDDEN for serving without being an
   * agent.
   */
  async actor(claims: Claims, { address, serving }: { address: string; serving: boolean }): Promise<Actor> {
    const { catalog, audit, clock } = this.#uses
    const { subject, role } = claims
    const tenant = claims.tenant === null ? null : await catalog.tenants.byId({ id: claims.tenant })
    if (tenant === null && claims.tenant !== null)
      throw new VarveError('TOKEN_CLAIMS', 'the token names a tenant that does not exist')
    if (serving && role !== 'agent') {
      const error = new VarveError('ROLE_FORBIDDEN', 'only an agent serves machines')
      const about = { subject, role, action: 'connect', resource: '', outcome: error.code }
      await audit.refused({ ...about, timeMs: clock.now(), tenant: tenant?.id ?? null, details: { address } })
      throw error
    }
    return { subject, role, tenant, agent: role === 'agent' ? subject : null, tokenId: claims.tokenId, address }
  }

  /** Enrols the host that holds an enrolment token; see enrol. */
  enrol(request: { token: string; publicKey: string; host: string }, address: string): Promise<Enrolled> {
    const { audit, authority, clock } = this.#uses
    const timeMs = clock.now()
    return audit.guard({ action: 'agents.enrol', address, timeMs }, () =>
      enrol(authority, { ...request, nowMs: timeMs, address }),
    )
  }

  /** Notes when an agent was connected last; a gateway that is stopping may have closed its catalog. */
  async seen(agent: string): Promise<void> {
    const { catalog, clock, log } = this.#uses
    try {
      await catalog.agents.seen({ id: agent, nowMs: clock.now() })
    } catch (error) {
      log.info({ err: error, agent }, 'the time at which this agent was seen could not be noted')
    }
  }

  /** The public keys that tokens can be checked with. */
  jwks(): { readonly keys: readonly PublicJwk[] } {
    return this.#uses.authority.keys.jwks()
  }
}
