// The steps of a backup: counted back from when they are told, bounded, also those that failed or have not ended.
import { expect, test } from 'vitest'
import { Steps } from '../../agent/steps.ts'
import { STEPS_MAX, steps as schema } from '../../protocol/steps.ts'
import * as v from 'valibot'
import { HandClock } from '../support/hand-clock.ts'

test('a step says how long ago it began, how long it took and what it read', async () => {
  const clock = new HandClock(5000)
  const steps = new Steps(clock)
  const given = await steps.time('lease', async () => {
    clock.advance(300)
    steps.thawed(120.4)
    clock.advance(100)
    return 'lease'
  })
  expect(given).toBe('lease')
  const disk = steps.time(
    'disk',
    async (count) => {
      count(100)
      count(28)
      clock.advance(1000)
      throw new Error('cut')
    },
    'vda',
  )
  await expect(disk).rejects.toThrow('cut')
  clock.advance(50)
  const { promise, resolve } = Promise.withResolvers<void>()
  const open = steps.time('check', () => promise)
  clock.advance(7)
  expect(steps.list()).toEqual([
    { step: 'lease', disk: null, agoMs: 1457, tookMs: 400, bytes: 0 },
    { step: 'freeze', disk: null, agoMs: 1277, tookMs: 120, bytes: 0 },
    { step: 'disk', disk: 'vda', agoMs: 1057, tookMs: 1000, bytes: 128 },
    { step: 'check', disk: null, agoMs: 7, tookMs: 7, bytes: 0 },
  ])
  clock.advance(10)
  // told again later, they are longer ago
  expect(steps.list()[0]).toMatchObject({ agoMs: 1467, tookMs: 400 })
  resolve()
  await open
})

test('a freeze is told as long as it was, none as 0, and what an earlier process did is not known', () => {
  const of = (work: (onThawed: (frozenMs: number) => void) => void): number | null => {
    const steps = new Steps(new HandClock())
    work(steps.watchFreeze())
    return steps.told().frozenMs
  }
  expect(of(() => {})).toBe(0)
  expect(of((onThawed) => onThawed(120.4))).toBe(120)
  // not 0, which says that it was not frozen
  expect(of((onThawed) => onThawed(0.2))).toBe(1)
  const later = new Steps(new HandClock())
  expect(later.told()).toEqual({ steps: [], frozenMs: null })
})

test('there are never more than a message may have', async () => {
  const steps = new Steps(new HandClock())
  for (let index = 0; index < STEPS_MAX + 5; index++) await steps.time('disk', async () => {}, `vd${index}`)
  steps.thawed(1)
  expect(steps.list()).toHaveLength(STEPS_MAX)
  expect(v.is(schema, steps.list())).toBe(true)
})
