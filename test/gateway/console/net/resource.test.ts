// What a view shows: read while somebody looks, read again after a break, dated, and never out of order.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { LinkState } from '../../../../gateway/console/net/link.ts'
import { Pages } from '../../../../gateway/console/net/pages.ts'
import { Resource } from '../../../../gateway/console/net/resource.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { HandClock } from '../../../support/hand-clock.ts'

const AWAY: LinkState = { kind: 'lost', error: new VarveError('CONNECTION_LOST', 'away'), retryMs: null, heardMs: null }
const OPEN: LinkState = { kind: 'open' }

const linked = (state: LinkState = OPEN) => ({ state: signal(state), openings: signal(1) })

/** Answers that the test gives when it wants to. */
class Answers<T> {
  readonly waiting: { resolve: (value: T) => void; reject: (error: Error) => void; signal: AbortSignal }[] = []

  readonly read = (signal: AbortSignal): Promise<T> =>
    new Promise((resolve, reject) => this.waiting.push({ resolve, reject, signal }))
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

test('nothing is read until somebody looks and the link is open', async () => {
  const link = linked(AWAY)
  const answers = new Answers<number>()
  const resource = new Resource({ link, read: answers.read, everyMs: null, clock: new HandClock() })
  const leave = resource.watch()
  expect(answers.waiting).toHaveLength(0)
  link.state.value = OPEN
  expect(answers.waiting).toHaveLength(1)
  answers.waiting[0]!.resolve(7)
  await settled()
  expect([resource.value.value, resource.isReading.value]).toEqual([7, false])
  leave()
})

test('it is read again every so often while somebody looks, and not after', async () => {
  const clock = new HandClock()
  const answers = new Answers<number>()
  const resource = new Resource({ link: linked(), read: answers.read, everyMs: 1000, clock })
  const leave = resource.watch()
  answers.waiting[0]!.resolve(1)
  await settled()
  clock.advance(1000)
  expect(answers.waiting).toHaveLength(2)
  answers.waiting[1]!.resolve(2)
  await settled()
  leave()
  clock.advance(5000)
  expect([answers.waiting.length, resource.value.value]).toEqual([2, 2])
})

test('an error keeps what was there and its date, and a good answer clears it', async () => {
  const clock = new HandClock()
  const answers = new Answers<number>()
  const resource = new Resource({ link: linked(), read: answers.read, everyMs: null, clock })
  resource.watch()
  answers.waiting[0]!.resolve(1)
  await settled()
  const asOfMs = resource.asOfMs.value
  clock.advance(5000)
  void resource.refresh()
  answers.waiting[1]!.reject(new VarveError('NOT_FOUND', 'gone'))
  await settled()
  expect([resource.value.value, resource.error.value?.code, resource.asOfMs.value]).toEqual([1, 'NOT_FOUND', asOfMs])
  void resource.refresh()
  answers.waiting[2]!.resolve(3)
  await settled()
  expect([resource.value.value, resource.error.value]).toEqual([3, null])
})

test('after a break it is read again, and an answer to an earlier question does not count', async () => {
  const link = linked()
  const answers = new Answers<number>()
  const resource = new Resource({ link, read: answers.read, everyMs: null, clock: new HandClock() })
  resource.watch()
  link.openings.value += 1
  expect(answers.waiting).toHaveLength(2)
  expect(answers.waiting[0]!.signal.aborted).toBe(true)
  answers.waiting[1]!.resolve(2)
  answers.waiting[0]!.resolve(1)
  await settled()
  expect(resource.value.value).toBe(2)
})

test('pages follow one another, and a refresh reads as many rows as were there', async () => {
  const asked: (string | null)[] = []
  const pages = new Pages<number>({
    link: linked(),
    everyMs: null,
    clock: new HandClock(),
    read: (after) => {
      asked.push(after)
      const from = after === null ? 0 : Number(after)
      return Promise.resolve({ rows: [from, from + 1], next: from >= 4 ? null : String(from + 2) })
    },
  })
  const leave = pages.watch()
  await settled()
  expect(pages.rows.value).toEqual([0, 1])
  await pages.more()
  expect(pages.rows.value).toEqual([0, 1, 2, 3])
  await pages.refresh()
  expect([pages.rows.value, asked]).toEqual([
    [0, 1, 2, 3],
    [null, '2', null, '2'],
  ])
  await pages.more()
  await pages.more()
  expect([pages.rows.value, pages.next.value]).toEqual([[0, 1, 2, 3, 4, 5], null])
  leave()
})
