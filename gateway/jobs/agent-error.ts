// How an agent's failure appears to its callers: never as a fault of this gateway, nor as the end of the caller's own connection.
import { asVarveError, peerFailed, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'

/** Codes about this gateway: an agent that answers with one of them has failed itself. */
const OWN_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ROLE_FORBIDDEN',
  'ENROLMENT_USED',
  'STORE_FAILED',
  'STORE_FULL',
  'DATA_DAMAGED',
  'STORE_VERSION',
  'STORE_LOCKED',
  'CATALOG_MISSING',
  'CATALOG_DAMAGED',
  'TREE_UNREADABLE',
  'REBUILD_LOSES',
  'KEYS_MISSING',
  'QUOTA_EXCEEDED',
  'POINT_HELD',
  'MAINTENANCE_RUNNING',
])

/** What only this gateway can find, or what identifies its callers. */
export const speaksOfGateway = (code: ErrorCode): boolean =>
  OWN_CODES.has(code) || code.startsWith('TOKEN_') || code === 'AGENT_REVOKED'

/**
 * The failure of a call to an agent, as its caller sees it: that the agent's connection broke says nothing about the caller's
 * own, and what an agent answers never looks like a fault of this gateway.
 */
export const agentError = (thrown: unknown, peer: Pick<Peer, 'isOver'>): VarveError => {
  const error = asVarveError(thrown)
  if (error.endsConnection && peer.isOver)
    return new VarveError('AGENT_OFFLINE', 'the connection to the agent broke', { cause: error })
  const own = error.endsConnection || OWN_CODES.has(error.code)
  return own ? peerFailed(error.code, error.message, error.details) : error
}

/** An agent's answer to a call; see agentError. */
export const answerOf = async <R>(peer: Peer, answer: Promise<R>): Promise<R> => {
  try {
    return await answer
  } catch (thrown) {
    throw agentError(thrown, peer)
  }
}
