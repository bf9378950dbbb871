// A list is read to its end, page by page, and no further.
import { expect, test } from 'vitest'
import { everyRow } from '../../protocol/paging.ts'

test('each page is asked for behind the one before, until nothing follows', async () => {
  const pages = [
    { rows: [1, 2], next: 'b' },
    { rows: [], next: 'c' },
    { rows: [3], next: null },
  ]
  const asked: (string | null)[] = []
  const ask = async (after: string | null) => {
    asked.push(after)
    return pages[asked.length - 1]!
  }
  expect(await everyRow(ask, (page) => page.rows)).toEqual([1, 2, 3])
  expect(asked).toEqual([null, 'b', 'c'])
})
