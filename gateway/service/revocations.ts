// Looks for revoked agents and tokens, so that open sessions end within seconds.
import { IDENTITIES_CHECK_MAX } from '../catalog/identities.ts'
import { NO_TOKEN, type Claims } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Sessions } from './sessions.ts'

/** How often open sessions are checked against revocations, in milliseconds. */
export const REVOCATION_INTERVAL_MS = 2000

interface Uses {
  readonly catalog: Pick<Catalog, 'identities'>
  readonly sessions: Pick<Sessions, 'endWhere'> & { readonly claims: Iterable<Claims> }
  readonly clock: Clock
  readonly log: Log
}

const isAgent = ({ role }: Claims): boolean => role === 'agent'

/** Ends sessions whose agent or token is revoked. */
const look = async ({ catalog, sessions }: Uses): Promise<void> => {
  const claims = [...sessions.claims]
  const agentIds = [...new Set(claims.filter(isAgent).map(({ subject }) => subject))]
  const tokenIds = [...new Set(claims.filter((one) => !isAgent(one)).map(({ tokenId }) => tokenId))].filter(
    (id) => id !== NO_TOKEN,
  )
  const agents = new Set<string>()
  const tokens = new Set<string>()
  for (let from = 0; from < Math.max(agentIds.length, tokenIds.length); from += IDENTITIES_CHECK_MAX) {
    const gone = await catalog.identities.check({
      agents: agentIds.slice(from, from + IDENTITIES_CHECK_MAX),
      tokens: tokenIds.slice(from, from + IDENTITIES_CHECK_MAX),
    })
    for (const id of gone.agents) agents.add(id)
    for (const id of gone.tokens) tokens.add(id)
  }
  sessions.endWhere(
    new VarveError('AGENT_REVOKED', 'the agent was revoked'),
    (one) => isAgent(one) && agents.has(one.subject),
  )
  sessions.endWhere(
    new VarveError('TOKEN_REVOKED', 'the token was revoked'),
    (one) => !isAgent(one) && tokens.has(one.tokenId),
  )
}

/** Looks every REVOCATION_INTERVAL_MS; returns what stops it. */
export const watchRevocations = (uses: Uses): (() => void) => {
  let stopped = false
  let stopTimer: (() => void) | null = null
  const next = (): void => {
    stopTimer = uses.clock.after(REVOCATION_INTERVAL_MS, () => {
      look(uses)
        .catch((error: unknown) => {
          if (!stopped) uses.log.error({ err: error }, 'revocations cannot be checked')
        })
        .finally(() => {
          if (!stopped) next()
        })
    })
  }
  next()
  return () => {
    stopped = true
    stopTimer?.()
  }
}
