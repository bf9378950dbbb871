// libvirt's numbers by name. Goal: a number that a later libvirt adds is unknown, never another's name. Method: some of each.
import { expect, test } from 'vitest'
import {
  blockJobOf,
  blockJobStateOf,
  domainReasonOf,
  domainStateOf,
  ioErrorActionOf,
  jobOperationOf,
  jobTypeOf,
  lifecycleDetailOf,
  lifecycleOf,
} from '../../../agent/libvirt/codes.ts'
import type { LibvirtDomainState } from '../../../agent/libvirt/types.ts'

test('states carry the reason that belongs to them', () => {
  const read = (state: number, reason: number): LibvirtDomainState => ({
    state: domainStateOf(state),
    reason: domainReasonOf(domainStateOf(state), reason),
  })
  expect(read(1, 1)).toEqual({ state: 'running', reason: 'booted' })
  expect(read(3, 5)).toEqual({ state: 'paused', reason: 'io-error' })
  expect(read(3, 2)).toEqual({ state: 'paused', reason: 'migration' })
  expect(read(5, 4)).toEqual({ state: 'shut-off', reason: 'migrated' })
  expect(read(4, 1)).toEqual({ state: 'shutting-down', reason: 'unknown' })
  expect(read(5, 99)).toEqual({ state: 'shut-off', reason: 'unknown' })
  expect(read(99, 1)).toEqual({ state: 'unknown', reason: 'unknown' })
  expect(read(-1, -1)).toEqual({ state: 'unknown', reason: 'unknown' })
})

test('events carry the detail that belongs to them', () => {
  expect([0, 2, 5, 8, 77].map(lifecycleOf)).toEqual(['defined', 'started', 'stopped', 'crashed', 'unknown'])
  expect(lifecycleDetailOf('stopped', 3)).toBe('migrated')
  expect(lifecycleDetailOf('started', 1)).toBe('migrated')
  expect(lifecycleDetailOf('suspended', 2)).toBe('io-error')
  expect(lifecycleDetailOf('resumed', 0)).toBe('unpaused')
  expect(lifecycleDetailOf('defined', 1)).toBe('other')
  expect(lifecycleDetailOf('stopped', 70)).toBe('other')
})

test('jobs', () => {
  expect([0, 2, 3, 5, 9].map(jobTypeOf)).toEqual(['none', 'unbounded', 'completed', 'cancelled', 'unknown'])
  expect([4, 5, 9, 50].map(jobOperationOf)).toEqual(['migration-in', 'migration-out', 'backup', 'unknown'])
  expect([1, 5, 9].map(blockJobOf)).toEqual(['pull', 'backup', 'unknown'])
  expect([0, 3, 9].map(blockJobStateOf)).toEqual(['completed', 'ready', 'unknown'])
  expect([0, 1, 9].map(ioErrorActionOf)).toEqual(['none', 'pause', 'unknown'])
})
