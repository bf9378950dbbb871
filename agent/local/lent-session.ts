// Opens a session over the agent that runs on this host, where one does and is connected.
import { createConnection } from 'node:net'
import { openSession, type Session } from '../../protocol/client.ts'
import type { Clock } from '../../protocol/peer.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import { within } from '../../protocol/host/within.ts'
import { COMMANDS_SOCKET, type Lender } from './lent.ts'
import { LocalSocket } from './local-socket.ts'

/** How long the agent may take to answer, in milliseconds: one that hangs lends nothing. */
const ANSWER_LIMIT_MS = 1000

/** A session with this gateway that serves the methods of `LentMethod`; null where none is lent to this user. */
export const lentSession = async (
  { state, gateway }: Lender,
  program: string,
  clock: Clock,
): Promise<Session | null> => {
  try {
    await using place = await SocketPath.of(state, COMMANDS_SOCKET)
    const socket = createConnection({ path: place.path })
    const local = new LocalSocket(socket)
    local.send(Buffer.from(gateway))
    const opening = openSession({
      socket: local,
      program,
      serving: false,
      token: null,
      handlers: {},
      clock,
    })
    const session = await within(opening, ANSWER_LIMIT_MS)
    if (session !== null) return session
    socket.destroy()
    await opening.catch(() => null)
  } catch {
    // no agent, none that is connected or has this gateway, or another user's
  }
  return null
}
