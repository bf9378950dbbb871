// Two peers joined without a socket: what one sends, the other receives in order and a little later.
import { VarveError } from '../../protocol/errors.ts'
import { Peer, type Clock, type Handlers, type Transport } from '../../protocol/peer.ts'

export interface MemoryLink {
  readonly gateway: Peer
  readonly agent: Peer
  /** Both sides lose the connection. */
  cut(): void
}

const transport = (to: () => Peer, closed: () => void): Transport => ({
  send: (bytes) => {
    const copy = Uint8Array.from(bytes)
    setImmediate(() => to().receive(copy))
  },
  close: () => setImmediate(closed),
  bufferedBytes: 0,
})

export const memoryLink = (clock: Clock, handlers: { gateway?: Handlers; agent?: Handlers }): MemoryLink => {
  const cut = (): void => {
    const error = new VarveError('CONNECTION_LOST', 'the connection ended')
    gateway.transportClosed(error)
    agent.transportClosed(error)
  }
  const gateway: Peer = new Peer({
    opener: false,
    transport: transport(() => agent, cut),
    handlers: handlers.gateway ?? {},
    clock,
  })
  const agent: Peer = new Peer({
    opener: true,
    transport: transport(() => gateway, cut),
    handlers: handlers.agent ?? {},
    clock,
  })
  return { gateway, agent, cut }
}
