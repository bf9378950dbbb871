// The methods of one session: each is its action, through the door.
import { METHODS, methodOf, type MethodName } from '../../protocol/methods.ts'
import type { Handler, Handlers } from '../../protocol/peer.ts'
import type { Account } from '../memory/budget.ts'
import type { Actor, Served } from '../service/action.ts'
import type { Door } from '../service/door.ts'

const SERVED = (Object.keys(METHODS) as MethodName[]).filter(
  (name): name is Served => methodOf(name).servedBy === 'gateway',
)

/** Everything the gateway serves, bound to one caller. */
export const sessionHandlers = (door: Door, actor: Actor, account: Account): Handlers => {
  const handlerOf =
    <N extends Served>(name: N): Handler<N> =>
    (params, call) =>
      door.run(name, params, { actor, call, account })
  return Object.fromEntries(SERVED.map((name) => [name, handlerOf(name)]))
}
