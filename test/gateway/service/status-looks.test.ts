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
  const call = async (_: string, { machine }: { machine: string }): Promise<unknown> => {
    asked.push(machine)
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
  const many = Array.from({ length: 256 }, () => looks.status(peer, 'db1'))
  void looks.status(peer, 'db2')
  expect(asked).toEqual(['db1', 'db2'])
  answer({ name: 'db1' })
  for (const one of await Promise.all(many)) expect(one).toEqual({ name: 'db1' })
  const again = [looks.status(peer, 'db1'), looks.status(peer, 'db1')]
  expect(asked).toEqual(['db1', 'db2', 'db1'])
  answer({ name: 'db2' })
  answer(new VarveError('QMP_UNAVAILABLE', 'off'))
  for (const one of again) expect(await codeOf(one)).toBe('QMP_UNAVAILABLE')
})

test('machines of one name of two agents are two', () => {
  const looks = new StatusLooks()
  const [one, other] = [agent(), agent()]
  void looks.status(one.peer, 'db1')
  void looks.status(other.peer, 'db1')
  expect([one.asked, other.asked]).toEqual([['db1'], ['db1']])
})
