// Agents that come and go are told once each; a link that is back at once is told of to nobody, nor is the gateway's own end.
import { expect, test } from 'vitest'
import { AWAY_TOLD_MS } from '../../../gateway/service/presence.ts'
import { BATCH_MS } from '../../../gateway/events/events.ts'
import { settle } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { TestServices } from '../services.ts'

/** What is told once that many events are there; what comes too much shows at the next look. */
const told = async (test: TestServices, count: number) => {
  const { catalog } = test.services.datastore
  const asked = { tenant: test.acme.id, machine: null, limit: 100, after: 0, kinds: null } as const
  const events = await eventually(async () => {
    await test.clock.advanceSettled(BATCH_MS)
    const found = await catalog.events.follow(asked)
    return found.events.length >= count && found.events
  })
  return events.map(({ kind, severity, text }) => [kind, severity, text])
}

test('an agent is told of when it is there, and when it stays away', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const enrolled = ['agent.enrolled', 'info', 'the agent of host1 was enrolled']
  const online = ['agent.online', 'info', 'the agent of host1 is connected']
  const first = await test.session(agent.assertion(), { serving: true })
  expect(await told(test, 2)).toEqual([enrolled, online])
  // a restart
  first.connection.closed()
  await settle()
  await test.pass(AWAY_TOLD_MS / 2)
  const second = await test.session(agent.assertion(), { serving: true })
  await test.pass(AWAY_TOLD_MS)
  expect(await told(test, 2)).toEqual([enrolled, online])
  second.connection.closed()
  await settle()
  await test.pass(AWAY_TOLD_MS)
  const offline = ['agent.offline', 'warning', 'the agent of host1 is not connected any more']
  expect(await told(test, 3)).toEqual([enrolled, online, offline])
  await test.session(agent.assertion(), { serving: true })
  expect(await told(test, 4)).toEqual([enrolled, online, offline, online])
  const { catalog } = test.services.datastore
  // nothing of it is anybody else's
  expect(await catalog.events.bounds({ tenant: test.other.id })).toEqual({ last: 0, first: 1 })
})
