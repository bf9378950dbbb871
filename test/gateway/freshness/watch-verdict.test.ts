// What is news: a condition is told when it begins, when its value changes and when it is good again, and never for what nobody
// could look at. Method: verdicts against held conditions, all of them plain data.
import { describe, expect, test } from 'vitest'
import {
  beforeOf,
  daysText,
  newsOf,
  stepOf,
  type Held,
  type Verdict,
} from '../../../gateway/freshness/watch-verdict.ts'

const SUBJECT = { kind: 'quota.soft', tenant: 't', key: 'quota.soft', machine: null } as const
const HOLDING = { severity: 'warning', value: 'over', text: 'it is over', data: { usedBytes: 5 } } as const
const HELD: Held = { ...SUBJECT, value: 'over' }
const holds: Verdict = { ...SUBJECT, holding: HOLDING, good: 'it is below' }
const good: Verdict = { ...SUBJECT, holding: null, good: 'it is below' }

describe('news', () => {
  test('a condition that begins is told, and one that holds already is not told again', () => {
    expect(newsOf([], { verdicts: [holds] })).toEqual([{ ...SUBJECT, ...HOLDING, holds: true }])
    expect(newsOf([HELD], { verdicts: [holds] })).toEqual([])
    const other = { ...holds, holding: { ...HOLDING, value: 'more' } }
    expect(newsOf([HELD], { verdicts: [other] })).toMatchObject([{ holds: true, value: 'more' }])
  })

  test('one that is good again is told once, and what was always good is not', () => {
    expect(newsOf([HELD], { verdicts: [good] })).toEqual([{ ...SUBJECT, holds: false, text: 'it is below', data: {} }])
    expect(newsOf([], { verdicts: [good] })).toEqual([])
  })

  test('what no verdict speaks of is over, unless nobody could look at it', () => {
    expect(newsOf([HELD], { verdicts: [] })).toMatchObject([{ key: 'quota.soft', holds: false }])
    expect(newsOf([HELD], { verdicts: [], unseen: ({ key }) => key === 'quota.soft' })).toEqual([])
  })

  test('the same key of another tenant is another condition', () => {
    const before = beforeOf([HELD])
    expect([before('t', 'quota.soft'), before('u', 'quota.soft'), before(null, 'quota.soft')]).toEqual([
      'over',
      null,
      null,
    ])
  })
})

test('a figure that swings about a limit stays in the step that it reached, until it is well above', () => {
  const steps = [
    { below: 14, value: 'soon' },
    { below: 3, value: 'urgent' },
  ]
  const valueOf = (figure: number, before: string | null): string | null =>
    stepOf(figure, steps, { before, slack: 1.5 })?.value ?? null
  let before: string | null = null
  const told = [20, 13, 15, 13.9, 20.9, 2.9, 3.1, 4.4, 4.6, 13, 22].map((figure) => (before = valueOf(figure, before)))
  expect(told).toEqual([null, 'soon', 'soon', 'soon', 'soon', 'urgent', 'urgent', 'urgent', 'soon', 'soon', null])
  expect(valueOf(2, null)).toBe('urgent')
  // a value of another program's version is none of the steps
  expect(valueOf(20, 'other')).toBeNull()
})

test('days for people', () => {
  expect([0.4, 1, 1.9, 12.3].map(daysText)).toEqual(['less than a day', '1 day', '1 day', '12 days'])
})
