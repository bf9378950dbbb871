// How the agent's programs open a session with their gateway: configuration, certificate authority, a fresh assertion.
import { readFile } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import type { Session } from '../../protocol/client.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { systemClock } from '../clock.ts'
import type { AgentConfig } from '../config.ts'
import type { Identity } from '../identity.ts'
import { dial } from './socket.ts'

export const PROGRAM = 'varve-agent/0.1.0'

/** PEM of the configured certificate authority. */
export const readCa = async (file: string | undefined): Promise<Buffer | null> => {
  if (file === undefined) return null
  try {
    return await readFile(file)
  } catch (error) {
    throw new VarveError('CONFIG_INVALID', `cannot read the ca ${file}: ${(error as Error).message}`, { cause: error })
  }
}

/** Connects as this agent; `serving` only for the one that runs its machines. */
export const connect = async (
  config: AgentConfig,
  identity: Identity,
  how: { readonly serving: boolean; readonly handlers: Handlers },
): Promise<Session> =>
  dial({
    ...how,
    gateway: config.gateway,
    ca: await readCa(config.ca),
    token: await identity.assertion(systemClock.now()),
    program: PROGRAM,
    clock: systemClock,
  })
