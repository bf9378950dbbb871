// How fast restores go and what they would bring back, from answers that are played.
import { expect, test } from 'vitest'
import { Rates, rateOf } from '../../../../gateway/console/stores/restores.ts'
import type { Restore } from '../../../../protocol/restores.ts'

const restore = (id: string, doneBytes: number, state: Restore['state'] = 'running'): Restore => ({
  id,
  point: id,
  machine: 'db1',
  timeMs: 1,
  agent: id,
  host: 'h1',
  by: 'ann',
  overwrite: false,
  state,
  startedMs: 1,
  endedMs: null,
  error: null,
  disks: [{ disk: 'vda', size: 1000, to: '/x', format: 'raw', doneBytes, bytesReceived: 0, remarks: [] }],
})

test('a rate needs a second of looking', () => {
  expect(rateOf([])).toBeNull()
  expect(rateOf([{ atMs: 0, done: 5 }])).toBeNull()
  expect(
    rateOf([
      { atMs: 0, done: 5 },
      { atMs: 900, done: 95 },
    ]),
  ).toBeNull()
  expect(
    rateOf([
      { atMs: 0, done: 5 },
      { atMs: 2000, done: 205 },
    ]),
  ).toBe(100)
})

test('rates are of the last seconds, and of what runs', () => {
  const rates = new Rates()
  rates.see([restore('a', 0)], 0)
  rates.see([restore('a', 10)], 10_000)
  rates.see([restore('a', 510)], 15_000)
  expect(rates.of('a')).toBe(100)
  expect(rates.of('b')).toBeNull()
  rates.see([restore('a', 510, 'done')], 16_000)
  expect(rates.of('a')).toBeNull()
})
