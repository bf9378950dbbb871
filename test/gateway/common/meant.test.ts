// What is said about a name that is not there.
import { expect, test } from 'vitest'
import { andElse, meant } from '../../../gateway/common/meant.ts'

test('the name that was probably meant, else those there are, else nothing', () => {
  expect(meant('db11', ['db1', 'web'])).toBe('; did you mean "db1"?')
  expect(meant('DB1', ['db1'])).toBe('; did you mean "db1"?')
  expect(meant('printer', ['db1', 'web'])).toBe('; there is "db1", "web"')
  expect(meant('printer', ['aa', 'bb', 'cc', 'dd', 'ee', 'ff', 'gg'])).toBe(
    '; there is "aa", "bb", "cc", "dd", "ee" and 2 more',
  )
  expect(meant('db1', [])).toBe('')
})

test('another way out follows a question as a sentence, anything else as a part of it', () => {
  expect(andElse('did you mean "a"?', 'add it')).toBe('did you mean "a"? Add it')
  expect(andElse('there is none', 'add it')).toBe('there is none; add it')
})
