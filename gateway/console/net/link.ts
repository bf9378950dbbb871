// The page's one WebSocket: opens it, signs in, opens it again when it breaks, and says how it stands.
import { batch, signal, type ReadonlySignal, type Signal } from '@preact/signals'
import { openSession, type Session, type SocketLike } from '../../../protocol/client.ts'
import type { CallOptions, OpenCall } from '../../../protocol/call.ts'
import type { Role } from '../../../protocol/claims.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { methodOf, type Asked, type MethodName, type Result } from '../../../protocol/methods.ts'
import { RPC_PATH, SUBPROTOCOL } from '../../../protocol/limits.ts'
import type { Clock } from '../../../protocol/peer.ts'

/** How long the page waits before it tries again, in milliseconds: doubled each time, up to the longest. */
const RETRY_FIRST_MS = 500
const RETRY_LONGEST_MS = 15_000

/** Where a tab keeps its token, if the person wants that; it goes with the tab. */
const KEPT = 'varve.token'

/** What signs a person in: a token, or the one-time code of a link. */
export type Credential = { readonly token: string } | { readonly code: string }

export interface Person {
  readonly subject: string
  readonly role: Role
  /** Null for the platform. */
  readonly tenant: string | null
  readonly expiresMs: number
  readonly gateway: string
}

/**
 * `out`: nobody is signed in; `error` says why not any more. `opening`: for the first time. `open`. `lost`: it broke and is tried
 * again at `retryMs`, or right now where that is null; the gateway was heard last at `heardMs`, null for not by this page.
 */
export type LinkState =
  | { readonly kind: 'out'; readonly error: VarveError | null }
  | { readonly kind: 'opening' }
  | { readonly kind: 'open' }
  | {
      readonly kind: 'lost'
      readonly error: VarveError
      readonly retryMs: number | null
      readonly heardMs: number | null
    }

export interface LinkOptions {
  readonly connect: () => SocketLike
  readonly clock: Clock
  readonly storage: PageStorage
  /** Why the session before this page ended; null where there was none, or the person ended it. */
  readonly ended: VarveError | null
  /** Called with why a person is signed in no more: the page is to be loaded anew, and state is `opening` until then. */
  readonly onPersonLeft: (error: VarveError | null) => void
}

export type PageStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>

/** Whether signing in again is the only way on. */
const needsPerson = ({ code }: VarveError): boolean => code.startsWith('TOKEN_') || code === 'LOGIN_CODE_INVALID'

const personOf = ({ welcome: { subject, role, tenant, expiresMs, program } }: Session): Person => ({
  subject,
  role: role as Role,
  tenant,
  expiresMs,
  gateway: program,
})

/** Whether both see the same. */
const isSame = (one: Person, other: Person): boolean =>
  one.subject === other.subject && one.role === other.role && one.tenant === other.tenant

export class Link {
  readonly #options: LinkOptions
  readonly #state: Signal<LinkState>
  readonly #person = signal<Person | null>(null)
  readonly #openings = signal(0)
  #session: Session | null = null
  #token: string | null = null
  #stopRetry: () => void = () => {}
  #heardMs: number | null = null
  /** Goes up with each sign-in and sign-out: what belongs to an earlier one is let go. */
  #era = 0

  constructor(options: LinkOptions) {
    this.#options = options
    this.#state = signal<LinkState>({ kind: 'out', error: options.ended })
  }

  get state(): ReadonlySignal<LinkState> {
    return this.#state
  }

  /** Who is signed in; stays while the connection is lost. */
  get person(): ReadonlySignal<Person | null> {
    return this.#person
  }

  /** Goes up each time the connection opens: what was read before may be old. */
  get openings(): ReadonlySignal<number> {
    return this.#openings
  }

  /** Whether the person may call this method; the gateway decides again. */
  may(name: MethodName): boolean {
    const person = this.#person.value
    return person !== null && methodOf(name).roles.includes(person.role)
  }

  /** Signs in with the token that this tab has kept; false where there is none. */
  resume(): boolean {
    const token = this.#options.storage.getItem(KEPT)
    if (token === null) return false
    void this.signIn({ token }, true).catch(() => null)
    return true
  }

  /** Rejects with the gateway's error; `keep` lets a reload of this tab stay signed in. */
  async signIn(credential: Credential, keep: boolean): Promise<void> {
    this.#leave()
    const era = this.#era
    this.#state.value = { kind: 'opening' }
    try {
      const session = await this.#open(credential)
      if (era !== this.#era) return session.peer.close(new VarveError('CANCELLED', 'signed out'))
      this.#token = 'token' in credential ? credential.token : (session.welcome.token ?? null)
      if (keep && this.#token !== null) this.#options.storage.setItem(KEPT, this.#token)
      const before = this.#person.value
      if (before === null || isSame(before, personOf(session))) this.#opened(session, era)
      else {
        session.peer.close(new VarveError('CANCELLED', 'signed in by a new page'))
        this.#leavePerson(null)
      }
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (era !== this.#era) throw error
      const isKept = 'token' in credential && this.#options.storage.getItem(KEPT) === credential.token
      // a gateway that is away says nothing against the token of this tab
      if (isKept && !needsPerson(error)) {
        this.#token = credential.token
        this.#lost(error, era, RETRY_FIRST_MS)
      } else this.signOut(error)
      throw error
    }
  }

  /** Forgets the token; `error` says why where the person did not ask for it. */
  signOut(error: VarveError | null = null): void {
    this.#options.storage.removeItem(KEPT)
    if (this.#person.value !== null) return this.#leavePerson(error)
    this.#leave()
    this.#state.value = { kind: 'out', error }
  }

  /** Tries again now rather than later. */
  retry(): void {
    if (this.#state.value.kind !== 'lost' || this.#state.value.retryMs === null) return
    this.#stopRetry()
    void this.#reopen(this.#era, RETRY_FIRST_MS)
  }

  /** Calls a method without a stream. CONNECTION_LOST while there is no connection. */
  async call<N extends MethodName>(name: N, params: Asked<N>, options: CallOptions = {}): Promise<Result<N>> {
    return await this.#connected().peer.call(name, params, options)
  }

  /** Calls a method and gives its stream. CONNECTION_LOST while there is no connection. */
  open<N extends MethodName>(name: N, params: Asked<N>, options: CallOptions = {}): OpenCall<N> {
    return this.#connected().peer.open(name, params, options)
  }

  #connected(): Session {
    if (this.#session === null) throw new VarveError('CONNECTION_LOST', 'there is no connection to the gateway')
    return this.#session
  }

  #open(credential: Credential): Promise<Session> {
    const { connect, clock } = this.#options
    const token = 'token' in credential ? credential.token : null
    const code = 'code' in credential ? { code: credential.code } : {}
    return openSession({ socket: connect(), program: 'console', serving: false, token, ...code, handlers: {}, clock })
  }

  #opened(session: Session, era: number): void {
    this.#session = session
    batch(() => {
      this.#person.value = personOf(session)
      this.#openings.value += 1
      this.#state.value = { kind: 'open' }
    })
    void session.peer.closed.then((reason) => {
      if (era !== this.#era) return
      this.#session = null
      const { clock } = this.#options
      this.#heardMs = clock.now() - (clock.elapsed() - session.peer.heardMs)
      if (needsPerson(reason)) this.signOut(reason)
      else this.#lost(reason, era, RETRY_FIRST_MS)
    })
  }

  #lost(error: VarveError, era: number, waitMs: number): void {
    const { clock } = this.#options
    // not all pages at once after a restart
    const ms = waitMs * (0.75 + Math.random() / 2)
    this.#state.value = { kind: 'lost', error, retryMs: clock.now() + ms, heardMs: this.#heardMs }
    this.#stopRetry = clock.after(ms, () => void this.#reopen(era, waitMs))
  }

  async #reopen(era: number, waitMs: number): Promise<void> {
    const state = this.#state.value
    if (era !== this.#era || state.kind !== 'lost' || this.#token === null) return
    this.#state.value = { ...state, retryMs: null }
    try {
      const session = await this.#open({ token: this.#token })
      if (era === this.#era) this.#opened(session, era)
      else session.peer.close(new VarveError('CANCELLED', 'signed out'))
    } catch (thrown) {
      if (era !== this.#era) return
      const error = asVarveError(thrown)
      if (needsPerson(error)) this.signOut(error)
      else this.#lost(error, era, Math.min(waitMs * 2, RETRY_LONGEST_MS))
    }
  }

  #leavePerson(error: VarveError | null): void {
    this.#leave()
    batch(() => {
      this.#person.value = null
      this.#state.value = { kind: 'opening' }
    })
    this.#options.onPersonLeft(error)
  }

  #leave(): void {
    this.#era += 1
    this.#stopRetry()
    this.#token = null
    this.#session?.peer.close(new VarveError('CANCELLED', 'signed out'))
    this.#session = null
  }
}

/** The WebSocket beside this page, under whatever path it is served. */
export const connectHere = (pageUrl: string): SocketLike => {
  const url = new URL(RPC_PATH.slice(1), pageUrl.replace(/[?#].*$/u, ''))
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return new WebSocket(url, SUBPROTOCOL)
}
