// Arbitrary values that a frame can carry.
import * as fc from 'fast-check'

const key = fc.string({ unit: 'binary', maxLength: 12 }).filter((text) => text !== '__proto__')

const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, depthSize: 'small' },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger().map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.double({ noNaN: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.uint8Array({ maxLength: 80 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(key, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
}))

/** nil, booleans, numbers, strings, bins, arrays and maps with string keys, nested. */
export const plainValue: fc.Arbitrary<unknown> = value

/** The value with every bin as a plain Uint8Array, so that it can be compared. */
export const comparable = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return Uint8Array.from(value)
  if (Array.isArray(value)) return value.map(comparable)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, comparable(field)]))
  return value
}
