// Machines, jobs and relayed commands as they are shown: what may be in them.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { QMP_CHARS_MAX } from '../../protocol/limits.ts'
import { job, machineStatus, qmp, qmpEvent } from '../../protocol/views.ts'

const takes = (schema: v.GenericSchema, value: unknown): boolean => v.safeParse(schema, value).success

const ask = (command: unknown): unknown => ({ machine: 'db1', command, arguments: '{}' })

const shown = (state: string): unknown => ({
  id: '0192aaaa-0000-4000-8000-0000c0ffee42',
  machine: 'db1',
  state,
  agent: '8bc16cac-6d09-4f0c-9a2b-0d1f3a5e7c11',
  online: true,
  phase: null,
  limit: null,
  resumes: 0,
  resumedMs: null,
  subject: 'ada',
  startedMs: 1,
  endedMs: null,
  released: false,
  bytesSent: 0,
  comparedBytes: 0,
  disks: [],
  error: null,
})

test('a command is a name and nothing else', () => {
  for (const command of ['query-status', 'x_y.z', 'a'.repeat(128)]) expect(takes(qmp.params, ask(command))).toBe(true)
  for (const command of ['', 'a b', 'a\n', '{"execute"', 'a'.repeat(129), null])
    expect(takes(qmp.params, ask(command))).toBe(false)
})

test('JSON that is relayed is text of bounded length', () => {
  const text = 'a'.repeat(QMP_CHARS_MAX)
  expect(takes(qmp.result, { value: text })).toBe(true)
  expect(takes(qmp.result, { value: `${text}a` })).toBe(false)
  expect(takes(qmp.result, { value: {} })).toBe(false)
  expect(takes(qmpEvent, { event: 'STOP', timeMs: 1, data: `${text}a` })).toBe(false)
})

test('a job has one of its states', () => {
  for (const state of ['running', 'committed', 'failed']) expect(takes(job, shown(state))).toBe(true)
  for (const state of ['', 'done', 'Running']) expect(takes(job, shown(state))).toBe(false)
})

test('a machine that cannot be reached has no state', () => {
  const nothing = { runState: null, hypervisor: null, lease: null, target: null, disks: [], leftOut: [] }
  const seen = { ...nothing, name: 'db1', reachable: false, problem: 'no such file' }
  expect(takes(machineStatus, seen)).toBe(true)
  expect(takes(machineStatus, { ...seen, reachable: 'maybe' })).toBe(false)
})
