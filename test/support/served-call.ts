// A call as a handler sees it, without a connection: no messages come, and what is sent goes nowhere.
import { MemoryBudget, type Account } from '../../gateway/memory/budget.ts'
import type { MethodName, Up } from '../../protocol/methods.ts'
import type { ServedCall } from '../../protocol/peer.ts'

/** What a test's caller may hold: all there is. */
export const testAccount = (): Account => new MemoryBudget().account('one', 'test')

/** `messages` are what comes; all sent messages go to `send`. */
export const servedCall = <N extends MethodName>(
  parts: { readonly messages?: AsyncIterable<Up<N>>; readonly send?: ServedCall<N>['send'] } = {},
): ServedCall<N> => {
  const { messages = (async function* () {})() as AsyncIterable<Up<N>>, send = async () => {} } = parts
  return {
    signal: new AbortController().signal,
    messages,
    received: withCost(messages),
    grant: () => {},
    send,
    sendHeld: send,
  }
}

/** Messages with what they might take of a stream's credit. */
export async function* withCost<M>(
  messages: AsyncIterable<M>,
  bytes = 256,
): AsyncGenerator<{ message: M; bytes: number }> {
  for await (const message of messages) yield { message, bytes }
}
