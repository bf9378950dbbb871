// One WebSocket on the gateway's side: hello within its deadline, authentication, then a peer until the end of the session.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Claims } from '../../protocol/claims.ts'
import { VERSION } from '../../protocol/host/version.ts'
import { decodeFrame, encodeFrame, errorFrame, FRAME, type Hello } from '../../protocol/frames.ts'
import { HELLO_TIMEOUT_MS, VERSION_MAX, VERSION_MIN } from '../../protocol/limits.ts'
import { Peer, type Clock, type Room } from '../../protocol/peer.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Account, Hold, MemoryBudget } from '../memory/budget.ts'
import { FRAME_UNSENT_BYTES_MIN, HELLO_BYTES_MAX, INTAKE_BYTES } from '../memory/limits.ts'
import { outward } from '../service/outward.ts'
import type { Service } from '../service/service.ts'
import { sessionHandlers } from './methods.ts'
import type { Pace } from './pace.ts'
import { callerKey, endOf, type LiveSession, type Registry } from './registry.ts'
import type { SocketTransport } from './transport.ts'

/** The gateway's name and version in `welcome`. */
export const PROGRAM = `varve-gateway/${VERSION}`

/** What all sessions of a gateway work with. */
export interface SessionParts extends Service {
  readonly registry: Registry
  readonly memory: MemoryBudget
  readonly clock: Clock
  readonly log: Log
}

export interface ConnectionOptions {
  readonly parts: SessionParts
  readonly transport: SocketTransport
  /** Claims of a token in the HTTP upgrade; null when the hello must bring one. */
  readonly claims: Claims | null
  readonly address: string
  /** Called once the other side is authenticated. */
  readonly onKnown?: () => void
}

/** Memory that a peer takes ends up waiting in a socket. */
const roomOf = (account: Account): Room => ({
  take: (bytes) => {
    const hold = account.take(Math.max(bytes, FRAME_UNSENT_BYTES_MIN))
    return hold === null ? null : () => hold[Symbol.dispose]()
  },
})

/** Takes the messages of one WebSocket. */
export class Connection {
  readonly #options: Omit<ConnectionOptions, 'onKnown'>
  /** Null once it was called: it holds what the upgrade brought. */
  #onKnown: (() => void) | null
  #state: 'hello' | 'checking' | 'open' | 'over' = 'hello'
  #peer: Peer | null = null
  #account: Account | null = null
  /** Memory of a message that exceeds the peer's credit. */
  #intake: Hold | null = null
  #pace: Pace | null = null
  #stopTimer: () => void

  constructor({ onKnown = () => {}, ...options }: ConnectionOptions) {
    this.#options = options
    this.#onKnown = onKnown
    this.#stopTimer = options.parts.clock.after(HELLO_TIMEOUT_MS, () =>
      this.end(new VarveError('HELLO_TIMEOUT', 'no hello came in time')),
    )
  }

  receive(bytes: Uint8Array): void {
    if (this.#state === 'open') return this.#peer!.receive(bytes)
    if (this.#state === 'over') return
    if (this.#state === 'checking')
      return this.end(new VarveError('FRAME_UNEXPECTED', 'nothing may follow hello before welcome'))
    try {
      const frame = decodeFrame(bytes)
      if (frame[0] !== FRAME.hello) throw new VarveError('FRAME_UNEXPECTED', 'a connection begins with hello')
      this.#state = 'checking'
      this.#welcome(frame[1]).catch((thrown: unknown) => {
        const error = asVarveError(thrown)
        if (error.code === 'INTERNAL') this.#options.parts.log.error({ err: thrown }, 'a session could not open')
        this.end(outward(error))
      })
    } catch (thrown) {
      this.end(asVarveError(thrown))
    }
  }

  /** How long nothing more is to be read after this message, in milliseconds. */
  pauseMs(bytes: Uint8Array): number {
    return this.#pace?.pauseMs(bytes, this.#options.parts.clock.elapsed()) ?? 0
  }

  /**
   * Makes room for a message that is coming in and will have so many bytes; the error to end the connection with where there is
   * none.
   */
  announced(bytes: number): VarveError | null {
    if (this.#state !== 'open') {
      if (bytes <= HELLO_BYTES_MAX) return null
      return new VarveError(
        'FRAME_TOO_LARGE',
        `the first message has ${bytes} bytes, at most ${HELLO_BYTES_MAX} are allowed`,
      )
    }
    // memory for the peer's credit is already reserved
    if (bytes <= INTAKE_BYTES) return null
    const needed = bytes - INTAKE_BYTES - this.#peer!.grantedBytes
    if (needed <= 0) return null
    const had = this.#intake
    this.#intake ??= this.#account!.take(needed)
    if (had === null ? this.#intake !== null : had.grow(Math.max(0, needed - had.bytes))) return null
    return new VarveError('TOO_MANY_REQUESTS', `there is no memory for a message of ${bytes} bytes: try again later`)
  }

  /** The message is whole. */
  whole(): void {
    this.#intake?.[Symbol.dispose]()
    this.#intake = null
  }

  /** Ends the connection with a reason that is sent to the other side. */
  end(error: VarveError): void {
    this.#stopTimer()
    if (this.#peer !== null) return this.#peer.close(error)
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#options.transport.send(encodeFrame(errorFrame(0, error)))
    this.#options.transport.close(error)
  }

  /** To be called when the socket is gone. */
  closed(): void {
    this.#stopTimer()
    this.#state = 'over'
    this.whole()
    this.#peer?.transportClosed(new VarveError('CONNECTION_LOST', 'the connection ended'))
  }

  async #welcome(hello: Hello): Promise<void> {
    const { parts, transport, address } = this.#options
    const { admission, clock, log, memory, registry } = parts
    if (hello.versionMin > VERSION_MAX || hello.versionMax < VERSION_MIN)
      throw new VarveError('VERSION_UNSUPPORTED', `this gateway speaks versions ${VERSION_MIN} to ${VERSION_MAX}`)
    const { claims, token } = await this.#claimsOf(hello)
    const actor = await admission.actor(claims, { address, serving: hello.serving })
    const { tenant } = actor
    if (this.#state !== 'checking') return
    const account = memory.account(tenant?.id ?? null, callerKey(claims))
    using counted = new DisposableStack()
    counted.use(account.session())
    const paced = `${tenant?.id ?? 'platform'} ${callerKey(claims)}`
    counted.defer(() => registry.paces.leave(paced))
    this.#pace = registry.paces.enter(paced)
    this.#stopTimer()
    this.#onKnown?.()
    this.#onKnown = null
    const handlers = sessionHandlers(parts.door, actor, account)
    const room = roomOf(account)
    transport.useRoom(room)
    const peer = new Peer({ opener: false, transport, clock, handlers, room })
    this.#account = account
    const endsMs = endOf(claims, clock)
    const { serving, program } = hello
    const session: LiveSession = { actor, claims, endsMs, serving, program, sinceMs: clock.now(), peer }
    this.#peer = peer
    this.#state = 'open'
    transport.send(
      encodeFrame([
        FRAME.welcome,
        {
          version: Math.min(hello.versionMax, VERSION_MAX),
          features: [],
          program: PROGRAM,
          subject: claims.subject,
          role: claims.role,
          tenant: claims.tenantName,
          expiresMs: claims.expiresAt * 1000,
          ...(token === null ? {} : { token }),
        },
      ]),
    )
    registry.add(session)
    log.info({ subject: claims.subject, role: claims.role, tenant: tenant?.name ?? null, address }, 'session opens')
    this.#watchExpiry(session)
    const reason = await peer.closed
    // as the other side sent it
    const { code } = reason.cause instanceof VarveError ? reason.cause : reason
    log.info({ subject: claims.subject, code, address }, 'session ends')
    if (session.serving) await admission.seen(claims.subject)
  }

  /** Who is calling, and the token that a one-time code became. */
  async #claimsOf({ token, code }: Hello): Promise<{ readonly claims: Claims; readonly token: string | null }> {
    const { parts, address, claims } = this.#options
    if (claims !== null) return { claims, token: null }
    if (token !== null) return { claims: await parts.admission.byToken(token, address), token: null }
    if (code !== undefined) return await parts.admission.byCode(code, address)
    throw new VarveError('TOKEN_MISSING', 'a token is needed, in the HTTP upgrade or in hello')
  }

  /** Ends the session when its claims do, unless they were renewed. */
  #watchExpiry(session: LiveSession): void {
    const { clock } = this.#options.parts
    const leftMs = session.endsMs - clock.elapsed()
    if (leftMs <= 0) return session.peer.close(new VarveError('TOKEN_EXPIRED', 'the session has expired'))
    // timers hold at most 2^31 ms; a longer life is checked again then
    this.#stopTimer = clock.after(Math.min(leftMs, 2 ** 31 - 1), () => this.#watchExpiry(session))
  }
}
