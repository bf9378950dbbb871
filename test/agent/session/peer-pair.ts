// Two peers of the protocol joined in memory: the agent's side under test, and a gateway that the test plays.
import type { VarveError } from '../../../protocol/errors.ts'
import { Peer, type Clock, type Handlers, type Transport } from '../../../protocol/peer.ts'

export interface PeerPair {
  readonly agent: Peer
  readonly gateway: Peer
}

/** Joins an agent's peer to a gateway that serves these methods; frames arrive in order, each in a turn of its own. */
export const peerPair = (handlers: Handlers, clock: Clock, agentHandlers: Handlers = {}): PeerPair => {
  const sides: { agent?: Peer; gateway?: Peer } = {}
  const transport = (to: 'agent' | 'gateway'): Transport => {
    let open = true
    return {
      send: (bytes) => {
        const copy = new Uint8Array(bytes)
        if (open) setImmediate(() => sides[to]?.receive(copy))
      },
      close: (error: VarveError) => {
        open = false
        setImmediate(() => sides[to]?.transportClosed(error))
      },
      bufferedBytes: 0,
    }
  }
  const agent = new Peer({ opener: true, transport: transport('gateway'), handlers: agentHandlers, clock })
  const gateway = new Peer({ opener: false, transport: transport('agent'), handlers, clock })
  sides.agent = agent
  sides.gateway = gateway
  return { agent, gateway }
}
