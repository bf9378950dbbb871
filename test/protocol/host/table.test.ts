// Text tables: columns line up, whatever is missing or long.
import { expect, test } from 'vitest'
import { tableLines } from '../../../protocol/host/table.ts'

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
