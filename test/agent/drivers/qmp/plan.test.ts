// The journal entry of a lease, its transaction, and which bitmaps are obsolete.

import { expect, test } from 'vitest'
import type { Decisions, DiskDecision } from '../../../../agent/drivers/decide.ts'
import type { SeenDisk } from '../../../../agent/drivers/seen-disks.ts'
import {
  checkpointBitmaps,
  checkpointGranularity,
  ownAgents,
  planLease,
  transactionActions,
} from '../../../../agent/drivers/qmp/plan.ts'
import type { LeaseRequest } from '../../../../agent/drivers/driver.ts'
import { qmpMachine } from '../../../support/journal-entry.ts'
import type { BitmapState } from '../../../../agent/qmp/disks.ts'

const AGENT = '0192aaaa-0000-7000-8000-0000c0ffee42'

const bitmap = (name: string, changes: Partial<BitmapState> = {}): BitmapState => ({
  name,
  count: 0,
  granularity: 65_536,
  recording: true,
  busy: false,
  persistent: true,
  inconsistent: false,
  ...changes,
})

const disk = (changes: Partial<SeenDisk> = {}): SeenDisk => ({
  name: 'vda',
  node: 'a',
  qdev: 'vda',
  size: 1024,
  format: 'qcow2',
  fileName: 'a.qcow2',
  dataFile: null,
  clusterBytes: null,
  backing: [],
  evidence: 'qcow2',
  ownEvidence: 'qcow2 /a file 1:2',
  holdsBitmaps: true,
  persistentBitmaps: true,
  bitmaps: [],
  ...changes,
})

const full = (changes: Partial<SeenDisk>): DiskDecision => ({
  disk: disk(changes),
  kind: 'full',
  reason: 'first',
  continued: null,
  reread: [],
})

/** A disk that continues image 3 of the base, then called `old`. */
const moved: DiskDecision = {
  disk: disk(),
  kind: 'incremental',
  reason: 'bitmap',
  continued: {
    base: 'old',
    bitmap: bitmap('varve-c0ffee42-cp-b-3', { granularity: 4096 }),
  },
  reread: [[64, 1]],
}
const decisions: Decisions = {
  disks: [moved, full({ name: 'vdb', node: 'b', clusterBytes: 1 << 20, persistentBitmaps: false })],
  leftOut: [{ name: 'cd0', reason: 'read-only' }],
}

const request = (changes: Partial<LeaseRequest> = {}): LeaseRequest => ({
  machine: qmpMachine('/q'),
  leaseId: '0192bbbb-1111-7000-8000-000000000001',
  agentId: AGENT,
  formerAgents: [],
  base: { checkpoint: 'b', agent: AGENT, disks: [] },
  full: false,
  compare: false,
  chunkBytes: 65_536,
  consistency: 'none',
  freezeTimeoutMs: 1000,
  refuseFull: ['first'],
  refuseLeftOut: [],
  ...changes,
})

const folders = { scratch: '/var/lib/v/scratch', runtime: '/run' }

test('one transaction: the base’s bitmap is copied and keeps recording, every disk starts at once', () => {
  const wanted = request()
  const entry = planLease(wanted, decisions, folders, null)
  const named = (kind: string, index: number): string => `varve-c0ffee42-${kind}-${wanted.leaseId}-${index}`
  const xfer = `varve-c0ffee42-xfer-${wanted.leaseId}`
  const own = 'varve-c0ffee42-0000000001'
  const merge = (node: string, target: string, from: object) => ({
    type: 'block-dirty-bitmap-merge',
    data: { node, target, bitmaps: [from] },
  })
  const add = (data: object) => ({ type: 'block-dirty-bitmap-add', data })
  const backup = (node: string, index: number) => ({
    type: 'blockdev-backup',
    data: {
      'job-id': named('job', index),
      device: node,
      target: `${own}-${index}`,
      sync: 'none',
      'filter-node-name': `${own}-${index}f`,
    },
  })
  expect(transactionActions(entry)).toEqual([
    add({ node: 'a', name: named('cp', 0), persistent: true, granularity: 65_536 }),
    add({ node: `${own}-0`, name: xfer, granularity: 4096, disabled: true }),
    merge(`${own}-0`, xfer, { node: 'a', name: 'varve-c0ffee42-cp-b-3' }),
    backup('a', 0),
    add({ node: 'b', name: named('cp', 1), persistent: false, granularity: 1 << 20 }),
    backup('b', 1),
  ])
  expect(entry.disks[0]).toMatchObject({ base: { name: 'old' }, reread: [[64, 1]], evidence: 'qcow2' })
  expect(entry).toMatchObject({ baseLease: 'b', leftOut: decisions.leftOut, refuseFull: ['first'] })
})

test.each([
  [null, 65_536],
  [0, 65_536],
  [512, 65_536],
  [65_536, 65_536],
  [131_072, 131_072],
  [2 << 20, 2 << 20],
  // no qcow2 image has these, and QEMU takes no granularity that is no power of two
  [196_608, 65_536],
  [4 << 20, 65_536],
])('clusters of %s bytes: one bit for %i bytes', (clusterBytes, expected) => {
  expect(checkpointGranularity(clusterBytes)).toBe(expected)
})

test('a socket path that no unix socket can have is refused', () => {
  const wanted = request()
  const runtime = `/run/${'x'.repeat(100)}`
  expect(() => planLease(wanted, decisions, { ...folders, runtime }, null)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID' }),
  )
})

const nodeOf = (name: string, readOnly: boolean, names: readonly string[]) => ({
  node: name,
  driver: 'qcow2',
  readOnly,
  size: 1,
  fileName: '',
  persistentBitmaps: true,
  dataFile: null,
  clusterBytes: null,
  bitmaps: names.map((each) => bitmap(each)),
})

test('a checkpoint’s bitmaps are those of an agent and a lease, on nodes that can be written', () => {
  const old = ['varve-c0ffee42-cp-old-0', 'varve-c0ffee42-size-old-0']
  const others = ['varve-c0ffee42-cp-b-3', 'varve-c0ffee42-xfer-old', 'varve-deadbeef-cp-old-0', 'theirs']
  const nodes = [nodeOf('a', false, [...old, ...others]), nodeOf('b', true, old)]
  const ours = old.map((name) => ({ node: 'a', name }))
  expect(checkpointBitmaps(nodes, [AGENT], (lease) => lease !== 'b')).toEqual(ours)
  expect(checkpointBitmaps(nodes, [AGENT], (lease) => lease === 'old')).toEqual(ours)
  const host = { agentId: '0192aaaa-0000-7000-8000-00000badcafe', formerAgents: [AGENT] }
  expect(ownAgents(host)).toEqual([host.agentId, AGENT])
  expect(checkpointBitmaps(nodes, ownAgents(host), (lease) => lease !== 'b')).toEqual(ours)
})
