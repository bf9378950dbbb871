// Agents, tenants, tokens, signing keys and the audit log: what the view of people and things shows and does.
import type { Asked, Result } from '../../../protocol/methods.ts'
import type { Link } from '../net/link.ts'
import { Pages, type Page } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'

/** How often lists are read again while somebody looks, in milliseconds. */
const REFRESH_MS = 15_000

/** How often it is looked whether a host has enrolled, in milliseconds. */
const ENROL_REFRESH_MS = 2000

const PAGE_ROWS = 250

/** Rows of a list that is read whole, so that it can be put in order; what follows is left out and said so. */
export const WHOLE_ROWS_MAX = 2000

/** Calls of a search that finds nothing before it asks whether to look further. */
const SEARCH_CALLS_MAX = 20

export interface Whole<Row> {
  readonly rows: readonly Row[]
  /** More follow than WHOLE_ROWS_MAX. */
  readonly isCut: boolean
}

export type Agent = Result<'agents.list'>['agents'][number]
export type Token = Result<'tokens.list'>['tokens'][number]
export type AuditEntry = Result<'audit.list'>['entries'][number]
export type AuditChain = Result<'audit.list'>['chain']
export type SigningKey = Result<'keys.list'>['keys'][number]
export type Tenant = Result<'tenants.list'>['tenants'][number] & {
  readonly covered: Result<'coverage.tenants'>['tenants'][number] | null
}

const whole = async <Row>(read: (after: string | null) => Promise<Page<Row>>): Promise<Whole<Row>> => {
  const rows: Row[] = []
  let next: string | null = null
  do {
    const page: Page<Row> = await read(next)
    rows.push(...page.rows)
    next = page.next
  } while (next !== null && rows.length < WHOLE_ROWS_MAX)
  return { rows, isCut: next !== null }
}

export const agentsOf = (link: Link): Resource<Whole<Agent>> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: (signal) =>
      whole(async (after) => {
        const { agents, next } = await link.call('agents.list', { after, limit: PAGE_ROWS }, { signal })
        return { rows: agents, next }
      }),
  })

/** The agent that came of an enrolment; none while its token was not used. */
export const enrolledOf = (link: Link, enrolment: string): Resource<Agent | 'none'> =>
  new Resource({
    link,
    everyMs: ENROL_REFRESH_MS,
    read: async (signal) => (await link.call('agents.list', { enrolment }, { signal })).agents[0] ?? 'none',
  })

export const tenantsOf = (link: Link): Resource<Whole<Tenant>> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => {
      const covered = await whole(async (after) => {
        const page = await link.call('coverage.tenants', { after, limit: PAGE_ROWS }, { signal })
        return { rows: page.tenants, next: page.next }
      })
      const byName = new Map(covered.rows.map((one) => [one.tenant, one]))
      const { rows, isCut } = await whole(async (after) => {
        const page = await link.call('tenants.list', { after, limit: PAGE_ROWS }, { signal })
        return { rows: page.tenants, next: page.next }
      })
      return { rows: rows.map((one) => ({ ...one, covered: byName.get(one.name) ?? null })), isCut }
    },
  })

/** The tokens of a tenant that the platform names; of the session's own tenant, or of none, for null. */
export const tokensOf = (link: Link, tenant: string | null): Resource<Whole<Token>> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: (signal) =>
      whole(async (after) => {
        const named = tenant === null ? {} : { tenant }
        const { tokens, next } = await link.call('tokens.list', { ...named, after, limit: PAGE_ROWS }, { signal })
        return { rows: tokens, next }
      }),
  })

export const keysOf = (link: Link): Resource<readonly SigningKey[]> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => (await link.call('keys.list', {}, { signal })).keys,
  })

export interface AuditFilter {
  readonly contains: string | null
  readonly failed: boolean
}

/** The audit log from its newest entry on; `onChain` is told what the gateway's last check found. */
export const auditOf = (link: Link, filter: AuditFilter, onChain: (chain: AuditChain) => void): Pages<AuditEntry> => {
  const isSearch = filter.contains !== null || filter.failed
  return new Pages({
    link,
    // a search may look at very much: again only when asked
    everyMs: isSearch ? null : REFRESH_MS,
    read: async (after, signal) => {
      let next = after
      for (let calls = 0; ; calls++) {
        const asked = { ...filter, newest: true, after: next, limit: isSearch ? 50 : PAGE_ROWS }
        const page = await link.call('audit.list', asked, { signal })
        onChain(page.chain)
        next = page.next
        if (page.entries.length > 0 || next === null || calls >= SEARCH_CALLS_MAX) return { rows: page.entries, next }
      }
    },
  })
}

/** Checks the whole log; `onDone` is told how many entries were looked at. */
export const checkAudit = async (link: Link, onDone: (entries: number) => void): Promise<Result<'audit.check'>> => {
  const call = link.open('audit.check', {})
  for await (const { done } of call.messages) onDone(done)
  return await call.result
}

/** What the view does; each rejects with the gateway's error. */
export const actionsOf = (link: Link) => ({
  revokeAgent: (agent: string) => link.call('agents.revoke', { agent }),
  setSite: (agent: string, site: string | null) => link.call('agents.setSite', { agent, site }),
  enrol: (asked: Asked<'enrolments.issue'>) => link.call('enrolments.issue', asked),
  issueToken: (asked: Asked<'tokens.issue'>) => link.call('tokens.issue', asked),
  revokeToken: (token: string) => link.call('tokens.revoke', { token }),
  rotateKey: () => link.call('keys.rotate', {}),
  addTenant: (asked: Asked<'tenants.add'>) => link.call('tenants.add', asked),
  setQuota: (asked: Asked<'tenants.setQuota'>) => link.call('tenants.setQuota', asked),
})
