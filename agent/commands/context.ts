// What the agent's commands share: configuration and identity, a connection that survives breaks, and interruption.
import { VarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { systemClock } from '../clock.ts'
import { readConfig, type AgentConfig } from '../config.ts'
import { Identity, type IdentityRecord } from '../identity.ts'
import { GatewayLink } from '../session/link.ts'
import { connect } from '../session/once.ts'

export interface CommandContext {
  readonly config: AgentConfig
  /** What this host is to the gateway. */
  readonly record: IdentityRecord
  readonly link: GatewayLink
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal
}

/** A signal that aborts with CANCELLED on SIGINT or SIGTERM. */
const interruption = (): AbortSignal => {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => controller.abort(new VarveError('CANCELLED', 'interrupted')))
  return controller.signal
}

/** Runs a command's work with a connection to the gateway; the first connection must succeed, later breaks are healed. */
export const withGateway = async <R>(configFile: string, work: (context: CommandContext) => Promise<R>): Promise<R> => {
  const config = await readConfig(configFile)
  const identity = await Identity.load(config.state)
  const dial = async (): Promise<Peer> => (await connect(config, identity, { serving: false, handlers: {} })).peer
  let first: Peer | null = await dial()
  await using link = new GatewayLink({
    connect: async () => {
      const peer = first ?? (await dial())
      first = null
      return peer
    },
    assertion: () => identity.assertion(systemClock.now()),
    onOpen: async () => {},
    onState: () => {},
    clock: systemClock,
    random: Math.random,
  })
  return await work({ config, record: identity.record, link, signal: interruption() })
}
