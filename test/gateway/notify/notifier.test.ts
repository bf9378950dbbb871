// The loop over a real catalog: what is told to whom and when, and what happens to messages that cannot be sent. Method: a
// clock moved by hand, and servers that answer as a test says.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { SENDS_TENANT_MAX } from '../../../gateway/notify/notifier.ts'
import { ATTEMPTS_MAX, nextAttempt, RETRY_TOTAL_MS } from '../../../gateway/notify/backoff.ts'
import { SINGLE_MAX } from '../../../gateway/notify/plan.ts'
import type { Sent } from '../../../gateway/notify/outward.ts'
import { TARGETS_MAX } from '../../../protocol/notify.ts'
import { settle } from '../../support/hand-clock.ts'
import { HOUR_MS, MINUTE_MS, NOON_MS, NoticeStand } from './stand.ts'

const DAY_MS = 24 * HOUR_MS

const standWith = async (rule: Parameters<NoticeStand['rule']>[1] = {}, hourly?: number): Promise<NoticeStand> => {
  const stand = await NoticeStand.open()
  await stand.addTarget('mail', hourly)
  await stand.rule('all', rule)
  await stand.start()
  return stand
}

test('a change of state is told once, and once that it is good again', async () => {
  await using stand = await standWith()
  await stand.late('db1')
  expect(stand.take()).toEqual(['warning: acme/db1: db1 is late'])
  await stand.late('db1')
  await stand.pass(DAY_MS)
  expect(stand.take()).toEqual([])
  await stand.late('db1', 'error', 'db1 fails')
  expect(stand.take()).toEqual(['error: acme/db1: db1 fails'])
  await stand.fresh('db1')
  await stand.fresh('db1')
  expect(stand.take()).toEqual(['good again: acme/db1: db1 is fresh'])
  await stand.failed('db1')
  expect(stand.take()).toEqual(['error: acme/db1: the backup of db1 failed'])
})

test('a rule picks by severity, machine and kind; what it told of comes to its end there too', async () => {
  await using stand = await standWith({
    match: { severity: 'error', machines: ['db*'], not: { kinds: ['job.failed'] } },
  })
  await stand.late('db1')
  await stand.late('web1', 'error', 'web1 fails')
  await stand.failed('db1')
  expect(stand.take()).toEqual([])
  await stand.late('db1', 'error', 'db1 fails')
  expect(stand.take()).toEqual(['error: acme/db1: db1 fails'])
  // milder, and no error any more: who heard of the error hears that
  await stand.late('db1', 'warning', 'db1 is only late')
  expect(stand.take()).toEqual(['warning: acme/db1: db1 is only late'])
  await stand.fresh('db1')
  expect(stand.take()).toEqual(['good again: acme/db1: db1 is fresh'])
})

test('what still holds is told again after the time of its rule', async () => {
  await using stand = await standWith({ repeatMs: 6 * HOUR_MS })
  await stand.late('db1')
  expect(stand.take()).toHaveLength(1)
  await stand.pass(6 * HOUR_MS - MINUTE_MS)
  expect(stand.take()).toEqual([])
  await stand.pass(2 * MINUTE_MS)
  expect(stand.take()).toEqual(['still so: acme/db1: db1 is late'])
  await stand.pass(12 * HOUR_MS + MINUTE_MS)
  expect(stand.take()).toHaveLength(2)
  await stand.fresh('db1')
  await stand.pass(DAY_MS)
  expect(stand.take()).toEqual(['good again: acme/db1: db1 is fresh'])
})

test('quiet hours delay: one summary of what holds, nothing of what came and went', async () => {
  // 22:00 to 07:00 in Berlin, an hour ahead of UTC
  await using stand = await standWith({ quiet: { window: '22:00-07:00', timeZone: 'Europe/Berlin' } })
  await stand.pass(10 * HOUR_MS)
  await stand.late('db1')
  await stand.late('db2')
  await stand.failed('db3')
  await stand.fresh('db2')
  await stand.pass(7 * HOUR_MS + 50 * MINUTE_MS)
  expect(stand.take()).toEqual([])
  await stand.pass(20 * MINUTE_MS)
  expect(stand.take()).toEqual(['error: acme: 2 to know'])
  await stand.pass(DAY_MS)
  expect(stand.take()).toEqual([])
})

test('quiet hours follow the wall over a change of the clock', async () => {
  await using stand = await NoticeStand.open(Date.UTC(2027, 2, 27, 23))
  await stand.addTarget('mail')
  await stand.rule('all', { quiet: { window: '22:00-07:00', timeZone: 'Europe/Berlin' } })
  await stand.start()
  await stand.late('db1')
  // 28 March 2027: Berlin goes from UTC+1 to UTC+2, so that 07:00 is 05:00 UTC
  await stand.pass(5 * HOUR_MS + 59 * MINUTE_MS)
  expect(stand.take()).toEqual([])
  await stand.pass(2 * MINUTE_MS)
  expect(stand.take()).toEqual(['warning: acme/db1: db1 is late'])
})

test('while it is muted nothing goes out; afterwards what still holds does, and what happened meanwhile does not', async () => {
  await using stand = await standWith()
  await stand.late('db3')
  stand.take()
  const id = await stand.mute({ machines: ['db*'] }, NOON_MS + 4 * HOUR_MS)
  await stand.late('db1')
  await stand.late('db2')
  await stand.failed('db1')
  await stand.fresh('db2')
  await stand.fresh('db3')
  await stand.late('web1')
  expect(stand.take()).toEqual(['warning: acme/web1: web1 is late'])
  await stand.pass(4 * HOUR_MS + MINUTE_MS)
  expect(stand.take()).toEqual(['warning: acme: 1 to know, 1 good again'])
  // one that is ended early is told of at once
  await stand.mute({}, NOON_MS + DAY_MS)
  await stand.late('db4')
  await stand.pass(HOUR_MS)
  expect(stand.take()).toEqual([])
  const [left] = await stand.catalog.notices.mutes({ tenant: stand.tenant, nowMs: stand.clock.now() })
  expect(left!.id).not.toBe(id)
  await stand.catalog.notices.unmute({ tenant: stand.tenant, id: left!.id, nowMs: stand.clock.now() })
  await stand.wake()
  expect(stand.take()).toEqual(['warning: acme/db4: db4 is late'])
})

test('a machine that flaps fills no mailbox: so many messages an hour, then one that counts the rest', async () => {
  await using stand = await standWith({}, 4)
  for (let round = 0; round < 50; round++) {
    await stand.late('db1')
    await stand.fresh('db1')
    await stand.pass(1000)
  }
  expect(stand.take()).toHaveLength(4)
  await stand.pass(HOUR_MS)
  const [{ message }, ...rest] = stand.received as [(typeof stand.received)[0]]
  expect(rest).toEqual([])
  expect(message).toMatchObject({ subject: '[Varve] good again: acme/db1: db1 is fresh' })
  // 100 changes: 4 were told, one is this message
  expect(message.more).toBe(95)
  expect(message.text).toContain('95 more changes were held back')
})

test('many at once are one message', async () => {
  await using stand = await standWith()
  const changes = Array.from({ length: SINGLE_MAX + 1 }, (_, index) => ({
    holds: true as const,
    tenant: stand.tenant,
    key: `agent.away a${index}`,
    kind: 'agent.away' as const,
    severity: 'error' as const,
    machine: null,
    value: 'away',
    text: `agent ${index} is away`,
    data: {},
  }))
  await stand.catalog.conditions.apply({ changes, nowMs: stand.clock.now() })
  await stand.wake()
  expect(stand.take()).toEqual(['error: acme: 6 to know'])
})

test('a server that is down for an hour gets its message afterwards, the same one, and others are not delayed', async () => {
  await using stand = await standWith()
  await stand.addTarget('hook')
  await stand.rule('all', { targets: ['mail', 'hook'] })
  stand.answer = (target) => ({ sent: target !== 'mail', answer: 'connect ECONNREFUSED' })
  await stand.late('db1')
  expect(stand.take('hook')).toHaveLength(1)
  await stand.pass(HOUR_MS)
  const tried = stand.received.filter(({ target }) => target === 'mail')
  // at once, after 1, 3, 7, 15 and 31 minutes
  expect(tried).toHaveLength(6)
  stand.take()
  stand.answer = () => ({ sent: true, answer: '250 ok' })
  await stand.pass(4 * MINUTE_MS)
  expect(stand.received.map(({ message }) => message.id)).toEqual([tried[0]!.message.id])
  await stand.pass(DAY_MS)
  expect(stand.received).toHaveLength(1)
})

test('after a day a message is dead, seen in the outbox, and can be tried again or dropped', async () => {
  await using stand = await standWith()
  stand.answer = () => ({ sent: false, answer: '550 no' })
  await stand.late('db1')
  await stand.pass(RETRY_TOTAL_MS + HOUR_MS)
  const asked = { tenant: stand.tenant, state: null, before: null, limit: 10 }
  const [dead] = await stand.catalog.notices.outbox(asked)
  expect(dead).toMatchObject({ state: 'dead', error: '550 no', nextMs: null, subject: expect.stringContaining('db1') })
  expect(dead!.attempts).toBe(stand.take().length)
  await stand.pass(DAY_MS)
  expect(stand.take()).toEqual([])
  stand.answer = () => ({ sent: true, answer: '250 ok' })
  await stand.catalog.notices.retry({ tenant: stand.tenant, id: dead!.id, nowMs: stand.clock.now() })
  await stand.wake()
  expect(stand.take()).toHaveLength(1)
  expect((await stand.catalog.notices.outbox(asked))[0]).toMatchObject({ state: 'sent', error: null })
  await stand.catalog.notices.drop({ tenant: stand.tenant, id: dead!.id })
  expect(await stand.catalog.notices.outbox(asked)).toEqual([])
})

test('servers that never answer stop no other target, and no end of the gateway', async () => {
  await using stand = await standWith()
  const names = Array.from({ length: SENDS_TENANT_MAX - 1 }, (_, index) => `slow${index}`)
  for (const name of names) await stand.addTarget(name)
  await stand.rule('all', { targets: ['mail', ...names] })
  stand.answer = (target) => (target === 'mail' ? { sent: true, answer: '250 ok' } : new Promise<Sent>(() => {}))
  await stand.late('db1')
  await stand.late('db2')
  expect(stand.take()).toHaveLength(2)
  await stand.stop()
  // what was cut off is not counted as failed: the next gateway sends it, once the claim of the dead one ends
  stand.answer = () => ({ sent: true, answer: '250 ok' })
  stand.received.length = 0
  await stand.start()
  await stand.pass(5 * MINUTE_MS)
  expect(stand.take('slow0')).toHaveLength(2)
})

test('a tenant with many servers that hang, and much that waits, takes no turn of another tenant or the platform', async () => {
  await using stand = await NoticeStand.open()
  const other = randomUUID()
  await stand.catalog.tenants.add({
    id: other,
    name: 'other',
    idKey: new Uint8Array(32).fill(1),
    chunkBytes: 4096,
    nowMs: NOON_MS,
  })
  const names = Array.from({ length: TARGETS_MAX }, (_, index) => `slow${index}`)
  for (const name of names) await stand.addTarget(name)
  await stand.rule('all', { targets: names })
  for (const tenant of [other, null]) {
    await stand.addTarget('mail', undefined, tenant)
    await stand.rule('all', {}, tenant)
  }
  stand.answer = (target) => (target === 'mail' ? { sent: true, answer: '250 ok' } : new Promise<Sent>(() => {}))
  await stand.start()
  await stand.late('db1')
  await stand.late('db2')
  await stand.late('db3')
  expect(new Set(stand.received.map(({ target }) => target)).size).toBe(SENDS_TENANT_MAX)
  await stand.clock.advanceSettled(MINUTE_MS)
  for (const tenant of [other, null]) {
    const said = { kind: 'upkeep.failing', severity: 'error', machine: null, value: '1', text: 'x', data: {} } as const
    const change = { ...said, holds: true, tenant, key: 'upkeep.failing prune' } as const
    await stand.catalog.conditions.apply({ changes: [change], nowMs: stand.clock.now() })
  }
  await stand.wake()
  expect(stand.take().toSorted()).toEqual(['error: other: x', 'error: the gateway: x'])
})

test('a clock that is set back a year stops no message, no repeat, and ends no silence later', async () => {
  await using stand = await standWith({ repeatMs: 6 * HOUR_MS })
  await stand.late('db1')
  expect(stand.take()).toHaveLength(1)
  stand.answer = () => ({ sent: false, answer: 'connect ECONNREFUSED' })
  await stand.late('db2')
  stand.take()
  await stand.mute({ machines: ['db3'] }, NOON_MS + HOUR_MS)
  stand.clock.set(NOON_MS - 365 * DAY_MS)
  stand.answer = () => ({ sent: true, answer: '250 ok' })
  await stand.pass(2 * MINUTE_MS)
  expect(stand.take()).toEqual(['warning: acme/db2: db2 is late'])
  await stand.late('db3')
  expect(stand.take()).toEqual(['warning: acme/db3: db3 is late'])
  await stand.pass(6 * HOUR_MS)
  expect(stand.take().toSorted()).toEqual(
    ['db1', 'db2', 'db3'].map((name) => `still so: acme/${name}: ${name} is late`),
  )
  // a message that was made in the future ends as every other does
  expect(nextAttempt(ATTEMPTS_MAX, NOON_MS, NOON_MS - 365 * DAY_MS)).toBeNull()
})

test('what waits was found again also where the clock was set back while no gateway ran', async () => {
  await using stand = await standWith({ repeatMs: 6 * HOUR_MS })
  await stand.late('db1')
  await stand.stop()
  stand.take()
  stand.clock.set(NOON_MS - 365 * DAY_MS)
  await stand.start()
  await stand.pass(6 * HOUR_MS + 2 * MINUTE_MS)
  expect(stand.take()).toEqual(['still so: acme/db1: db1 is late'])
})

test('a scope that cannot be worked through stops no other one', async () => {
  await using stand = await standWith()
  await stand.addTarget('mail', undefined, null)
  await stand.rule('all', {}, null)
  // no method lets such a rule in: it stands for whatever fails in one tenant alone
  stand.memory.replaceNoticeRules({ name: 'all', match: {} })
  await stand.late('db1')
  const said = { kind: 'audit.broken', severity: 'error', machine: null, value: '1', text: 'x', data: {} } as const
  const change = { ...said, holds: true, tenant: null, key: 'audit.broken' } as const
  await stand.catalog.conditions.apply({ changes: [change], nowMs: stand.clock.now() })
  await stand.pass(2 * MINUTE_MS)
  expect(stand.take()).toEqual(['error: the gateway: x'])
  expect(stand.pings).toBeGreaterThan(1)
})

test('a gateway that dies between reading events and sending tells all of it once, whoever goes on', async () => {
  await using stand = await standWith()
  await stand.stop()
  await stand.late('db1')
  // the catalog fails in the middle of the transaction, as in a power cut
  const { commit } = stand.catalog.notices
  Reflect.set(stand.catalog.notices, 'commit', () => Promise.reject(new Error('killed before')))
  await stand.start()
  expect(stand.take()).toEqual([])
  await stand.stop()
  // or dies once it is stored, before anything is sent
  Reflect.set(stand.catalog.notices, 'commit', async (args: Parameters<typeof commit>[0]) => {
    await commit(args)
    throw new Error('killed after')
  })
  await stand.start()
  expect(stand.take()).toEqual([])
  await stand.stop()
  Reflect.set(stand.catalog.notices, 'commit', commit)
  await stand.start()
  await settle(20)
  expect(stand.take()).toEqual(['warning: acme/db1: db1 is late'])
  await stand.pass(DAY_MS)
  expect(stand.take()).toEqual([])
})

test('two loops over one catalog tell everything once', async () => {
  await using stand = await standWith()
  await stand.start()
  for (let round = 0; round < 10; round++) await stand.late(`db${round}`)
  await stand.pass(HOUR_MS)
  expect(stand.take()).toHaveLength(10)
})

test('a target hears of nothing from before it, and of nothing that a removed rule would have told', async () => {
  await using stand = await standWith()
  await stand.stop()
  await stand.late('db1')
  await stand.addTarget('new')
  await stand.rule('new', { targets: ['new'] })
  await stand.late('db2')
  await stand.catalog.notices.removeRule({ tenant: stand.tenant, name: 'all', nowMs: stand.clock.now() })
  await stand.start()
  await settle(20)
  expect(stand.take('new')).toEqual(['warning: acme/db2: db2 is late'])
  expect(stand.take()).toEqual([])
})

test('a tenant hears nothing of another one, nor of the platform', async () => {
  await using stand = await standWith()
  await stand.addTarget('mail', 10, null)
  await stand.rule('all', {}, null)
  const said = { machine: null, text: 'the disk is full', data: {} }
  const change = {
    holds: true,
    tenant: null,
    key: 'disk.reserve',
    kind: 'disk.reserve',
    severity: 'error',
    value: 'x',
  } as const
  await stand.catalog.conditions.apply({ changes: [{ ...change, ...said }], nowMs: stand.clock.now() })
  await stand.wake()
  await stand.late('db1')
  expect(stand.received.map(({ message }) => [message.tenant, message.subject])).toEqual([
    [null, '[Varve] error: the gateway: the disk is full'],
    ['acme', '[Varve] warning: acme/db1: db1 is late'],
  ])
})

test('the ping goes out by the same loop, and not while what it speaks for stands still', async () => {
  await using stand = await standWith()
  const before = stand.pings
  await stand.pass(10 * MINUTE_MS)
  const beaten = stand.pings - before
  expect(beaten).toBeGreaterThanOrEqual(9)
  Reflect.set(stand.catalog.notices, 'cursor', () => Promise.reject(new Error('disk I/O error')))
  const stopped = stand.pings
  await stand.pass(10 * MINUTE_MS)
  expect(stand.pings).toBe(stopped)
})
