// Patterns of names: known cases, and the same answers as a regular expression gives.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fits, fitsOne } from '../../../agent/discover/patterns.ts'

test.each([
  ['web-1', 'web-*', true],
  ['web-', 'web-*', true],
  ['web', 'web-*', false],
  ['my-web-1', 'web-*', false],
  ['web-1', 'web-?', true],
  ['web-12', 'web-?', false],
  ['web-ü', 'web-?', true],
  ['anything', '*', true],
  ['', '*', true],
  ['a.b', 'a.b', true],
  ['axb', 'a.b', false],
  ['a[1]', 'a[1]', true],
  ['abcabc', '*abc', true],
  ['abcab', '*abc', false],
  ['DB1', 'db1', false],
])('%s and %s', (name, pattern, expected) => {
  expect(fits(name, pattern)).toBe(expected)
  expect(fitsOne(name, ['nothing', pattern])).toBe(expected)
})

test('it is what the pattern is as a regular expression', () => {
  const text = (letters: string): fc.Arbitrary<string> =>
    fc.string({ unit: fc.constantFrom(...letters.split('')), maxLength: 12 })
  fc.assert(
    fc.property(text('ab-'), text('ab-*?'), (name, pattern) => {
      const source = pattern.replaceAll('*', '.*').replaceAll('?', '.')
      expect(fits(name, pattern)).toBe(new RegExp(`^${source}$`, 'su').test(name))
    }),
    { numRuns: 2000 },
  )
})

test('a pattern of many stars ends soon', () => {
  expect(fits('a'.repeat(2000), `${'*a'.repeat(100)}b`)).toBe(false)
})
