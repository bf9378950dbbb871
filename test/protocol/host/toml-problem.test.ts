// What is said about a text that is not TOML: one line, with the number of the line that is wrong.
import { parse } from 'smol-toml'
import { expect, test } from 'vitest'
import { tomlProblem } from '../../../protocol/host/toml-problem.ts'

const problemOf = (text: string): string => {
  try {
    parse(text)
  } catch (error) {
    return tomlProblem(error as Error)
  }
  return ''
}

test.each([
  ['a = 1\nb = \n', /^line 2 is not TOML: [^\n]+$/u],
  ['[[machine]\n', /^line 1 is not TOML: [^\n]+$/u],
  ['a = 1\na = 2\n', /^line 2 is not TOML: [^\n]+$/u],
])('%j', (text, words) => {
  expect(problemOf(text)).toMatch(words)
})

test('an error of another kind has no line', () => {
  expect(tomlProblem(new Error('strange'))).toBe('it is not TOML: strange')
})
