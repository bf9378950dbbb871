// How the agent's programs open a session with their gateway: by the configuration, with a fresh assertion.
import { asVarveError } from '../../protocol/errors.ts'
import { readAuthority } from '../../protocol/host/authority-file.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { AgentConfig } from '../config.ts'
import type { Identity } from '../identity.ts'
import { PROGRAM } from './program.ts'
import { dial, type Dialled } from '../../protocol/host/dial.ts'

/**
 * Connects as this agent; `serving` only for the one that runs its machines. A gateway that refuses an assertion because of its
 * times sends its own time: a second one, dated by that clock, is tried. One that does not know the key may know the next one.
 */
export const connect = async (
  config: AgentConfig,
  identity: Identity,
  how: { readonly serving: boolean; readonly handlers: Handlers },
): Promise<Dialled> => {
  const ca = await readAuthority('"ca"', config.ca)
  const attempt = async (): Promise<Dialled> => {
    const token = await identity.assertion(systemClock.now())
    return dial({ ...how, gateway: config.gateway, ca, token, program: PROGRAM, clock: systemClock })
  }
  const dated = async (): Promise<Dialled> => {
    try {
      return await attempt()
    } catch (thrown) {
      const { aheadMs } = asVarveError(thrown).details
      if (typeof aheadMs !== 'number') throw thrown
      identity.aheadMs = aheadMs
      return await attempt()
    }
  }
  try {
    return await dated()
  } catch (thrown) {
    if (asVarveError(thrown).code !== 'TOKEN_SIGNATURE') throw thrown
    const session = await identity.withNext(dated)
    if (session === null) throw thrown
    return session
  }
}
