// Running jobs as they are followed: samples of each, none of those that ended, and one question for all of them.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { Link } from '../../../../gateway/console/net/link.ts'
import { agentsById, runningJobs, runsOf, tracked, upkeepOf } from '../../../../gateway/console/stores/running.ts'
import type { Job } from '../../../../protocol/views.ts'

const jobOf = (id: string, doneBytes: number): Job => ({
  id,
  machine: 'db1',
  agent: id,
  online: true,
  state: 'running',
  phase: 'reading',
  limit: null,
  resumes: 0,
  resumedMs: null,
  subject: 'anna',
  startedMs: 0,
  endedMs: null,
  released: false,
  bytesSent: doneBytes / 2,
  comparedBytes: 0,
  disks: [{ name: 'vda', size: 100, kind: 'full', reason: 'first', doneBytes }],
  error: null,
})

test('each job keeps its samples while it runs', () => {
  const first = tracked([], [jobOf('a', 10), jobOf('b', 5)], 1000)
  const second = tracked(first, [jobOf('b', 9), jobOf('c', 1)], 3000)
  expect(second.map(({ job, samples }) => [job.id, samples.map(({ doneBytes }) => doneBytes)])).toEqual([
    ['b', [5, 9]],
    ['c', [1]],
  ])
})

test('running upkeep is asked for by kind, and a list that is cut is known', async () => {
  const asked: { kind: string; state: string }[] = []
  const link = {
    state: signal({ kind: 'open' }),
    openings: signal(1),
    call: (_: string, params: { kind: string; state: string }) => {
      asked.push(params)
      const runs = { verify: [{ id: 'v', dueMs: 5 }], prune: [{ id: 'p', dueMs: 9 }] }[params.kind] ?? []
      return Promise.resolve({ runs, next: params.kind === 'verify' ? 'more' : null })
    },
  } as unknown as Link
  const upkeep = upkeepOf(link)
  await upkeep.refresh()
  expect(upkeep.value.value).toMatchObject({ runs: [{ id: 'p' }, { id: 'v' }], isCut: true })
  expect(asked.map(({ kind }) => kind)).toEqual(['prune', 'collect', 'verify', 'audit', 'state', 'drill'])
  expect(new Set(asked.map(({ state }) => state))).toEqual(new Set(['running']))
})

test('the stores ask for what runs, once for all; agents only where the person may', async () => {
  const asked: unknown[] = []
  const answers: Record<string, object> = {
    'jobs.list': { jobs: [jobOf('a', 1)], next: null },
    'runs.list': { runs: [], next: null },
    'agents.list': { agents: [{ id: 'a', host: 'h1' }], next: null },
  }
  const linkWith = (may: boolean): Link =>
    ({
      state: signal({ kind: 'open' }),
      openings: signal(1),
      may: () => may,
      call: async (name: string, params: object) => {
        asked.push([name, params])
        return answers[name]
      },
    }) as unknown as Link
  const jobs = runningJobs(linkWith(true), () => 7)
  await jobs.refresh()
  expect(jobs.value.value).toMatchObject([{ job: { id: 'a' }, samples: [{ atMs: 7, doneBytes: 1 }] }])
  const agents = agentsById(linkWith(true))
  await agents.refresh()
  expect(agents.value.value?.get('a')?.host).toBe('h1')
  await runsOf(linkWith(true), 'due').refresh()
  expect(asked).toEqual([
    ['jobs.list', { machine: null, running: true, limit: 100 }],
    ['agents.list', { limit: 250 }],
    ['runs.list', { state: 'due', limit: 50 }],
  ])
  const none = agentsById(linkWith(false))
  await none.refresh()
  expect([none.value.value?.size, asked.length]).toEqual([0, 3])
})
