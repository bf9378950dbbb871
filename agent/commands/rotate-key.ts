// The rotate-key command: a new key for this agent, which its gateway is told of before the old one goes.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import type { Identity } from '../identity.ts'
import { withGateway, type AgentContext } from './context.ts'

export interface RotateKeyCommand {
  readonly config: string
  readonly timeout?: number
  readonly json: boolean
}

/**
 * Makes the next key, has the gateway know it, and puts it in the place of the old one. Whenever it is broken off, one
 * of the two keys on disk is
 * the one that the gateway knows, and the next connection finds out which; run again, it goes on with the same key.
 */
export const rotateKey = async (identity: Identity, ask: AgentContext['ask']): Promise<string> => {
  const publicKey = await identity.prepareNext()
  await ask('agents.rotateKey', { publicKey })
  await identity.keepNext(publicKey)
  return publicKey
}

export const rotateKeyCommand = (options: RotateKeyCommand): Promise<void> =>
  withGateway(
    options.config,
    async ({ identity, ask }) => {
      const { agentId: agent } = identity.record
      const key = await rotateKey(identity, ask).catch((thrown: unknown) => {
        const { code, message, endsConnection } = asVarveError(thrown)
        const way = 'run it again: whichever key the gateway knows, this host has it'
        throw endsConnection ? new VarveError(code, `${message}; ${way}`, { cause: thrown }) : thrown
      })
      printJson({ agent, key })
      if (!options.json) print(`Agent ${agent} has a new key; an agent that runs takes it by itself.`)
    },
    options,
  )
