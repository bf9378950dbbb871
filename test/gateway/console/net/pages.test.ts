// Lists that come page by page: a wish for more is never lost, no row comes twice, and news give up no reading.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { LinkState } from '../../../../gateway/console/net/link.ts'
import { Pages, type Page } from '../../../../gateway/console/net/pages.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { HandClock, settle } from '../../../support/hand-clock.ts'

interface Asked {
  readonly after: string | null
  readonly signal: AbortSignal
  readonly resolve: (page: Page<string>) => void
  readonly reject: (error: Error) => void
}

/** Pages whose answers the test gives, watched. */
const stand = (everyMs: number | null = null) => {
  const asked: Asked[] = []
  const clock = new HandClock()
  const link = { state: signal<LinkState>({ kind: 'open' }), openings: signal(1) }
  const pages = new Pages<string>({
    link,
    everyMs,
    clock,
    keyOf: (row) => row,
    read: (after, aborted) => new Promise((resolve, reject) => asked.push({ after, signal: aborted, resolve, reject })),
  })
  const leave = pages.watch()
  const answer = async (text: string, next: string | null): Promise<void> => {
    asked.at(-1)!.resolve({ rows: text.split(' '), next })
    await settle()
  }
  return { pages, asked, clock, link, leave, answer }
}

test('more that is asked for during a refresh is read after it', async () => {
  const { pages, asked, answer } = stand()
  await answer('a b', '1')
  void pages.refresh()
  void pages.more()
  expect(asked).toHaveLength(2)
  await answer('a b', '1')
  expect(asked.map(({ after }) => after)).toEqual([null, null, '1'])
  await answer('c', null)
  expect([pages.rows.value, asked.length]).toEqual([['a', 'b', 'c'], 3])
})

test('a refresh that breaks off the next page reads it afterwards', async () => {
  const { pages, asked, link, answer } = stand()
  await answer('a', '1')
  void pages.more()
  link.openings.value += 1
  expect(asked[1]!.signal.aborted).toBe(true)
  // an answer that comes all the same does not count
  asked[1]!.resolve({ rows: ['x'], next: null })
  await answer('a', '1')
  expect(asked.map(({ after }) => after)).toEqual([null, '1', null, '1'])
  await answer('b', null)
  expect(pages.rows.value).toEqual(['a', 'b'])
})

test('after an error the next page is read at the next round', async () => {
  const { pages, asked, clock, answer } = stand(1000)
  await answer('a', '1')
  void pages.more()
  asked[1]!.reject(new VarveError('NOT_FOUND', 'gone'))
  await settle()
  expect([pages.error.value?.code, asked.length]).toEqual(['NOT_FOUND', 2])
  clock.advance(1000)
  await answer('a', '1')
  expect(asked.map(({ after }) => after)).toEqual([null, '1', null, '1'])
  await answer('b', null)
  expect([pages.rows.value, pages.error.value]).toEqual([['a', 'b'], null])
})

test('a row that moved to a further page is shown once, and a page of known rows does not end the list', async () => {
  const { pages, asked, answer } = stand()
  await answer('a b', '1')
  void pages.more()
  await answer('b a', '2')
  expect([pages.rows.value, asked.at(-1)!.after]).toEqual([['a', 'b'], '2'])
  await answer('b c', null)
  expect(pages.rows.value).toEqual(['a', 'b', 'c'])
  void pages.refresh()
  await answer('a b', '1')
  await answer('b c', null)
  expect(pages.rows.value).toEqual(['a', 'b', 'c'])
})

test('news during a reading give it up neither once nor often, and are read after it once', async () => {
  const { pages, asked, answer } = stand()
  await answer('a', null)
  for (let news = 0; news < 5; news++) void pages.renew()
  expect([asked.length, asked[1]!.signal.aborted]).toEqual([2, false])
  await answer('b a', null)
  expect([pages.rows.value, asked.length]).toEqual([['b', 'a'], 3])
  await answer('c b a', null)
  expect([pages.rows.value, asked.length]).toEqual([['c', 'b', 'a'], 3])
})

test('who looks no more wants no more', async () => {
  const { pages, asked, leave, answer } = stand()
  await answer('a', '1')
  void pages.refresh()
  void pages.more()
  leave()
  await answer('a', '1')
  expect(asked).toHaveLength(2)
})
