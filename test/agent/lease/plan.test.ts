// The decision for each disk, the plan and its transaction.

import { expect, test } from 'vitest'
import { decideDisk, decideDisks, obsoleteBitmaps, planLease, transactionActions } from '../../../agent/lease/plan.ts'
import type { LeaseRequest } from '../../../agent/lease/lease.ts'
import type { BitmapState, MachineDisk } from '../../../agent/qmp/disks.ts'

const AGENT = '0192aaaa-0000-7000-8000-0000c0ffee42'
const BASE = 'varve-c0ffee42-cp-b'

const bitmap = (changes: Partial<BitmapState> = {}): BitmapState => ({
  name: BASE,
  count: 0,
  granularity: 65_536,
  recording: true,
  busy: false,
  persistent: true,
  inconsistent: false,
  ...changes,
})

const disk = (changes: Partial<MachineDisk> = {}): MachineDisk => ({
  name: 'vda',
  node: 'a',
  qdev: 'vda',
  size: 100,
  format: 'qcow2',
  fileName: 'a.qcow2',
  persistentBitmaps: true,
  bitmaps: [bitmap()],
  ...changes,
})

const base = { checkpoint: 'b', disks: [{ name: 'vda', size: 100, reread: [] }] }

const request = (changes: Partial<LeaseRequest> = {}): LeaseRequest => ({
  machine: { name: 'db1', qmp: '/q', guestAgent: null, exclude: [] },
  leaseId: '0192bbbb-1111-7000-8000-000000000001',
  agentId: AGENT,
  base,
  full: false,
  consistency: 'none',
  freezeTimeoutMs: 1000,
  refuseFull: [],
  ...changes,
})

test.each([
  ['bitmap', disk(), {}],
  ['first', disk(), { base: null }],
  ['first', disk(), { base: null, full: true }],
  ['requested', disk(), { full: true }],
  ['disk-added', disk({ name: 'vdb' }), {}],
  ['disk-added', disk({ name: 'vdb' }), { full: true }],
  ['size-changed', disk({ size: 101 }), {}],
  ['bitmap-missing', disk({ bitmaps: [] }), {}],
  ['bitmap-missing', disk({ bitmaps: [bitmap({ name: 'varve-deadbeef-cp-b' }), bitmap({ name: `${BASE}x` })] }), {}],
  ['bitmap-inconsistent', disk({ bitmaps: [bitmap({ inconsistent: true, recording: false })] }), {}],
  ['bitmap-disabled', disk({ bitmaps: [bitmap({ recording: false })] }), {}],
  ['checkpoint-mismatch', disk({ bitmaps: [bitmap({ busy: true })] }), {}],
  ['base-damaged', disk(), { base: { ...base, disks: [{ name: 'vda', size: 100, reread: null }] } }],
  ['bitmap-missing', disk({ bitmaps: [] }), { base: { ...base, disks: [{ name: 'vda', size: 100, reread: null }] } }],
] as const)('%s', (reason, subject, changes) => {
  const decision = decideDisk(subject, request(changes))
  expect(decision.reason).toBe(reason)
  expect(decision.kind).toBe(reason === 'bitmap' ? 'incremental' : 'full')
})

test('what the gateway lost of a base is read again by an increment, and is in its plan', () => {
  const reread: [number, number][] = [
    [0, 10],
    [64, 1],
  ]
  const asked = request({ base: { ...base, disks: [{ name: 'vda', size: 100, reread }] } })
  const decision = decideDisk(disk(), asked)
  expect(decision).toMatchObject({ kind: 'incremental', reason: 'bitmap', reread })
  const [planned] = planLease(asked, [decision], { scratch: '/s', runtime: '/r' }, {}).disks
  expect(planned!.reread).toEqual(reread)
  expect(decideDisk(disk(), { ...asked, full: true }).reread).toEqual([])
})

test('a disk under someone else’s job is held, not read in full', () => {
  const busy = disk({ format: 'copy-before-write', node: '#block1', bitmaps: [] })
  expect(() => decideDisks([busy], request())).toThrow(expect.objectContaining({ code: 'LEASE_HELD' }))
})

test('excluded disks are left out; the policy looks at the others only', () => {
  const disks = [disk(), disk({ name: 'swap0', bitmaps: [] })]
  const machine = { name: 'db1', qmp: '/q', guestAgent: null, exclude: ['swap0', 'no-such'] }
  expect(decideDisks(disks, request({ machine, refuseFull: ['disk-added'] })).map((each) => each.disk.name)).toEqual([
    'vda',
  ])
  expect(() => decideDisks(disks, request({ refuseFull: ['disk-added'] }))).toThrow(
    expect.objectContaining({ code: 'FULL_REFUSED', details: { disk: 'swap0', reason: 'disk-added' } }),
  )
  expect(decideDisks(disks, request({ refuseFull: ['bitmap-missing'] }))).toHaveLength(2)
})

test('a disk without a byte is left out; a machine that has no other cannot be backed up', () => {
  const empty = disk({ name: 'fd0', size: 0, bitmaps: [] })
  expect(decideDisks([empty, disk()], request()).map((each) => each.disk.name)).toEqual(['vda'])
  expect(() => decideDisks([empty], request())).toThrow(expect.objectContaining({ code: 'DISK_UNSUPPORTED' }))
})

const folders = { scratch: '/var/lib/v/scratch', runtime: '/run' }

test('one transaction: the base’s bitmap is copied and keeps recording, every disk starts at once', () => {
  const wanted = request()
  const disks = [
    disk({ bitmaps: [bitmap({ granularity: 4096 })] }),
    disk({ name: 'vdb', node: 'b', persistentBitmaps: false, bitmaps: [] }),
  ]
  const entry = planLease(wanted, decideDisks(disks, wanted), folders, null)
  const cp = `varve-c0ffee42-cp-${wanted.leaseId}`
  const [xfer, node0, node1] = [
    `varve-c0ffee42-xfer-${wanted.leaseId}`,
    'varve-c0ffee42-0000000001-0',
    'varve-c0ffee42-0000000001-1',
  ]
  expect(transactionActions(entry)).toEqual([
    { type: 'block-dirty-bitmap-add', data: { node: 'a', name: cp, persistent: true, granularity: 65_536 } },
    { type: 'block-dirty-bitmap-add', data: { node: node0, name: xfer, granularity: 4096, disabled: true } },
    { type: 'block-dirty-bitmap-merge', data: { node: node0, target: xfer, bitmaps: [{ node: 'a', name: BASE }] } },
    { type: 'blockdev-backup', data: { 'job-id': entry.disks[0]?.job, device: 'a', target: node0, sync: 'none' } },
    { type: 'block-dirty-bitmap-add', data: { node: 'b', name: cp, persistent: false, granularity: 65_536 } },
    { type: 'blockdev-backup', data: { 'job-id': entry.disks[1]?.job, device: 'b', target: node1, sync: 'none' } },
  ])
})

test('a socket path that no unix socket can have is refused', () => {
  const wanted = request()
  const runtime = `/run/${'x'.repeat(100)}`
  expect(() => planLease(wanted, decideDisks([disk()], wanted), { ...folders, runtime }, null)).toThrow(
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
  bitmaps: names.map((each) => bitmap({ name: each })),
})

test('obsolete are this agent’s checkpoints that nobody keeps, on nodes that can be written', () => {
  const nodes = [
    nodeOf('a', false, [BASE, 'varve-c0ffee42-cp-old', 'varve-c0ffee42-xfer-old', 'varve-deadbeef-cp-old', 'theirs']),
    nodeOf('b', true, ['varve-c0ffee42-cp-old']),
  ]
  expect(obsoleteBitmaps(nodes, AGENT, new Set([BASE]))).toEqual([{ node: 'a', name: 'varve-c0ffee42-cp-old' }])
})
