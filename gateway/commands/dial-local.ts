// Dials the gateway of a data folder over its local socket, without a token.
import { createConnection } from 'node:net'
import { WebSocket } from 'ws'
import { openSession, type Session } from '../../protocol/client.ts'
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { refusalIn } from '../../protocol/host/dial.ts'
import { VERSION } from '../../protocol/host/version.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import { TENANT_HEADER } from '../session/socket.ts'

/** How commands identify themselves. */
export const PROGRAM = `varve-gateway/${VERSION} command`

/** Errors of connecting to a socket on which nobody listens. */
const NOBODY: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED'])

const localError = (error: NodeJS.ErrnoException, socket: string): VarveError => {
  const { code = '', message } = error
  if (code === 'EACCES' || code === 'EPERM')
    return new VarveError('CONFIG_INVALID', `the gateway of ${socket} runs as another user: run this as that one`, {
      cause: error,
    })
  return new VarveError(
    'CONNECTION_LOST',
    `the gateway of ${socket} closed the connection (${code || message}): try again`,
    { cause: error },
  )
}

/**
 * Opens a session of a tenant, or of the platform without one; null where nobody listens. Refusals come with their code;
 * HELLO_TIMEOUT and CONNECTION_LOST where it ends before it has begun, as it does when the gateway stops; CONFIG_INVALID where
 * another user's gateway listens.
 */
export const dialLocal = async (options: {
  readonly socketPath: string
  readonly tenant: string | null
}): Promise<Session | null> => {
  const { socketPath, tenant } = options
  const socket = new WebSocket(`ws://localhost${RPC_PATH}`, SUBPROTOCOL, {
    createConnection: () => createConnection({ path: socketPath }),
    headers: tenant === null ? {} : { [TENANT_HEADER]: tenant },
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
  })
  const { promise: refused, resolve, reject } = Promise.withResolvers<null>()
  refused.catch(() => {})
  socket.on('error', (error: NodeJS.ErrnoException) =>
    NOBODY.has(error.code ?? '') ? resolve(null) : reject(localError(error, socketPath)),
  )
  socket.on('unexpected-response', (_request, response) => {
    const answered = `the gateway answered HTTP ${response.statusCode}: try again`
    void refusalIn(response)
      .then((told) => reject(told ?? new VarveError('CONNECTION_LOST', answered)))
      .finally(() => socket.terminate())
  })
  const how = { program: PROGRAM, serving: false, token: null, handlers: {}, clock: systemClock }
  const opened = openSession({ socket, ...how })
  opened.catch(() => {})
  return await Promise.race([refused, opened])
}
