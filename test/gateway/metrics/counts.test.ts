// Counting: each end of a backup once, with bytes, freezes and codes, and no label that anybody outside chooses.
import { expect, test } from 'vitest'
import { countEnded, countEvent } from '../../../gateway/metrics/counts.ts'
import type { EndedBackup } from '../../../gateway/metrics/ended-backups.ts'
import { Instruments } from '../../../gateway/metrics/instruments.ts'
import { eventRow } from './event-row.ts'

const ended = (changes: Partial<EndedBackup> = {}): EndedBackup => ({
  job: 'j1',
  tenant: 'acme',
  machine: 'db1',
  startedMs: 1000,
  endedMs: 3500,
  error: null,
  bytes: { read: 7, sent: 5, stored: 3 },
  noted: null,
  ...changes,
})

const samples = async ({ registry }: Instruments, name: RegExp): Promise<string[]> =>
  (await registry.metrics()).split('\n').filter((line) => !line.startsWith('#') && name.test(line))

test('a backup that is done counts with its time, its bytes and how long the guest was frozen', async () => {
  const instruments = new Instruments('1')
  const step = (name: 'freeze' | 'lease', tookMs: number) => ({ step: name, disk: null, agoMs: 0, tookMs, bytes: 0 })
  const noted = { toldMs: 0, steps: [step('lease', 900), step('freeze', 200)] }
  countEnded(instruments.happened, ended({ noted }))
  countEnded(instruments.happened, ended())
  expect(await samples(instruments, /_bytes_total|_jobs_ended|_job_errors/u)).toEqual([
    'varve_backup_bytes_total{tenant="acme",stage="read"} 14',
    'varve_backup_bytes_total{tenant="acme",stage="sent"} 10',
    'varve_backup_bytes_total{tenant="acme",stage="stored"} 6',
    'varve_jobs_ended_total{tenant="acme",state="committed"} 2',
  ])
  expect(await samples(instruments, /_sum|_count/u)).toEqual([
    'varve_backup_duration_seconds_sum{tenant="acme"} 5',
    'varve_backup_duration_seconds_count{tenant="acme"} 2',
    'varve_guest_freeze_seconds_sum{tenant="acme"} 0.2',
    'varve_guest_freeze_seconds_count{tenant="acme"} 1',
  ])
})

test('one that failed counts by its code, and neither with time nor with bytes', async () => {
  const instruments = new Instruments('1')
  countEnded(instruments.happened, ended({ error: { code: 'LEASE_LOST', message: 'x' } }))
  expect(await samples(instruments, /acme/u)).toEqual([
    'varve_jobs_ended_total{tenant="acme",state="failed"} 1',
    'varve_job_errors_total{tenant="acme",code="LEASE_LOST"} 1',
  ])
})

test('full reads count by their reason, and what is not known is one more series at most', async () => {
  const instruments = new Instruments('1')
  for (const reason of ['first', 'bitmap-missing', 'made up', 'made up too', 7])
    countEvent(instruments.happened, eventRow({ kind: 'full-read', data: { reason } }))
  countEvent(instruments.happened, eventRow({ kind: 'agent.online' }))
  expect(await samples(instruments, /acme/u)).toEqual([
    'varve_full_reads_total{tenant="acme",reason="first"} 1',
    'varve_full_reads_total{tenant="acme",reason="bitmap-missing"} 1',
    'varve_full_reads_total{tenant="acme",reason="other"} 3',
  ])
})
