// Lends the agent's open session to the commands of its host: they need no connection of their own, which over a long link takes
// them longer to open than a small backup takes, and act as the same agent anyway.
import type { Socket } from 'node:net'
import { socketTransport, messageBytes, type Session } from '../../protocol/client.ts'
import { VarveError } from '../../protocol/errors.ts'
import { decodeFrame, encodeFrame, FRAME } from '../../protocol/frames.ts'
import { HELLO_TIMEOUT_MS, VERSION_MAX, VERSION_MIN } from '../../protocol/limits.ts'
import { Peer, type Clock, type Handler, type Handlers } from '../../protocol/peer.ts'
import { servePrivately } from '../../protocol/host/private-socket.ts'
import { COMMANDS_SOCKET, type Lender, type LentMethod } from './lent.ts'
import { LocalSocket } from './local-socket.ts'

/** Commands that may be connected at once. */
const CONNECTIONS_MAX = 64

/** Calls the gateway's method of the same name; its messages and its end are passed on. */
const passOn =
  <N extends LentMethod>(name: N, gateway: Peer): Handler<N> =>
  async (params, asked) => {
    const call = gateway.open(name, params, { signal: asked.signal })
    for await (const message of call.messages) await asked.send(message)
    return await call.result
  }

const handlersOf = ({ peer: gateway, welcome: { expiresMs } }: Session): Handlers => ({
  'backup.start': passOn('backup.start', gateway),
  'jobs.watch': passOn('jobs.watch', gateway),
  'jobs.cancel': passOn('jobs.cancel', gateway),
  'points.get': passOn('points.get', gateway),
  // the agent renews its session itself, which ends what is lent where it cannot
  'session.renew': async () => ({ expiresMs }),
})

export interface Lending extends Lender {
  readonly clock: Clock
}

/** What ends with each session; a session outlives many commands, of which nothing may stay with it. */
const endings = new WeakMap<Peer, Set<(error: VarveError) => void>>()

/** Calls `end` when the session ends, unless the returned function is called first. */
const onEnd = (gateway: Peer, end: (error: VarveError) => void): (() => void) => {
  let ends = endings.get(gateway)
  if (ends === undefined) {
    const all = new Set<typeof end>()
    endings.set(gateway, all)
    void gateway.closed.then((error) => all.forEach((one) => one(error)))
    ends = all
  }
  const mine = ends
  mine.add(end)
  return () => void mine.delete(end)
}

/** Serves one command for as long as both it and the session last: first it says which gateway it means, then hello. */
const serve = (socket: Socket, session: Session, { gateway: address, clock }: Lending): void => {
  const { peer: gateway, welcome } = session
  const local = new LocalSocket(socket)
  let isMeant = false
  let peer: Peer | null = null
  const forget = onEnd(gateway, (error) => {
    if (peer === null) socket.destroy()
    // the reason is the agent's: what it means for the command shows once that connects by itself
    else peer.close(new VarveError('CONNECTION_LOST', `the session of the agent has ended: ${error.message}`))
  })
  const stopTimer = clock.after(HELLO_TIMEOUT_MS, () => socket.destroy())
  const onHello = (bytes: Uint8Array): Peer => {
    const frame = decodeFrame(bytes)
    if (frame[0] !== FRAME.hello) throw new VarveError('FRAME_UNEXPECTED', 'a connection begins with hello')
    const { versionMin, versionMax } = frame[1]
    if (versionMin > VERSION_MAX || versionMax < VERSION_MIN)
      throw new VarveError('VERSION_UNSUPPORTED', 'the agent that runs here is of another version')
    stopTimer()
    const transport = socketTransport(local)
    transport.send(encodeFrame([FRAME.welcome, { ...welcome, version: Math.min(versionMax, VERSION_MAX) }]))
    return new Peer({ opener: false, transport, handlers: handlersOf(session), clock })
  }
  local.addEventListener('message', ({ data }) => {
    try {
      const bytes = messageBytes(data)
      // its configuration may name another gateway than the one that the agent began with
      if (!isMeant) {
        isMeant = Buffer.from(bytes).equals(Buffer.from(address))
        if (!isMeant) socket.destroy()
      } else if (peer === null) peer = onHello(bytes)
      else peer.receive(bytes)
    } catch {
      // the command connects by itself then
      socket.destroy()
    }
  })
  local.addEventListener('close', () => {
    stopTimer()
    forget()
    peer?.transportClosed(new VarveError('CONNECTION_LOST', 'the command has ended'))
  })
}

/** Serves commands on a socket of the state folder, for the agent's own user only; without a session it closes them. */
export const serveCommands = (session: () => Session | null, lending: Lending): Promise<AsyncDisposable> => {
  const where = { folder: lending.state, name: COMMANDS_SOCKET, connectionsMax: CONNECTIONS_MAX }
  return servePrivately(where, (socket) => {
    const open = session()
    if (open === null) socket.destroy()
    else serve(socket, open, lending)
  })
}
