// The end of a backup out of its event: with its steps once, and nothing that an event does not hold.
import { expect, test } from 'vitest'
import { endedOf } from '../../../gateway/metrics/ended-backups.ts'
import { eventRow } from './event-row.ts'

const STEPS = { toldMs: 9000, steps: [] }
const notes = { take: (tenant: string, job: string) => (tenant === 't-acme' && job === 'j1' ? STEPS : null) }

test('a backup that is done', () => {
  const data = { job: 'j1', durationMs: 4000, bytesRead: 7, bytesSent: 5, bytesStored: 3 }
  expect(endedOf(eventRow({ kind: 'job.done', data }), notes)).toEqual({
    job: 'j1',
    tenant: 'acme',
    machine: 'db1',
    startedMs: 6000,
    endedMs: 10_000,
    error: null,
    bytes: { read: 7, sent: 5, stored: 3 },
    noted: STEPS,
  })
})

test('a backup that failed, with a code that is known', () => {
  const failed = (code: string) => endedOf(eventRow({ kind: 'job.failed', data: { job: 'j2', code } }), notes)
  expect(failed('LEASE_LOST')).toMatchObject({ error: { code: 'LEASE_LOST', message: 'it happened' }, noted: null })
  expect(failed('LEASE_LOST')).toMatchObject({ startedMs: 10_000, bytes: { read: 0, sent: 0, stored: 0 } })
  expect(failed('MADE_UP')?.error?.code).toBe('other')
})

test('other events are no end of a backup', () => {
  expect(endedOf(eventRow({ kind: 'job.started', data: { job: 'j1' } }), notes)).toBeNull()
  expect(endedOf(eventRow({ kind: 'job.done', data: {} }), notes)).toBeNull()
  expect(endedOf(eventRow({ kind: 'job.done', data: { job: 'j1' }, tenant: null }), notes)).toBeNull()
})
