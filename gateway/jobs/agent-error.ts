// What a failure of an agent is to those who asked for its work.
import { asVarveError, VarveError } from '../../protocol/errors.ts'

/** An agent's failure as its caller sees it: that the agent's connection broke says nothing about the caller's own. */
export const agentError = (thrown: unknown): VarveError => {
  const error = asVarveError(thrown)
  return error.endsConnection
    ? new VarveError('AGENT_OFFLINE', 'the connection to the agent broke', { cause: error })
    : error
}
