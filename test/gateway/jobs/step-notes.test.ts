// Steps that wait for whoever measures: taken once, of the right tenant, bounded, and not of a job that did not end.
import { expect, test } from 'vitest'
import { StepNotes, type NotedSteps } from '../../../gateway/jobs/step-notes.ts'

const noted = (toldMs: number): NotedSteps => ({
  toldMs,
  steps: [{ step: 'check', disk: null, agoMs: 1, tookMs: 1, bytes: 0 }],
})

test('steps are there while the job ends, and taken once, by their own tenant', async () => {
  const notes = new StepNotes()
  const given = await notes.during('acme', 'j1', noted(5), async () => {
    expect(notes.take('other', 'j1')).toBeNull()
    return 'point'
  })
  expect([given, notes.take('acme', 'j1'), notes.take('acme', 'j1')]).toEqual(['point', noted(5), null])
})

test('those of a job that could not be ended are forgotten', async () => {
  const notes = new StepNotes()
  const refused = notes.during('acme', 'j1', noted(5), () => Promise.reject(new Error('not yours')))
  await expect(refused).rejects.toThrow('not yours')
  expect(notes.count).toBe(0)
})

test('the oldest go where there are too many, and none are kept where nobody measures', async () => {
  const notes = new StepNotes(2)
  for (const job of ['j1', 'j2', 'j3']) await notes.during('acme', job, noted(5), async () => {})
  expect([notes.count, notes.take('acme', 'j1'), notes.take('acme', 'j3')]).toEqual([2, null, noted(5)])
  const none = new StepNotes(0)
  await none.during('acme', 'j1', noted(5), async () => {})
  expect(none.count).toBe(0)
})
