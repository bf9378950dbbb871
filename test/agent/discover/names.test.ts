// Names of found machines: always fit for the configuration, each once.
import fc from 'fast-check'
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { fitName, Names } from '../../../agent/discover/names.ts'
import { name } from '../../../protocol/schemas.ts'

test.each([
  ['db1', 'db1'],
  ['web 1', 'web-1'],
  ['Büro/Server', 'Buro-Server'],
  ['-x-', 'x'],
  ['...', 'machine'],
  ['日本', 'machine'],
  ['', 'machine'],
  ['a'.repeat(80), 'a'.repeat(63)],
])('%s', (text, fit) => {
  expect(fitName(text)).toBe(fit)
})

test('names are given out once, whatever they are', () => {
  const names = new Names(['db1'])
  expect(['db1', 'db1', 'db1-2', 'web'].map((one) => names.take(one))).toEqual(['db1-2', 'db1-3', 'db1-2-2', 'web'])
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string(), fc.string({ unit: 'grapheme', maxLength: 90 }), fc.constant('a'.repeat(63)))),
      (texts) => {
        const all = new Names()
        const given = texts.map((text) => all.take(text))
        expect(new Set(given).size).toBe(given.length)
        expect(given.filter((one) => !v.is(name, one))).toEqual([])
      },
    ),
  )
})
