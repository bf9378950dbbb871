// The check of what was told in a simulated month finds what it is there for: a double, a loss, and what nobody saw.
import { expect, test } from 'vitest'
import { toldRightly } from './month-states.ts'

const seen = (...values: readonly string[]) =>
  values.map((value) => ({ value: value.replace('?', ''), certain: !value.endsWith('?') }))

test('each certain change is told once, others at most once', () => {
  const looks = seen('good', 'late', 'late', 'failing?', 'good')
  expect(toldRightly(looks, ['late', 'good'])).toBe(true)
  expect(toldRightly(looks, ['late', 'failing', 'good'])).toBe(true)
  for (const wrong of [
    ['late', 'late', 'good'],
    ['late'],
    ['good'],
    [],
    ['late', 'good', 'good'],
    ['late', 'failing', 'failing', 'good'],
    ['late', 'never', 'good'],
    ['good', 'late', 'good'],
  ])
    expect([wrong, toldRightly(looks, wrong)]).toEqual([wrong, false])
})
