// A person with a token at the gateway: sessions that end with it, and go on with what its file holds by then.
import { isRole, type Role } from '../../protocol/claims.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { TOKEN_PRINTED_BY, type Away } from '../../protocol/host/person.ts'
import { PersonDial } from '../../protocol/host/person-dial.ts'
import type { Peer } from '../../protocol/peer.ts'
import { concernsOf } from '../session/concerns.ts'
import { PROGRAM } from '../session/program.ts'
import type { Caller } from './caller.ts'
import { personState } from './way.ts'

export class PersonCaller implements Caller {
  readonly config: Caller['config']
  readonly assertion = null
  borrows = false
  concerns: readonly string[] = []
  /** Before the first session, one that may do little. */
  role: Role = 'viewer'
  #begun: boolean
  readonly #dial: PersonDial
  readonly #away: Away

  /** With `begun` another token is waited for from the first session on. */
  constructor(away: Away, { begun = false } = {}) {
    this.#away = away
    this.#begun = begun
    this.config = { gateway: away.gateway, machines: [], state: personState() }
    this.#dial = new PersonDial(away, PROGRAM)
  }

  async dial(): Promise<Peer> {
    try {
      const session = await this.#dial.dial()
      this.concerns = concernsOf(session, systemClock.now())
      const { role } = session.welcome
      this.role = isRole(role) ? role : 'viewer'
      this.#begun = true
      return session.peer
    } catch (thrown) {
      const error = asVarveError(thrown)
      // only work that has begun waits for another token
      if (error.code !== 'TOKEN_EXPIRED' || !this.#begun || !this.#dial.rereads) throw error
      const where = `the token in ${this.#away.tokenFile} has expired`
      const way = `put a new one there, as "${TOKEN_PRINTED_BY}" prints it, and the command goes on`
      throw new VarveError('TOKEN_EXPIRED', `${where}: ${way}`, { cause: error })
    }
  }

  /** Another token may come into the file where one has ended; what else is wrong with it stays so. */
  isFatal({ code }: VarveError): boolean {
    if (code === 'TOKEN_EXPIRED') return !this.#dial.rereads
    return code.startsWith('TOKEN_') && code !== 'TOKEN_NOT_YET_VALID'
  }
}
