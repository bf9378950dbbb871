// The book of comparisons: pages read to their end, each question asked once, failures asked again after a reconnect.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import { ChangesBook, readChanges, type ChangesAsked } from '../../../../gateway/console/stores/changes.ts'
import type { Link } from '../../../../gateway/console/net/link.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import type { ChangedRange } from '../../../../protocol/changes.ts'

const ASKED: ChangesAsked = { from: null, to: 'p1', disk: 'vda', offset: 0, bytes: null, granularity: 65_536 }

interface Page {
  readonly ranges: readonly ChangedRange[]
  readonly next: number | null
}

/** A link that answers with pages by their offset, and notes what it was asked; `fails` lets it fail. */
const fakeLink = (pages: Readonly<Record<number, Page>>) => {
  const asked: { offset: number; bytes: number | null }[] = []
  const state = { fails: false, running: 0, most: 0 }
  const openings = signal(1)
  const call = async (_name: string, { offset, bytes }: { offset: number; bytes: number | null }) => {
    asked.push({ offset, bytes })
    state.running += 1
    state.most = Math.max(state.most, state.running)
    await new Promise((resolve) => setImmediate(resolve))
    state.running -= 1
    if (state.fails) throw new VarveError('CONNECTION_LOST', 'away')
    return { size: 1000, fromSize: null, granularity: 65_536, ...(pages[offset] ?? { ranges: [], next: null }) }
  }
  return { link: { call, openings } as unknown as Pick<Link, 'call' | 'openings'>, asked, state, openings }
}

const data = (offset: number): ChangedRange => ({ offset, bytes: 10, kind: 'data' })

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

test('pages are read to the end of what was asked for, and no further', async () => {
  const { link, asked } = fakeLink({ 0: { ranges: [data(0)], next: 100 }, 100: { ranges: [data(100)], next: 300 } })
  expect(await readChanges(link, ASKED)).toMatchObject({ ranges: [data(0), data(100)], cutAt: null })
  expect(asked.map(({ offset }) => offset)).toEqual([0, 100, 300])
  asked.length = 0
  expect((await readChanges(link, { ...ASKED, bytes: 200 })).ranges).toEqual([data(0), data(100)])
  expect(asked).toEqual([
    { offset: 0, bytes: 200 },
    { offset: 100, bytes: 100 },
  ])
})

test('an answer without an end is given up, and says where', async () => {
  const pages = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [index, { ranges: [], next: index + 1 }]))
  expect(await readChanges(fakeLink(pages).link, ASKED)).toMatchObject({ cutAt: 64 })
})

test('a question is asked once, few at once, and again after a failure only when the connection has opened again', async () => {
  const { link, asked, state, openings } = fakeLink({})
  const book = new ChangesBook(link)
  const answer = book.ask(ASKED)
  expect(book.ask({ ...ASKED })).toBe(answer)
  expect(answer.value.kind).toBe('waiting')
  for (let index = 2; index < 9; index += 1) book.ask({ ...ASKED, to: `p${index}` })
  await settled()
  expect(answer.value.kind).toBe('known')
  expect([asked.length, state.most]).toEqual([8, 2])
  state.fails = true
  const failed = book.ask({ ...ASKED, disk: 'vdb' })
  await settled()
  expect(failed.value).toMatchObject({ kind: 'failed', error: { code: 'CONNECTION_LOST' } })
  expect(book.ask({ ...ASKED, disk: 'vdb' })).toBe(failed)
  expect(asked.length).toBe(9)
  state.fails = false
  openings.value = 2
  const again = book.ask({ ...ASKED, disk: 'vdb' })
  await settled()
  expect(again.value.kind).toBe('known')
  expect(book.ask(ASKED)).toBe(answer)
})

test('what was asked for long ago is let go, what is looked at is not', async () => {
  const { link, asked } = fakeLink({})
  const book = new ChangesBook(link)
  for (let index = 0; index < 600; index += 1) {
    book.ask({ ...ASKED, to: `p${index}` })
    book.ask(ASKED)
  }
  for (let turn = 0; turn < 20; turn += 1) await settled()
  const before = asked.length
  book.ask(ASKED)
  book.ask({ ...ASKED, to: 'p599' })
  expect(asked.length).toBe(before)
  book.ask({ ...ASKED, to: 'p0' })
  await settled()
  expect(asked.length).toBe(before + 1)
})
