// A WebSocket to a gateway: TLS with a CA of one's own where one is set, the bearer token in the upgrade, the gateway's
// refusals as errors.
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { WebSocket } from 'ws'
import { toldError, VarveError, type ErrorCode } from '../errors.ts'
import { openSession, type Session } from '../client.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../limits.ts'
import type { Clock, Handlers } from '../peer.ts'
import { Intake } from './intake.ts'
import { clocksApart, CONFIGURED, explained, notOurs, type Words } from './unreachable.ts'
import { datesOf } from './probe.ts'

/** How long connecting and TLS may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000

/** Most of a refusal's body that is read, in bytes. */
const REFUSAL_BYTES_MAX = 8192

/** Refusals that usually mean a wrong clock. */
const CLOCK_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['TOKEN_NOT_YET_VALID', 'TOKEN_EXPIRED'])

export interface DialOptions {
  readonly gateway: string
  /** PEM of the certificate authority to trust instead of the system's. */
  readonly ca: Buffer | null
  readonly token: string
  readonly program: string
  readonly serving: boolean
  readonly handlers: Handlers
  readonly clock: Clock
  /** CONFIGURED unless given. */
  readonly words?: Words
  /** False for a token that the gateway made, whose times say nothing of this host's clock. */
  readonly ownToken?: boolean
}

/** A session, and what was learnt of the gateway while connecting. */
export interface Dialled extends Session {
  /** When the first of its certificates expires, in milliseconds since 1970; null without TLS. */
  readonly certificateEndMs: number | null
  /** Milliseconds by which this host's clock is ahead of the gateway's, to about a second; null where it sends no time. */
  readonly aheadMs: number | null
}

/** A zero mask costs neither side time: masks keep browser scripts from forging HTTP, and this is not a browser. */
const noMask = (mask: Buffer): void => void mask.fill(0)

const gatewayTime = ({ headers: { date } }: IncomingMessage): number | null => {
  const ms = date === undefined ? Number.NaN : Date.parse(date)
  return Number.isNaN(ms) ? null : ms
}

/** A refusal in the gateway's words; for a token whose times do not fit, with how much the clocks differ. */
const refusedWith = (told: VarveError, response: IncomingMessage, nowMs: number): VarveError => {
  const { code, message } = told
  const gatewayMs = gatewayTime(response)
  if (gatewayMs === null || !CLOCK_CODES.has(code)) return told
  const details = { aheadMs: nowMs - gatewayMs }
  const apart = clocksApart(gatewayMs, nowMs)
  return new VarveError(
    code,
    apart === null ? message : `${apart}, so it refuses the assertion: set the clocks right`,
    {
      details,
    },
  )
}

/**
 * The refusal of an upgrade that a gateway answers with a code and a sentence as JSON; null where it is cut short or
 * not our gateway's words.
 */
export const refusalIn = async (response: IncomingMessage): Promise<VarveError | null> => {
  let text = ''
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      text += part.toString('utf8')
      if (text.length > REFUSAL_BYTES_MAX) break
    }
    const { code, message } = JSON.parse(text) as { code: unknown; message: unknown }
    return typeof code === 'string' && typeof message === 'string' ? toldError(code, message) : null
  } catch {
    return null
  }
}

/** The same with what a person needs to know besides; of an answer that is no gateway's, CONNECTION_LOST. */
const refusal = async (
  { gateway, clock, ownToken = true }: DialOptions,
  response: IncomingMessage,
): Promise<VarveError> => {
  const told = await refusalIn(response)
  if (told === null) return notOurs(gateway, response.statusCode, response.headers.location)
  return ownToken ? refusedWith(told, response, clock.now()) : told
}

/** Lets large messages, such as those of a restore, be gathered in one buffer each as their pieces come. */
const gatherLarge = (socket: WebSocket, raw: Socket): void => {
  // the WebSocket's own, which keeps the pieces of a message and joins them
  const library = raw.listeners('data')
  const intake = new Intake(
    { masked: false, trusted: true },
    {
      announced: () => null,
      whole: () => {},
      gathered: (message) => void socket.emit('message', message, true),
      rest: (bytes) => {
        for (const listener of library) listener.call(raw, bytes)
      },
      get open() {
        return socket.readyState === WebSocket.OPEN
      },
    },
  )
  const take = (bytes: Buffer<ArrayBuffer>): void => void intake.feed(bytes)
  raw.removeAllListeners('data')
  raw.on('data', take)
  // what was not read yet: the WebSocket's own listener would take it past the intake
  raw.prependListener('close', () => {
    const left = raw.read() as Buffer<ArrayBuffer> | null
    if (left !== null) take(left)
  })
}

/** Connects and opens a session; the gateway's refusal, or CONNECTION_LOST with the cause. */
export const dial = async (options: DialOptions): Promise<Dialled> => {
  const { gateway, ca, token, clock, words = CONFIGURED } = options
  const socket = new WebSocket(new URL(RPC_PATH, gateway), SUBPROTOCOL, {
    headers: { authorization: `Bearer ${token}` },
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
    generateMask: noMask,
    handshakeTimeout: CONNECT_TIMEOUT_MS,
    ...(ca === null ? {} : { ca }),
  })
  let failed = false
  const refused = new Promise<never>((_, reject) => {
    const refuse = async (response: IncomingMessage): Promise<void> => {
      reject(await refusal(options, response))
      socket.terminate()
    }
    socket.on('unexpected-response', (_request, response) => void refuse(response))
    const fail = async (error: Error): Promise<void> => {
      failed = true
      reject(await explained({ gateway, hasCa: ca !== null, words }, error))
    }
    socket.on('error', (error) => void fail(error))
  })
  refused.catch(() => {})
  let certificateEndMs: number | null = null
  let aheadMs: number | null = null
  socket.on('upgrade', (response) => {
    const gatewayMs = gatewayTime(response)
    if (gatewayMs !== null) aheadMs = clock.now() - gatewayMs
    socket.once('open', () => gatherLarge(socket, response.socket))
    if (response.socket instanceof TLSSocket)
      certificateEndMs = Math.min(...datesOf(response.socket.getPeerCertificate(true)).map(({ toMs }) => toMs))
  })
  const { program, serving, handlers } = options
  const opened = openSession({ socket, program, serving, handlers, clock, token: null })
  // the socket's error, once the address was probed, says more than the end of the session
  const broken = opened.catch((thrown: unknown) => (failed ? refused : Promise.reject(thrown as Error)))
  broken.catch(() => {})
  const session = await Promise.race([refused, broken])
  return { ...session, certificateEndMs, aheadMs }
}
