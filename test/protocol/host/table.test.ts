// Text tables: columns line up, whatever is missing or long.
import { expect, test } from 'vitest'
import { tableLines, tablePages } from '../../../protocol/host/table.ts'

test('columns are as wide as their widest cell, and lines end with their text', () => {
  const rows = [['a', 'long cell', 'x'], ['bbbbbb', '', ''], ['c']]
  expect(tableLines(['ONE', 'TWO', 'THREE'], rows)).toEqual([
    'ONE     TWO        THREE',
    'a       long cell  x',
    'bbbbbb',
    'c',
  ])
  expect(tableLines(['ONE'], [])).toEqual(['ONE'])
})

test('a table that comes in pages has its heading once, and columns that only widen', () => {
  const lines = tablePages(['ONE', 'TWO'])
  expect(lines([['aaaaa', 'x']])).toEqual(['ONE    TWO', 'aaaaa  x'])
  expect(lines([['b', 'y']])).toEqual(['b      y'])
  expect(lines([['bbbbbbb', 'z']])).toEqual(['bbbbbbb  z'])
})
