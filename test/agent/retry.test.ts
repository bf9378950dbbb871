// Work that is tried again: as often as it may, while that may help, and with a pause.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { backoffMs, retry } from '../../agent/retry.ts'
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'
import { HandClock, settle } from '../support/hand-clock.ts'

/** Fails with each code in turn, then succeeds; tells how often it was tried. */
const work = (codes: readonly ErrorCode[]) => {
  const left = [...codes]
  const seen = { tries: 0 }
  return {
    seen,
    run: async (): Promise<string> => {
      seen.tries += 1
      const code = left.shift()
      if (code !== undefined) throw new VarveError(code, 'scripted')
      return 'done'
    },
  }
}

const passes = ({ retry: may }: VarveError): boolean => may

test('until it succeeds, with a pause before each further try', async () => {
  const clock = new HandClock()
  const { run, seen } = work(['STORE_FULL', 'QMP_TIMEOUT'])
  const done = retry(run, { triesMax: 3, pauseMs: 1000, clock, passes })
  await settle()
  await clock.advanceSettled(999)
  expect(seen.tries).toBe(1)
  await clock.advanceSettled(1)
  expect(seen.tries).toBe(2)
  await clock.advanceSettled(1000)
  expect([await done, seen.tries]).toEqual(['done', 3])
})

test.each([
  ['another try cannot help', ['STORE_FULL', 'JOB_ENDED'], 'JOB_ENDED', 2],
  ['there were enough', ['STORE_FULL', 'STORE_FULL', 'QMP_TIMEOUT', 'STORE_FULL'], 'QMP_TIMEOUT', 3],
] as const)('not any more where %s', async (_why, codes, code, tries) => {
  const clock = new HandClock()
  const { run, seen } = work(codes)
  const failed = expect(retry(run, { triesMax: 3, pauseMs: 1000, clock, passes })).rejects.toMatchObject({ code })
  await clock.advanceSettled(10_000)
  await clock.advanceSettled(10_000)
  await failed
  expect(seen.tries).toBe(tries)
})

test('the pause before a connection doubles up to half a minute, half of it at random', () => {
  expect([0, 1, 2, 3, 20].map((attempt) => backoffMs(attempt, 0))).toEqual([250, 500, 1000, 2000, 15_000])
  fc.assert(
    fc.property(fc.nat(1000), fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (attempt, random) => {
      const ms = backoffMs(attempt, random)
      expect(ms).toBeGreaterThanOrEqual(250)
      expect(ms).toBeLessThanOrEqual(30_000)
      expect(ms).toBeLessThanOrEqual(500 * 2 ** attempt)
      expect(backoffMs(attempt + 1, random)).toBeGreaterThanOrEqual(ms)
    }),
  )
})
