// Who a command is at its gateway, and how its sessions begin: as this host's agent here, as a person in `person-caller.ts`.
import type { Role } from '../../protocol/claims.ts'
import type { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Peer } from '../../protocol/peer.ts'
import type { AgentConfig } from '../config.ts'
import type { Identity } from '../identity.ts'
import { lentSession } from '../local/lent-session.ts'
import { PROGRAM } from '../session/program.ts'

export interface Caller {
  /** What the command has of this host; of a person's no machines, and a state folder of the user's own. */
  readonly config: Pick<AgentConfig, 'gateway' | 'machines' | 'state'>
  /** As the last session was opened. */
  readonly role: Role
  /** What will soon break the connection, each a sentence; of the last session. */
  readonly concerns: readonly string[]
  dial(): Promise<Peer>
  /** What a session is renewed with; null where it ends with its token. */
  readonly assertion: (() => Promise<string>) | null
  /** Whether an error stays, whatever is tried again. */
  isFatal(error: VarveError): boolean
  /** Its sessions may be lent ones; false makes the next one its own. */
  borrows: boolean
}

/** The agent of this host, over the session that the running one lends where it may be. */
export class AgentCaller implements Caller {
  readonly config: AgentConfig
  readonly role = 'agent'
  concerns: readonly string[] = []
  borrows: boolean
  readonly #identity: Identity

  constructor(config: AgentConfig, identity: Identity, borrows: boolean) {
    this.config = config
    this.#identity = identity
    this.borrows = borrows
  }

  async dial(): Promise<Peer> {
    const { config } = this
    const borrowed = this.borrows ? await lentSession(config, PROGRAM, systemClock) : null
    if (borrowed !== null) return borrowed.peer
    // what it takes to connect is not loaded where nothing connects
    const [{ connect }, { concernsOf }] = await Promise.all([
      import('../session/once.ts'),
      import('../session/concerns.ts'),
    ])
    const session = await connect(config, this.#identity, { serving: false, handlers: {} })
    this.concerns = concernsOf(session, systemClock.now())
    return session.peer
  }

  readonly assertion = (): Promise<string> => this.#identity.assertion(systemClock.now())

  isFatal(): boolean {
    return false
  }
}
