// Events over sessions: a stream resumes where it was, ends nobody's memory, and shows a tenant nothing of another.
import { expect, test } from 'vitest'
import { EVENTS_MESSAGE_MAX } from '../../../protocol/event-methods.ts'
import type { Down } from '../../../protocol/methods.ts'
import type { OpenCall, Peer } from '../../../protocol/peer.ts'
import { EVENTS_MAX, EVENTS_PAGE_MAX } from '../../../gateway/catalog/events.ts'
import { LOOK_MS, PAUSE_MS } from '../../../gateway/service/events.ts'
import { settle } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addMachine } from '../catalog.ts'
import { TestServices } from '../services.ts'

type Message = Down<'events.watch'>

const tell = async (test: TestServices, tenant: string | null, ...texts: readonly string[]): Promise<void> => {
  for (const text of texts) test.services.events.tell({ kind: 'plan.changed', tenant, text })
  await test.services.events.flush()
}

/** What comes of a stream, as it comes. */
const collected = (call: OpenCall<'events.watch'>): Message[] => {
  const messages: Message[] = []
  const read = async (): Promise<void> => {
    for await (const message of call.messages) messages.push(message)
  }
  read().catch(() => {})
  return messages
}

const textsOf = (messages: readonly Message[]): string[] =>
  messages.flatMap(({ events }) => events.map(({ text }) => text))

/** Lets time pass until it is so; pings are answered on the way. */
const untilSo = (test: TestServices, probe: () => boolean): Promise<true> =>
  eventually(async () => {
    await settle(5)
    await test.clock.advanceSettled(PAUSE_MS)
    return probe()
  })

const watch = (peer: Peer, after: number | null, rest: { machine?: string; kinds?: ['agent.enrolled'] } = {}) => {
  const abort = new AbortController()
  const call = peer.open('events.watch', { after, ...rest }, { signal: abort.signal })
  return { call, messages: collected(call), end: () => abort.abort() }
}

test('a stream begins with what comes, or behind a number, and resumes without a gap or a double', async () => {
  await using test = await TestServices.open()
  const { acme, other } = test
  const owner = await test.person('owner')
  await tell(test, acme.id, 'before')
  const now = watch(owner, null)
  await untilSo(test, () => now.messages.length > 0)
  expect(now.messages).toEqual([{ events: [], seq: 1, trimmedTo: null }])
  await tell(test, other.id, 'of the other')
  await tell(test, acme.id, 'one', 'two')
  await untilSo(test, () => textsOf(now.messages).length === 2)
  expect(textsOf(now.messages)).toEqual(['one', 'two'])
  const at = now.messages.at(-1)!.seq
  now.end()
  await tell(test, acme.id, ...Array.from({ length: EVENTS_MESSAGE_MAX * 2 + 1 }, (_, index) => `more ${index}`))
  const again = watch(owner, at)
  await untilSo(test, () => textsOf(again.messages).length === EVENTS_MESSAGE_MAX * 2 + 1)
  expect(textsOf(again.messages)[0]).toBe('more 0')
  const seqs = again.messages.flatMap(({ events }) => events.map(({ seq }) => seq))
  expect(seqs).toEqual(seqs.map((_, index) => at + 1 + index))
  expect(again.messages.every(({ events }) => events.length <= EVENTS_MESSAGE_MAX)).toBe(true)
})

test('kinds and a machine narrow it; where nothing fits, the place to resume goes on all the same', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { catalog } = test.services.datastore
  const agent = await test.agent()
  await addMachine(catalog, test.acme, agent.id, 'db1')
  await tell(test, test.acme.id, 'a', 'b')
  const kinds = watch(owner, 0, { kinds: ['agent.enrolled'] })
  const machine = watch(owner, 0, { machine: 'db1' })
  await untilSo(test, () => kinds.messages.length > 0 && machine.messages.length > 0)
  expect(kinds.messages[0]).toMatchObject({ events: [{ kind: 'agent.enrolled', seq: 1 }], seq: 3 })
  expect(machine.messages).toEqual([{ events: [], seq: 3, trimmedTo: null }])
  expect(await codeOf(owner.open('events.watch', { after: 0, machine: 'nodb' }).result)).toBe('NOT_FOUND')
})

test('what was removed meanwhile is said, and so is a catalog whose numbers begin anew', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  const { catalog } = test.services.datastore
  const flood = Array.from({ length: EVENTS_PAGE_MAX }, () => ({
    timeMs: test.clock.now(),
    kind: 'plan.changed' as const,
    severity: 'info' as const,
    tenant: test.acme.id,
    machine: null,
    text: 'flood',
    data: {},
  }))
  for (let count = 0; count < EVENTS_MAX + EVENTS_PAGE_MAX; count += EVENTS_PAGE_MAX)
    await catalog.events.append({ events: flood })
  const late = watch(owner, 5)
  await untilSo(test, () => late.messages.length > 0)
  expect(late.messages[0]).toMatchObject({ trimmedTo: EVENTS_PAGE_MAX })
  expect(late.messages[0]!.events[0]!.seq).toBe(EVENTS_PAGE_MAX + 1)
  late.end()
  const ahead = watch(owner, EVENTS_MAX * 9)
  await untilSo(test, () => ahead.messages.length > 1)
  expect(ahead.messages[0]).toEqual({ events: [], seq: 0, trimmedTo: null })
  expect(ahead.messages[1]!.events.length).toBe(EVENTS_MESSAGE_MAX)
})

test('a watcher that does not read holds one message, and others go on', async () => {
  await using test = await TestServices.open()
  const [slow, quick] = [await test.person('viewer'), await test.person('owner')]
  // the stream is never read, so its credit is not given back
  const stuck = slow.open('events.watch', { after: 0 })
  stuck.result.catch(() => {})
  const good = watch(quick, 0)
  let looks = 0
  const { catalog } = test.services.datastore
  const { follow } = catalog.events
  Object.assign(catalog.events, {
    follow: (args: never) => {
      looks++
      return follow(args)
    },
  })
  const long = 'x'.repeat(1000)
  for (let round = 0; round < 60; round++) await tell(test, test.acme.id, ...Array.from({ length: 64 }, () => long))
  await untilSo(test, () => textsOf(good.messages).length === 60 * 64)
  const before = looks
  for (let round = 0; round < 20; round++) await test.clock.advanceSettled(PAUSE_MS)
  // the quick one has nothing to do, and the slow one waits for credit: nobody asks the catalog again and again
  expect(looks - before).toBeLessThan(5)
  await test.clock.advanceSettled(LOOK_MS)
})

test('the platform has its own events, and nobody those of another', async () => {
  await using test = await TestServices.open()
  await tell(test, test.acme.id, 'of acme')
  await tell(test, test.other.id, 'of other')
  await tell(test, null, 'of the platform')
  const list = async (peer: Peer) => {
    const { events } = await peer.call('events.list', { kinds: ['plan.changed'] })
    return events.map(({ text, tenant, seq }) => [text, tenant, seq])
  }
  expect(await list(await test.person('viewer'))).toEqual([['of acme', 'acme', 1]])
  expect(await list(await test.person('auditor', test.other))).toEqual([['of other', 'other', 1]])
  expect(await list(await test.person('platform'))).toEqual([['of the platform', null, 1]])
  const agent = await test.session((await test.agent()).assertion())
  expect(await codeOf(agent.peer.call('events.list', {}))).toBe('ROLE_FORBIDDEN')
})

test('the list goes page by page, newest first', async () => {
  await using test = await TestServices.open()
  const owner = await test.person('owner')
  await tell(test, test.acme.id, 'a', 'b', 'c')
  const first = await owner.call('events.list', { limit: 2 })
  expect(first.events.map(({ text }) => text)).toEqual(['c', 'b'])
  const second = await owner.call('events.list', { limit: 2, after: first.next })
  expect([second.events.map(({ text }) => text), second.next]).toEqual([['a'], null])
  expect(await codeOf(owner.call('events.list', { after: first.next, kinds: ['job.done'] }))).toBe('PARAMS_INVALID')
})
