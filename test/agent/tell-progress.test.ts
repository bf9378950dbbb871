// Progress as it is told now and then: to a gateway that knows it, to an older one, and to none. Method: a played link.
import { expect, test } from 'vitest'
import { PROGRESS_MS, tellProgress } from '../../agent/tell-progress.ts'
import { VarveError } from '../../protocol/errors.ts'
import { HandClock, settle } from '../support/hand-clock.ts'

const SPENT = { overMs: 1, readingMs: 1, compressingMs: 0, sendingMs: 0, answersMs: 0 }

const played = (answer: () => Promise<object>) => {
  const clock = new HandClock()
  const told: unknown[] = []
  const call = async (name: string, params: unknown): Promise<never> => {
    told.push([name, params])
    return (await answer()) as never
  }
  const stop = tellProgress({
    job: 'job',
    steps: { current: 'disk' },
    pace: { take: () => SPENT },
    link: () => ({ call }),
    clock,
  })
  return { clock, told, stop }
}

test('it is told every two seconds until the backup ends, and goes on after a failure', async () => {
  let fails = true
  const { clock, told, stop } = played(async () => {
    if (fails) throw new VarveError('CONNECTION_LOST', 'away')
    return {}
  })
  await clock.advanceSettled(PROGRESS_MS)
  expect(told).toEqual([['backup.progress', { job: 'job', step: 'disk', spent: SPENT }]])
  fails = false
  await clock.advanceSettled(PROGRESS_MS * 2)
  expect(told).toHaveLength(3)
  stop()
  await clock.advanceSettled(PROGRESS_MS * 5)
  expect([told.length, clock.waiting]).toEqual([3, 0])
})

test('a gateway that does not know it is told once; one that does not answer is told once at a time', async () => {
  const older = played(async () => {
    throw new VarveError('METHOD_UNKNOWN', 'there is no method backup.progress on this side')
  })
  await older.clock.advanceSettled(PROGRESS_MS * 5)
  expect([older.told.length, older.clock.waiting]).toEqual([1, 0])
  const silent = played(() => new Promise(() => {}))
  await silent.clock.advanceSettled(PROGRESS_MS * 5)
  silent.stop()
  await settle()
  expect([silent.told.length, silent.clock.waiting]).toEqual([1, 0])
})
