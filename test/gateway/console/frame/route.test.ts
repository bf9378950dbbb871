// Places of the console as fragments. Method: examples, and random places there and back.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { codeOf, formatRoute, parseRoute, to, withQuery } from '../../../../gateway/console/frame/route.ts'

test.each([
  ['', { view: '', path: [], query: {} }],
  ['#/', { view: '', path: [], query: {} }],
  ['#/protection?state=late', { view: 'protection', path: [], query: { state: 'late' } }],
  ['#/machine/db1', { view: 'machine', path: ['db1'], query: {} }],
  ['#/machine/a%2Fb/x?d=%2F', { view: 'machine', path: ['a/b', 'x'], query: { d: '/' } }],
  ['#/machine/%zz', { view: 'machine', path: ['%zz'], query: {} }],
  ['#/a?b=c?d', { view: 'a', path: [], query: { b: 'c?d' } }],
])('%s', (fragment, route) => {
  expect(parseRoute(fragment)).toEqual(route)
})

const name = fc.string({ unit: 'grapheme', minLength: 1 })

test('every place comes back as it was', () => {
  const places = fc.record({
    view: fc.stringMatching(/^[a-z]+$/u),
    path: fc.array(name, { maxLength: 3 }),
    query: fc.dictionary(name, fc.string({ unit: 'grapheme' }), { noNullPrototype: true }),
  })
  fc.assert(
    fc.property(places, (route) => {
      expect(parseRoute(formatRoute(route))).toEqual(route)
    }),
  )
})

test('whatever stands in the address, it is some place', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (fragment) => {
      parseRoute(fragment)
    }),
  )
})

test('a filter is set and removed, and the others stay', () => {
  const route = parseRoute('#/days?state=late&zone=UTC')
  expect(withQuery(route, { state: null, order: 'worst' }).query).toEqual({ zone: 'UTC', order: 'worst' })
  expect(to('machine', ['db 1'], { at: '1' })).toBe('#/machine/db%201?at=1')
})

test.each([
  ['#/login/abc', 'abc'],
  ['#/login/abc/d?x=1', 'abc'],
  ['#/login', null],
  ['#/machine/login', null],
  ['', null],
])('code of %s', (fragment, code) => {
  expect(codeOf(parseRoute(fragment))).toBe(code)
})
