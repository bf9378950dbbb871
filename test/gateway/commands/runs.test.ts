// Runs as rows for people: what became of each, or holds it up.
import { expect, test } from 'vitest'
import type { Run } from '../../../protocol/runs.ts'
import { runCells, runWhy } from '../../../gateway/commands/runs.ts'

const run: Run = {
  id: '0192aaaa-0000-4000-8000-0000c0ffee42',
  kind: 'backup',
  machine: 'db1',
  plan: 'nightly',
  dueMs: Date.UTC(2026, 10, 5, 1),
  state: 'due',
  skipped: null,
  attempts: 0,
  error: null,
  nextMs: null,
  startedMs: null,
  endedMs: null,
  job: null,
  by: null,
  summary: '',
}

test('what is said of each', () => {
  const error = { code: 'QMP_TIMEOUT', message: 'no answer' }
  expect(runWhy(run)).toBe('-')
  expect(runWhy({ ...run, state: 'failed', error })).toBe('no answer (QMP_TIMEOUT)')
  expect(runWhy({ ...run, error, nextMs: Date.UTC(2026, 10, 5, 2) })).toBe(
    'no answer (QMP_TIMEOUT); again at 2026-11-05 02:00:00',
  )
  expect(runWhy({ ...run, state: 'skipped', skipped: 'excluded' })).toBe('the machine is excluded')
  expect(runWhy({ ...run, state: 'skipped', skipped: 'missed', summary: '3 runs from then on' })).toBe(
    '3 runs from then on',
  )
  expect(runWhy({ ...run, state: 'done', summary: 'removed 3 restore points' })).toBe('removed 3 restore points')
})

test('who started it stands where its plan would', () => {
  expect(runCells(run)[3]).toBe('nightly')
  expect(runCells({ ...run, plan: null, by: 'ann' })[3]).toBe('by ann')
  expect(runCells({ ...run, plan: null, kind: 'prune', machine: null }).slice(1, 4)).toEqual(['prune', '-', '-'])
})
