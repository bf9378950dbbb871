// Whether a lease holds, judged from what QEMU lists and from its events.
import { expect, test } from 'vitest'
import { breakingEvent, findBreak, type Inventory } from '../../../../agent/drivers/qmp/inventory.ts'
import { exampleEntry } from '../../../support/journal-entry.ts'

const entry = exampleEntry()

const bitmap = { count: 0, granularity: 65_536, recording: true, busy: false, persistent: true, inconsistent: false }
const node = (name: string, bitmaps: readonly string[]) => ({
  node: name,
  driver: 'qcow2',
  readOnly: false,
  size: 1,
  fileName: '',
  persistentBitmaps: true,
  dataFile: null,
  clusterBytes: null,
  bitmaps: bitmaps.map((each) => ({ ...bitmap, name: each })),
})

const whole: Inventory = {
  exports: entry.disks.map(({ exportId }) => ({ id: exportId, type: 'nbd' })),
  jobs: entry.disks.map(({ job }) => ({ id: job, status: 'running' })),
  nodes: entry.disks.flatMap((disk) => [node(disk.node, [disk.checkpoint]), node(disk.scratchNode, [])]),
}

test('a whole lease holds, also while its jobs pause', () => {
  expect(findBreak(entry, whole)).toBe(null)
  expect(findBreak(entry, { ...whole, jobs: whole.jobs.map(({ id }) => ({ id, status: 'paused' })) })).toBe(null)
})

test.each([
  ['no job', { jobs: whole.jobs.slice(1) }],
  ['an ended job', { jobs: whole.jobs.map(({ id }) => ({ id, status: 'concluded' })) }],
  ['no export', { exports: [] }],
  ['no scratch node', { nodes: whole.nodes.slice(0, 3) }],
  ['no checkpoint', { nodes: whole.nodes.map((each) => ({ ...each, bitmaps: [] })) }],
])('%s breaks it', (_name, change) => {
  expect(findBreak(entry, { ...whole, ...change })).toEqual(expect.any(String))
})

test.each([
  [true, 'JOB_STATUS_CHANGE', { id: 'varve-c0ffee42-job-1', status: 'aborting' }],
  [false, 'JOB_STATUS_CHANGE', { id: 'varve-c0ffee42-job-1', status: 'paused' }],
  [false, 'JOB_STATUS_CHANGE', { id: 'theirs', status: 'null' }],
  [true, 'BLOCK_JOB_ERROR', { device: 'varve-c0ffee42-job-0' }],
  [true, 'BLOCK_EXPORT_DELETED', { id: 'varve-c0ffee42-exp-0' }],
  [false, 'BLOCK_EXPORT_DELETED', { id: 'theirs' }],
  [false, 'STOP', {}],
])('%s: %s %j', (breaks, event, data) => {
  expect(breakingEvent(entry, { event, data, timeMs: 0 }) !== null).toBe(breaks)
})
