// Who is here: sessions come and go, one program serves an agent, and the last one wins.
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { codeOf } from '../auth/test-authority.ts'
import { TestServices } from '../services.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('a second program that serves an agent replaces the first', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const { registry } = test.services
  expect(() => registry.agent(agent.id)).toThrow(expect.objectContaining({ code: 'AGENT_OFFLINE' }))
  const first = await test.session(agent.assertion(), { serving: true })
  const before = registry.agent(agent.id)
  const second = await test.session(agent.assertion(), { serving: true })
  expect((await first.peer.closed).code).toBe('REPLACED')
  await turn()
  expect(registry.agent(agent.id)).not.toBe(before)
  expect([registry.online(agent.id), registry.sessions.size]).toEqual([true, 1])
  second.connection.closed()
  await turn()
  expect([registry.online(agent.id), registry.sessions.size]).toEqual([false, 0])
})

test('a session that only calls does not stand in for the one that serves', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const { registry } = test.services
  const command = await test.session(agent.assertion())
  expect(registry.online(agent.id)).toBe(false)
  await test.session(agent.assertion(), { serving: true })
  command.connection.closed()
  await turn()
  expect(registry.online(agent.id)).toBe(true)
})

test('sessions are ended by choice', async () => {
  await using test = await TestServices.open()
  const viewer = await test.session(await test.token('viewer'))
  const owner = await test.session(await test.token('owner'))
  const error = new VarveError('TOKEN_REVOKED', 'gone')
  test.services.registry.closeAll(error, ({ caller }) => caller.claims.role === 'viewer')
  expect((await viewer.peer.closed).code).toBe('TOKEN_REVOKED')
  expect(await codeOf(owner.peer.call('machines.list', {}))).toBe('none')
  test.services.registry.closeAll(new VarveError('GOING_AWAY', 'stopping'))
  expect((await owner.peer.closed).code).toBe('GOING_AWAY')
})
