// Filters of coverage: which states they ask for, what they count, and names of all pages.
import { expect, test } from 'vitest'
import {
  countOf,
  isStateFilter,
  namePartOf,
  namesOf,
  statesOf,
  stillThere,
  tallyOf,
  without,
} from '../../../../gateway/console/stores/coverage.ts'
import type { StateCounts } from '../../../../protocol/coverage.ts'

const COUNTS: StateCounts = {
  fresh: 100,
  unverified: 20,
  late: 1,
  failing: 2,
  never: 3,
  uncovered: 5,
  orphaned: 4,
  archived: 30,
  excluded: 40,
}

test('what stands apart is left out, unless it is asked for or a name is looked for', () => {
  expect(statesOf({ state: null, part: '' })).toEqual([
    'fresh',
    'unverified',
    'late',
    'failing',
    'never',
    'uncovered',
    'orphaned',
  ])
  expect(statesOf({ state: null, part: 'db' })).toBeNull()
  expect(statesOf({ state: 'excluded', part: '' })).toEqual(['excluded'])
  expect(statesOf({ state: 'unprotected', part: 'db' })?.toSorted()).toEqual([
    'failing',
    'late',
    'never',
    'orphaned',
    'uncovered',
  ])
})

test('counts are known without a name, and only the gateway knows them with one', () => {
  expect(tallyOf(COUNTS)).toEqual({ all: 205, expected: 135, unprotected: 15, apart: 70 })
  expect(countOf(COUNTS, { state: null, part: '' })).toBe(135)
  expect(countOf(COUNTS, { state: 'unprotected', part: '' })).toBe(15)
  expect(countOf(COUNTS, { state: null, part: 'db' })).toBeNull()
})

test('what a person types is made a part of a name', () => {
  expect(namePartOf(' db%_1/ü.x')).toBe('db_1.x')
  expect(namePartOf('a'.repeat(100))).toHaveLength(63)
  expect([undefined, '', 'unprotected', 'late', 'lost'].map(isStateFilter)).toEqual([false, false, true, true, false])
})

test('names of all pages are gathered in their order', async () => {
  const asked: unknown[] = []
  const call = (_: string, params: { after: string | null }) => {
    asked.push(params.after)
    return Promise.resolve(
      params.after === null
        ? { machines: [{ machine: 'a' }, { machine: 'b' }], next: '1' }
        : { machines: [{ machine: 'c' }], next: null },
    )
  }
  const link = { call } as unknown as Parameters<typeof namesOf>[0]
  expect(await namesOf(link, { state: null, part: '', order: 'worst' })).toEqual(['a', 'b', 'c'])
  expect(asked).toEqual([null, '1'])
})

test('of those chosen only what a list still has stays, and only what was worked on goes', () => {
  const chosen = new Set(['a', 'b', 'c'])
  expect([...stillThere(chosen, [{ machine: 'c' }, { machine: 'a' }, { machine: 'd' }])]).toEqual(['a', 'c'])
  expect(stillThere(chosen, [{ machine: 'c' }, { machine: 'a' }, { machine: 'b' }])).toBe(chosen)
  expect([...without(chosen, ['a', 'x'])]).toEqual(['b', 'c'])
})
