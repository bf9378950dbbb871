// The calendar's store: what it asks the gateway for, and the points of one day among many.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { Link } from '../../../../gateway/console/net/link.ts'
import { Calendar, LOOKED_MAX, pointsBetween } from '../../../../gateway/console/stores/days.ts'

/** A link whose calls a test answers. */
const linkOf = (answer: (name: string, params: Record<string, unknown>) => unknown): Link =>
  ({
    state: signal({ kind: 'open' }),
    openings: signal(1),
    call: (name: string, params: Record<string, unknown>) => Promise.resolve(answer(name, params)),
  }) as unknown as Link

test('a calendar asks for its days, and knows when each begins', async () => {
  const asked: Record<string, unknown>[] = []
  const link = linkOf((_, params) => {
    asked.push(params)
    return {
      firstDay: '2026-11-29',
      bounds: [1, 2],
      machines: [{ machine: 'a', state: 'late', cells: [] }],
      next: null,
    }
  })
  const wanted = { days: 1, untilDay: null, zone: 'UTC', state: 'late', part: 'db', order: 'worst' } as const
  const calendar = new Calendar(link, wanted)
  expect(calendar.span.value).toBeNull()
  await calendar.rows.refresh()
  expect(asked).toEqual([
    { days: 1, untilDay: null, zone: 'UTC', order: 'worst', states: ['late'], contains: 'db', after: null, limit: 60 },
  ])
  expect(calendar.span.value).toEqual({ firstDay: '2026-11-29', bounds: [1, 2] })
  expect(calendar.rows.rows.value?.map(({ machine }) => machine)).toEqual(['a'])
})

test('points of one day are looked for until older ones come', async () => {
  const pages = [[90, 80], [50, 45], [40, 30], [20]]
  const asked: unknown[] = []
  const link = linkOf((_, { after }) => {
    asked.push(after)
    const index = Number(after ?? 0)
    return { points: pages[index]!.map((timeMs) => ({ timeMs })), next: index === 3 ? null : String(index + 1) }
  })
  const points = pointsBetween(link, 'db1', 40, 81)
  await points.refresh()
  expect(points.value.value?.points.map(({ timeMs }) => timeMs)).toEqual([80, 50, 45, 40])
  expect(asked).toEqual([null, '1', '2'])
  expect(points.value.value?.isCut).toBe(false)
})

test('who looks for a day before very many points is told that the list is cut', async () => {
  const page = Array.from({ length: LOOKED_MAX / 2 }, () => ({ timeMs: 50 }))
  const link = linkOf((_, { after }) => ({ points: page, next: String(Number(after ?? 0) + 1) }))
  const points = pointsBetween(link, 'db1', 40, 50)
  await points.refresh()
  expect(points.value.value).toEqual({ points: [], isCut: true })
})

test('past midnight all rows are of the new day, whichever page tells of it first', async () => {
  let firstDay = '2026-11-29'
  const link = linkOf((_, { after }) => ({
    firstDay,
    bounds: [1, 2],
    machines: [{ machine: after === null ? 'a' : `b${after as string}`, state: 'late', cells: [] }],
    next: after === null ? '1' : after === '1' ? '2' : null,
  }))
  const wanted = { days: 1, untilDay: null, zone: 'UTC', state: null, part: '', order: 'worst' } as const
  const calendar = new Calendar(link, wanted)
  await calendar.rows.refresh()
  await calendar.rows.more()
  const seen = () => calendar.rows.rows.value?.map(({ machine, span }) => `${machine} ${span.firstDay}`)
  expect(seen()).toEqual(['a 2026-11-29', 'b1 2026-11-29'])
  firstDay = '2026-11-30'
  await calendar.rows.more()
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  // with the page that was asked for meanwhile
  expect(seen()).toEqual(['a 2026-11-30', 'b1 2026-11-30', 'b2 2026-11-30'])
  expect(calendar.span.value?.firstDay).toBe('2026-11-30')
})
