// A machine for people: how it is, and what became of its checkpoints.
import { expect, test } from 'vitest'
import {
  checkpointLines,
  forgottenLines,
  leftError,
  leftSentences,
  statusLines,
} from '../../../protocol/host/machine-report.ts'
import type { Checkpoint, MachineStatus } from '../../../protocol/methods.ts'

const LEFT = { node: 'n0', bitmap: 'varve-1', file: '/vm/base.qcow2', reason: 'node is read-only' }

test('a machine that runs, and one that cannot be asked', () => {
  const status = {
    name: 'db1',
    qmp: 'up',
    runState: 'running',
    hypervisor: 'QEMU 8.2.0',
    problem: null,
    lease: '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214',
    target: null,
    disks: [{ name: 'vda', size: 4096, format: 'raw' }],
    leftOut: [{ name: 'cd0', reason: 'read-only' }],
  } as unknown as MachineStatus
  expect(statusLines(status)).toEqual([
    'db1: QEMU 8.2.0, running, backup 3f2a91c0 running',
    '  vda: 4.0 KiB raw',
    '  cd0: left out (read-only)',
  ])
  expect(statusLines({ ...status, target: 'tape' })[0]).toBe(
    'db1: QEMU 8.2.0, running, lease 3f2a91c0 held by target tape',
  )
  expect(statusLines({ ...status, problem: 'its QEMU is off', disks: [], leftOut: [] })).toEqual([
    'db1: its QEMU is off',
  ])
})

test('checkpoints that were removed, some of them, and none', () => {
  const removed = [{ node: 'n1', bitmap: 'varve-2' }]
  expect(forgottenLines('db1', null, { removed, left: [] })).toEqual([
    'removed varve-2 from node n1',
    'The next backup of db1 reads its disks in full.',
  ])
  expect(forgottenLines('db1', 'vda', { removed, left: [LEFT] }).at(-1)).toContain('reads vda in full')
  expect(forgottenLines('db1', null, { removed: [], left: [] })).toEqual(["db1 has no checkpoint of Varve's."])
  expect(leftSentences({ removed, left: [LEFT] })).toEqual([
    'varve-1 stays on node n0 (/vm/base.qcow2): node is read-only',
  ])
  expect(leftError({ removed, left: [] })).toBeNull()
  expect(leftError({ removed, left: [LEFT, LEFT] })).toMatchObject({ code: 'QMP_ERROR' })
})

const POINT = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'

test('checkpoints as a tree, with sizes and health in words', () => {
  const head = { parent: null, point: null, own: false, timeMs: null, disks: [] }
  const disk = (name: string, health: Checkpoint['disks'][number]['health'], bytes: number | null = null) => ({
    name,
    health,
    bytes,
  })
  const ours = { ...head, name: 'varve-c0ffee42-cp-x', point: POINT, own: true }
  const checkpoints: Checkpoint[] = [
    { ...ours, disks: [disk('vda', 'whole', 65_536), disk('vdb', 'inconsistent'), disk('vdc', 'missing')] },
    { ...ours, name: 'varve-deadbeef-cp-x', own: false, disks: [disk('vda', 'whole'), disk('vdb', 'unknown')] },
    { ...head, name: 'two', parent: 'one', timeMs: 1000, disks: [disk('vda', 'disabled')] },
    { ...head, name: 'one', parent: 'of nobody', disks: [disk('vda', 'whole', 0)] },
    { ...head, name: 'round', parent: 'round' },
  ]
  expect(checkpointLines('db1', { checkpoints, omitted: 2 })).toEqual([
    'db1: 7 checkpoints',
    `  restore point ${POINT}`,
    '      vda: whole, 64.0 KiB changed since',
    '      vdb: inconsistent: an unclean end broke it; the next backup reads the disk in full',
    '      vdc: missing; the next backup reads the disk in full',
    `  restore point ${POINT} of another agent`,
    '      vda: whole; its size is known while the machine runs',
    '      vdb: not known while a backup or another job has the machine',
    "  one (not Varve's)",
    '      vda: whole, 0 B changed since',
    "    two (not Varve's), 1970-01-01 00:00:01 UTC",
    '        vda: disabled: it does not record',
    "  round (not Varve's)",
    '  and 2 more that are not shown',
  ])
  expect(checkpointLines('db1', { checkpoints: [], omitted: 0 })).toEqual(['db1 has no checkpoint.'])
})
