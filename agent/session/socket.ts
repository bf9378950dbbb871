// The agent's WebSocket: TLS with its own CA where one is set, the bearer token in the upgrade, the gateway's refusals as errors.
import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import { toldError, VarveError } from '../../protocol/errors.ts'
import { openSession, type Session } from '../../protocol/client.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import type { Clock, Handlers } from '../../protocol/peer.ts'
import { unreachable } from './unreachable.ts'

/** How long connecting and TLS may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000

/** Most of a refusal's body that is read, in bytes. */
const REFUSAL_BYTES_MAX = 8192

export interface DialOptions {
  readonly gateway: string
  /** PEM of the certificate authority to trust instead of the system's. */
  readonly ca: Buffer | null
  readonly token: string
  readonly program: string
  readonly serving: boolean
  readonly handlers: Handlers
  readonly clock: Clock
}

/** A zero mask changes no byte, so neither side spends time on it: masks keep scripts in browsers from forging HTTP, and this is none. */
const noMask = (mask: Buffer): void => void mask.fill(0)

/** The error of a refused upgrade: the gateway answers with a code and a sentence as JSON. */
const refusal = async (response: IncomingMessage): Promise<VarveError> => {
  let text = ''
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      text += part.toString('utf8')
      if (text.length > REFUSAL_BYTES_MAX) break
    }
    const { code, message } = JSON.parse(text) as { code: unknown; message: unknown }
    if (typeof code === 'string' && typeof message === 'string') return toldError(code, message)
  } catch {
    // cut short, or not our gateway's words; the status alone must do
  }
  return new VarveError('CONNECTION_LOST', `the gateway answered HTTP ${response.statusCode}; is the address right?`)
}

/** Connects and opens a session; the gateway's refusal, or CONNECTION_LOST with the cause. */
export const dial = async (options: DialOptions): Promise<Session> => {
  const { gateway, ca, token, clock } = options
  const socket = new WebSocket(new URL(RPC_PATH, gateway), SUBPROTOCOL, {
    headers: { authorization: `Bearer ${token}` },
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
    generateMask: noMask,
    handshakeTimeout: CONNECT_TIMEOUT_MS,
    ...(ca === null ? {} : { ca }),
  })
  const refused = new Promise<never>((_, reject) => {
    const refuse = async (response: IncomingMessage): Promise<void> => {
      reject(await refusal(response))
      socket.terminate()
    }
    socket.on('unexpected-response', (_request, response) => void refuse(response))
    socket.on('error', (error) => reject(unreachable(gateway, error)))
  })
  refused.catch(() => {})
  const { program, serving, handlers } = options
  const opened = openSession({ socket, program, serving, handlers, clock, token: null })
  opened.catch(() => {})
  return Promise.race([refused, opened])
}
