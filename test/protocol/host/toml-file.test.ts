// TOML files: values that fit a schema, and one line for what does not, with the number of the line or the name of the key.
import { expect, test } from 'vitest'
import * as v from 'valibot'
import { parseToml, tomlProblem } from '../../../protocol/host/toml-file.ts'

const schema = v.strictObject({
  a: v.optional(v.number()),
  machine: v.optional(v.array(v.object({ name: v.string() }))),
})

const read = (text: string): unknown => parseToml('/etc/it.toml', text, schema)

test('a file that fits is its values', () => {
  expect(read('a = 1\n[[machine]]\nname = "db1"\n')).toEqual({ a: 1, machine: [{ name: 'db1' }] })
})

test.each([
  ['a = 1\nb = \n', /^\/etc\/it\.toml: line 2 is not TOML: [^\n]+$/u],
  ['[[machine]\n', /^\/etc\/it\.toml: line 1 is not TOML: [^\n]+$/u],
  ['a = 1\na = 2\n', /^\/etc\/it\.toml: line 2 is not TOML: [^\n]+$/u],
  ['a = "one"\n', /^\/etc\/it\.toml: a: must be a number, not [^\n]+$/u],
  ['[[machine]]\nname = "a"\n[[machine]]\n', /^\/etc\/it\.toml: "name" is missing in \[\[machine\]\] 2$/u],
])('%j', (text, words) => {
  expect(() => read(text)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(words) }),
  )
})

test('an error of another kind has no line', () => {
  expect(tomlProblem(new Error('strange'))).toBe('it is not TOML: strange')
})
