// How starts are spread: below the width, always alike, evenly, and apart for every name.
import { expect, test } from 'vitest'
import { jitterMs } from '../../../gateway/plans/jitter.ts'

const WIDTH_MS = 3 * 3_600_000
const of = (machine: string) => ({ tenant: 'acme', machine, plan: 'nightly' })

test('is what it was in every version: a start must not move by an update', () => {
  expect(jitterMs(of('db1'), WIDTH_MS)).toMatchInlineSnapshot(`82794`)
  expect(jitterMs({ ...of('db1'), tenant: 'other' }, WIDTH_MS)).toMatchInlineSnapshot(`615063`)
  expect(jitterMs({ ...of('db1'), plan: 'hourly' }, WIDTH_MS)).toMatchInlineSnapshot(`5420895`)
})

test('no width is no jitter, and the least one too', () => {
  expect(jitterMs(of('db1'), 0)).toBe(0)
  expect(jitterMs(of('db1'), 1)).toBe(0)
})

test('names that read alike when put together are apart', () => {
  expect(jitterMs({ tenant: 'a', machine: 'bc', plan: 'd' }, WIDTH_MS)).not.toBe(
    jitterMs({ tenant: 'ab', machine: 'c', plan: 'd' }, WIDTH_MS),
  )
})

test('a thousand machines spread over the width', () => {
  const tenths = Array.from({ length: 10 }, () => 0)
  for (let machine = 0; machine < 1000; machine++) {
    const ms = jitterMs(of(`vm${machine}`), WIDTH_MS)
    expect(ms).toBeGreaterThanOrEqual(0)
    expect(ms).toBeLessThan(WIDTH_MS)
    tenths[Math.floor((ms / WIDTH_MS) * 10)]!++
  }
  for (const machines of tenths) {
    expect(machines).toBeGreaterThan(60)
    expect(machines).toBeLessThan(140)
  }
})
