// How fast restores go and what they would bring back, from answers that are played.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { Link } from '../../../../gateway/console/net/link.ts'
import { differOf, doneOf, Rates, rateOf, Restores, stepOf } from '../../../../gateway/console/stores/restores.ts'
import type { Restore } from '../../../../protocol/restores.ts'
import { HandClock } from '../../../support/hand-clock.ts'

const DISK: Restore['disks'][number] = {
  disk: 'vda',
  size: 1000,
  to: '/x',
  format: 'raw',
  how: 'new',
  doneBytes: 0,
  bytesReceived: 0,
  differBytes: null,
  writtenBytes: 0,
  remarks: [],
}

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
  disks: [{ ...DISK, doneBytes }],
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

test('what is on another page keeps its samples, and one that is asked for seldom is measured from the last time', () => {
  const rates = new Rates()
  rates.see([restore('a', 0)], 0)
  rates.see([restore('b', 0)], 500)
  rates.see([restore('a', 2000)], 20_000)
  expect(rates.of('a')).toBe(100)
})

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

test('only the first page is asked for each second, and only while a restore runs', async () => {
  const asked: (string | null)[] = []
  const now = { first: [restore('a', 0)], second: [restore('b', 1000, 'done')] }
  const link = {
    state: signal({ kind: 'open' }),
    openings: signal(1),
    call: (_: string, { after }: { after: string | null }) => {
      asked.push(after)
      return Promise.resolve({ restores: after === null ? now.first : now.second, next: after === null ? '1' : null })
    },
  } as unknown as Link
  const clock = new HandClock()
  const rates = new Rates()
  const restores = new Restores(link, rates, clock)
  const leave = restores.watch()
  await settled()
  await restores.more()
  asked.length = 0
  for (let second = 1; second <= 3; second += 1) {
    now.first = [restore('a', second * 100)]
    clock.advance(1000)
    await settled()
  }
  expect(asked).toEqual([null, null, null])
  expect(restores.rows.value?.map(({ id, disks }) => [id, disks[0]!.doneBytes])).toEqual([
    ['a', 300],
    ['b', 1000],
  ])
  expect(rates.of('a')).toBe(100)
  now.first = [restore('a', 1000, 'done')]
  clock.advance(1000)
  await settled()
  expect(restores.rows.value?.map(({ state }) => state)).toEqual(['done', 'done'])
  asked.length = 0
  clock.advance(3000)
  await settled()
  expect(asked).toEqual([])
  clock.advance(10_000)
  await settled()
  expect(asked).toEqual([null, '1'])
  leave()
  clock.advance(20_000)
  await settled()
  expect(asked).toHaveLength(2)
})

test('a restore onto what is there is compared first, and then written as far as it differs; it only goes on', () => {
  const onto = (...disks: Partial<Restore['disks'][number]>[]): Restore => ({
    ...restore('a', 0),
    disks: disks.map((disk) => ({ ...DISK, how: 'onto', ...disk })),
  })
  const steps = [
    onto({}, {}),
    onto({ doneBytes: 500 }, {}),
    onto({ doneBytes: 1000, differBytes: 100 }, { doneBytes: 200 }),
    onto({ doneBytes: 1000, differBytes: 100 }, { doneBytes: 1000, differBytes: 50 }),
    onto(
      { doneBytes: 1000, differBytes: 100, writtenBytes: 100 },
      { doneBytes: 1000, differBytes: 50, writtenBytes: 10 },
    ),
  ]
  expect(steps.map(stepOf)).toEqual([
    { kind: 'compare', done: 0, size: 2000 },
    { kind: 'compare', done: 500, size: 2000 },
    { kind: 'compare', done: 1200, size: 2000 },
    { kind: 'differing', done: 0, size: 150 },
    { kind: 'differing', done: 110, size: 150 },
  ])
  const done = steps.map(doneOf)
  expect(done).toEqual(done.toSorted((a, b) => a - b))
  expect(steps.map(differOf).slice(-2)).toEqual([
    { differ: 150, written: 0 },
    { differ: 150, written: 110 },
  ])
  expect(stepOf(restore('b', 300))).toEqual({ kind: 'write', done: 300, size: 1000 })
  expect(differOf(restore('b', 300))).toBeNull()
})
