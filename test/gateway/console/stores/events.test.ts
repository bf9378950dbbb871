// Events that are live: read together, not too often, and followed again when the gateway ends the watching.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { Link, LinkState } from '../../../../gateway/console/net/link.ts'
import { EventFeed } from '../../../../gateway/console/stores/events.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { HandClock, settle } from '../../../support/hand-clock.ts'

/** A link whose lists are answered at once, and whose watch tells and ends what the test says. */
const stand = () => {
  const clock = new HandClock(1000)
  let lists = 0
  const watches: ReadableStreamDefaultController<{ events: unknown[] }>[] = []
  const link = {
    state: signal<LinkState>({ kind: 'open' }),
    openings: signal(1),
    call: () => {
      lists += 1
      return Promise.resolve({ events: [], next: null })
    },
    open: () => {
      const messages = new ReadableStream<{ events: unknown[] }>({ start: (watch) => void watches.push(watch) })
      return { messages, result: new Promise(() => {}) }
    },
  }
  const leave = new EventFeed(link as unknown as Link, { kind: null, machine: null }, clock).watch()
  const tell = async (): Promise<void> => {
    watches.at(-1)!.enqueue({ events: [{}] })
    await settle()
  }
  return { clock, watches, leave, tell, lists: () => lists }
}

test('a stream of events has the list read at most once a second', async () => {
  const { clock, tell, lists, leave } = stand()
  await settle()
  expect(lists()).toBe(1)
  for (let ms = 0; ms < 5000; ms += 100) {
    await tell()
    clock.advance(100)
    await settle()
  }
  expect(lists()).toBeGreaterThanOrEqual(5)
  expect(lists()).toBeLessThanOrEqual(6)
  leave()
})

test('a watch that ends is opened again after a pause, and what came meanwhile is read', async () => {
  const { clock, watches, lists, leave } = stand()
  await settle()
  for (const end of [1, 2]) {
    if (end === 1) watches.at(-1)!.close()
    else watches.at(-1)!.error(new VarveError('TOO_MANY_REQUESTS', 'too many'))
    await settle()
    expect([watches.length, lists()]).toEqual([end, end])
    clock.advance(5000)
    expect(watches).toHaveLength(end + 1)
    clock.advance(1000)
    await settle()
    expect(lists()).toBe(end + 1)
  }
  leave()
  await settle()
  clock.advance(120_000)
  expect([watches.length, lists(), clock.waiting]).toEqual([3, 3, 0])
})

test('the list is read again by itself when nothing is told', async () => {
  const { clock, lists, leave } = stand()
  await settle()
  clock.advance(60_000)
  await settle()
  expect(lists()).toBe(2)
  leave()
})
