// One-time codes of links that sign a person in: kept as their hashes, in memory, for minutes.
import { createHash, randomBytes } from 'node:crypto'
import type { PersonRole } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import { LOGIN_CODE_LIFE_MS } from '../../protocol/limits.ts'
import type { Clock } from '../../protocol/peer.ts'
import { TokenRefused } from './jwt.ts'

/** Random bytes of a code: nobody guesses one, however many there are. */
const CODE_BYTES = 24

/** Codes of one tenant, or of the platform, that are remembered at once. */
export const CODES_MAX = 64

/** The token that a code becomes. */
export interface Login {
  /** Null for the platform. */
  readonly tenantId: string | null
  readonly subject: string
  readonly role: PersonRole
  readonly ttlMs: number
  /** Who had the code made. */
  readonly issuedBy: string
  /** Id of the token with which; NO_TOKEN on the local socket. */
  readonly issuerToken: string
}

interface Remembered extends Login {
  /** By the clock that nobody sets. */
  readonly endsMs: number
  /** Used ones are remembered until they end: a second use is a sign that a link got into wrong hands. */
  isUsed: boolean
}

const hashOf = (code: string): string => createHash('sha256').update(code).digest('hex')

/** LOGIN_CODE_INVALID, as a sentence of the code. */
export const refusedCode = (why: string, bearer: TokenRefused['bearer'] = null): TokenRefused =>
  new TokenRefused(
    'LOGIN_CODE_INVALID',
    `the code of this link ${why}: take a new one with "varve-gateway login"`,
    bearer,
  )

export class LoginCodes {
  readonly #clock: Clock
  /** By hash, the oldest first. */
  readonly #codes = new Map<string, Remembered>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A new code, good once within LOGIN_CODE_LIFE_MS. TOO_MANY_REQUESTS where CODES_MAX of its tenant are unused. */
  issue(login: Login): { readonly code: string; readonly expiresMs: number } {
    this.#forgetEnded()
    const own = [...this.#codes].filter(([, { tenantId }]) => tenantId === login.tenantId)
    if (own.length >= CODES_MAX) {
      const used = own.find(([, { isUsed }]) => isUsed)
      if (used === undefined)
        throw new VarveError(
          'TOO_MANY_REQUESTS',
          `${CODES_MAX} codes of links to sign in are unused: use one of them, or wait until they end`,
        )
      this.#codes.delete(used[0])
    }
    const code = randomBytes(CODE_BYTES).toString('base64url')
    this.#codes.set(hashOf(code), { ...login, endsMs: this.#clock.elapsed() + LOGIN_CODE_LIFE_MS, isUsed: false })
    return { code, expiresMs: this.#clock.now() + LOGIN_CODE_LIFE_MS }
  }

  /** What the code stands for, once. LOGIN_CODE_INVALID, with its bearer where it was used before. */
  take(code: string): Login {
    this.#forgetEnded()
    const found = this.#codes.get(hashOf(code))
    if (found === undefined) throw refusedCode('has ended, or was never given out')
    const { tenantId, subject, role } = found
    if (found.isUsed) throw refusedCode('was used before', { tenantId, subject, role })
    found.isUsed = true
    return found
  }

  #forgetEnded(): void {
    const elapsedMs = this.#clock.elapsed()
    for (const [hash, { endsMs }] of this.#codes) {
      if (endsMs > elapsedMs) return
      this.#codes.delete(hash)
    }
  }
}
