// Questions about a machine: one to its agent for all who ask at once, a new one once the answer has come.
import { expect, test } from 'vitest'
import { StatusLooks } from '../../../gateway/service/status-looks.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { codeOf } from '../auth/test-authority.ts'

/** An agent that answers when the test says so. */
const agent = (): { peer: Peer; asked: string[]; answer: (outcome: unknown) => void } => {
  const asked: string[] = []
  const open: ((outcome: unknown) => void)[] = []
  const call = async (question: string, { machine }: { machine: string }): Promise<unknown> => {
    asked.push(question === 'agent.status' ? machine : `${question} ${machine}`)
    const outcome = await new Promise((resolve) => open.push(resolve))
    if (outcome instanceof Error) throw outcome
    return outcome
  }
  const peer = { isOver: false, call } as unknown as Peer
  return { peer, asked, answer: (outcome) => open.shift()?.(outcome) }
}

test('who asks while an agent is asked gets the same answer, also a failure', async () => {
  const looks = new StatusLooks()
  const { peer, asked, answer } = agent()
  const many = Array.from({ length: 256 }, () => looks.ask(peer, 'agent.status', 'db1'))
  void looks.ask(peer, 'agent.status', 'db2')
  expect(asked).toEqual(['db1', 'db2'])
  answer({ name: 'db1' })
  for (const one of await Promise.all(many)) expect(one).toEqual({ name: 'db1' })
  const again = [looks.ask(peer, 'agent.status', 'db1'), looks.ask(peer, 'agent.status', 'db1')]
  expect(asked).toEqual(['db1', 'db2', 'db1'])
  answer({ name: 'db2' })
  answer(new VarveError('QMP_UNAVAILABLE', 'off'))
  for (const one of again) expect(await codeOf(one)).toBe('QMP_UNAVAILABLE')
})

test('machines of one name of two agents are two', () => {
  const looks = new StatusLooks()
  const [one, other] = [agent(), agent()]
  void looks.ask(one.peer, 'agent.status', 'db1')
  void looks.ask(other.peer, 'agent.status', 'db1')
  expect([one.asked, other.asked]).toEqual([['db1'], ['db1']])
})

test('other questions about one machine are asked beside it', () => {
  const looks = new StatusLooks()
  const { peer, asked } = agent()
  void looks.ask(peer, 'agent.status', 'db1')
  for (let count = 0; count < 2; count++) void looks.ask(peer, 'agent.checkpoints', 'db1')
  expect(asked).toEqual(['db1', 'agent.checkpoints db1'])
})
