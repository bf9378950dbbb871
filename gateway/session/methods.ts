// The methods of one session: each is its action, through the door.
import { METHODS, methodOf, type MethodName } from '../../protocol/methods.ts'
import type { Handler, Handlers } from '../../protocol/peer.ts'
import type { Account } from '../memory/budget.ts'
import type { Actor, Served } from '../service/action.ts'
import type { Door } from '../service/door.ts'

const SERVED = (Object.keys(METHODS) as MethodName[]).filter(
  (name): name is Served => methodOf(name).servedBy === 'gateway',
)

/** Everything the gateway serves, bound to one caller; a handler is made for each call, as most agents wait most of the time. */
class SessionHandlers {
  readonly #door: Door
  readonly #actor: Actor
  readonly #account: Account

  constructor(door: Door, actor: Actor, account: Account) {
    this.#door = door
    this.#actor = actor
    this.#account = account
  }

  handler<N extends Served>(name: N): Handler<N> {
    return (params, call) => this.#door.run(name, params, { actor: this.#actor, call, account: this.#account })
  }
}

for (const name of SERVED)
  Object.defineProperty(SessionHandlers.prototype, name, {
    enumerable: true,
    get(this: SessionHandlers) {
      return this.handler(name)
    },
  })

/** Everything the gateway serves, bound to one caller. */
export const sessionHandlers = (door: Door, actor: Actor, account: Account): Handlers =>
  // its prototype has them all
  new SessionHandlers(door, actor, account) as unknown as Handlers
