// How the gateway is told of a backup's end: until it answers, and without harm where it does not. Method: a scripted link.
import { expect, test } from 'vitest'
import { EndReports } from '../../agent/end-reports.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Peer } from '../../protocol/peer.ts'
import { HandClock } from '../support/hand-clock.ts'
import { eventually } from '../support/temp.ts'
import { codeOf } from './restore/code-of.ts'

const LATE = new VarveError('DEADLINE_EXCEEDED', 'no answer in time')

/** A link that answers with these one after the other; nothing is an answer too. */
const reportsTo = (...answers: (VarveError | null)[]) => {
  const asked: [string, object][] = []
  const logged: [string, unknown][] = []
  const call = async (method: string, params: object): Promise<object> => {
    asked.push([method, params])
    const error = answers.shift() ?? null
    if (error !== null) throw error
    return {}
  }
  const link = { call, repeat: (work: (peer: Peer) => Promise<unknown>) => work({ call } as unknown as Peer) }
  const note =
    (level: string) =>
    ({ code }: { readonly code?: unknown }): void =>
      void logged.push([level, code])
  const clock = new HandClock(0)
  const reports = new EndReports({
    link: () => link as never,
    clock,
    log: { info: note('info'), warn: note('warn') } as never,
    signal: new AbortController().signal,
  })
  return { reports, asked, logged, clock }
}

const steps = { told: () => ({ steps: [] }), list: () => [] } as never
const took = { bytesRead: 7, scratch: null } as never

test('a commit is asked for again until the gateway answers', async () => {
  const { reports, asked, clock } = reportsTo(LATE, LATE, null)
  const committing = reports.commit('j', steps, took, 1000)
  for (let pauses = 0; pauses < 2; pauses++) {
    await eventually(() => clock.waiting > 0)
    clock.advance(1000)
  }
  await committing
  expect(asked).toHaveLength(3)
  expect(asked[2]).toEqual(['backup.commit', { job: 'j', bytesRead: 7, scratch: null, steps: [] }])
})

test('a commit that the gateway refuses is not asked for again', async () => {
  const { reports, asked } = reportsTo(new VarveError('JOB_ENDED', 'it has failed already'))
  expect(await codeOf(reports.commit('j', steps, took, 1000))).toBe('JOB_ENDED')
  expect(asked).toHaveLength(1)
})

test('a failure is told in a bounded length; that it cannot be told is logged, unless the gateway knows or is away', async () => {
  const { reports, asked, logged } = reportsTo(
    null,
    new VarveError('JOB_ENDED', 'ended'),
    new VarveError('CONNECTION_LOST', 'cut'),
    LATE,
  )
  for (let times = 0; times < 4; times++)
    await reports.failed('j', steps, new VarveError('LEASE_LOST', 'x'.repeat(5000)))
  expect(asked[0]).toEqual(['backup.fail', { job: 'j', code: 'LEASE_LOST', message: 'x'.repeat(1024), steps: [] }])
  expect(logged).toEqual([['warn', 'DEADLINE_EXCEEDED']])
})

test('a release that cannot be told does no harm', async () => {
  const { reports, asked, logged } = reportsTo(null, LATE)
  reports.released('a')
  reports.released('b')
  await eventually(() => logged.length > 0)
  expect(asked).toEqual([
    ['backup.released', { job: 'a' }],
    ['backup.released', { job: 'b' }],
  ])
  expect(logged).toEqual([['info', 'DEADLINE_EXCEEDED']])
})
