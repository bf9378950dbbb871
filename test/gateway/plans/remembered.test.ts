// Answers that are kept: each is found once, and never so many that they fill memory.
import { expect, test } from 'vitest'
import { remembered } from '../../../gateway/plans/remembered.ts'

test('an answer is found once, until as many others were found as are kept', () => {
  const asked: string[] = []
  const lengthOf = remembered((text) => asked.push(text) && text.length, 2)
  expect(['a', 'bb', 'a', 'bb'].map(lengthOf)).toEqual([1, 2, 1, 2])
  expect(asked).toEqual(['a', 'bb'])
  expect(['ccc', 'a', 'ccc'].map(lengthOf)).toEqual([3, 1, 3])
  expect(asked).toEqual(['a', 'bb', 'ccc', 'a'])
})
