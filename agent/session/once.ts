// How the agent's programs open a session with their gateway: configuration, certificate authority, a fresh assertion.
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { AgentConfig } from '../config.ts'
import { fileError } from '../file-error.ts'
import type { Identity } from '../identity.ts'
import { dial, type Dialled } from './socket.ts'

export const PROGRAM = 'varve-agent/0.1.0'

/** PEM of the configured certificate authority; CONFIG_INVALID names the file. */
export const readCa = async (file: string | undefined): Promise<Buffer | null> => {
  if (file === undefined) return null
  let pem: Buffer
  try {
    pem = await readFile(file)
  } catch (error) {
    throw fileError(`the certificate authority in "ca", ${file}`, error)
  }
  const invalid = (what: string): VarveError => new VarveError('CONFIG_INVALID', `ca: ${file} ${what}`)
  if (pem.length === 0) throw invalid('is empty')
  if (pem.includes('PRIVATE KEY')) throw invalid('holds a private key: it must hold only the certificate')
  try {
    void new X509Certificate(pem)
  } catch {
    throw invalid('holds no certificate in PEM')
  }
  return pem
}

/**
 * Connects as this agent; `serving` only for the one that runs its machines. A gateway that refuses an assertion because of its
 * times sends its own time: a second one, dated by that clock, is tried.
 */
export const connect = async (
  config: AgentConfig,
  identity: Identity,
  how: { readonly serving: boolean; readonly handlers: Handlers },
): Promise<Dialled> => {
  const ca = await readCa(config.ca)
  const attempt = async (): Promise<Dialled> => {
    const token = await identity.assertion(systemClock.now())
    return dial({ ...how, gateway: config.gateway, ca, token, program: PROGRAM, clock: systemClock })
  }
  try {
    return await attempt()
  } catch (thrown) {
    const { aheadMs } = asVarveError(thrown).details
    if (typeof aheadMs !== 'number') throw thrown
    identity.aheadMs = aheadMs
    return await attempt()
  }
}
