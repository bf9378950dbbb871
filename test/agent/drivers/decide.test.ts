// The decision for each disk: an increment only where it is proved whose changes the bitmap tells.
import { expect, test } from 'vitest'
import { decideDisks, refuseFullRead } from '../../../agent/drivers/decide.ts'
import type { SeenDisk } from '../../../agent/drivers/seen-disks.ts'
import type { LeaseBase, LeaseRequest } from '../../../agent/drivers/driver.ts'
import { qmpMachine } from '../../support/journal-entry.ts'
import type { BitmapState } from '../../../agent/qmp/disks.ts'
import type { LeftOutDisk } from '../../../protocol/backup.ts'

const AGENT = '0192aaaa-0000-7000-8000-0000c0ffee42'
const OTHER = '0192aaaa-0000-7000-8000-00000badcafe'

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

/** Checkpoint bitmap of image `index` of the base. */
const cp = (index: number, changes: Partial<BitmapState> = {}): BitmapState =>
  bitmap(`varve-c0ffee42-cp-b-${index}`, changes)

const disk = (changes: Partial<SeenDisk> = {}): SeenDisk => ({
  name: 'vda',
  node: 'a',
  qdev: 'vda',
  size: 100,
  format: 'qcow2',
  fileName: 'a.qcow2',
  dataFile: null,
  clusterBytes: null,
  backing: [],
  evidence: 'qcow2',
  ownEvidence: 'qcow2 /a file 1:2',
  holdsBitmaps: true,
  persistentBitmaps: true,
  bitmaps: [cp(0)],
  ...changes,
})
const vdb = (changes: Partial<SeenDisk> = {}): SeenDisk =>
  disk({ name: 'vdb', node: 'b', bitmaps: [cp(1)], ...changes })

const base: LeaseBase = {
  checkpoint: 'b',
  agent: AGENT,
  disks: ['vda', 'vdb'].map((name) => ({ name, size: 100, reread: [], evidence: 'qcow2' })),
}
/** A point that was made without a checkpoint, and one that an agent of another host made. */
const unmarked: LeaseBase = { ...base, checkpoint: null }
const elsewhere: LeaseBase = { ...base, agent: OTHER }
const wrong: LeaseBase = { ...base, disks: base.disks.map((one) => ({ ...one, reread: null, missed: true })) }
const lostAll: LeaseBase = { ...base, disks: base.disks.map((one) => ({ ...one, reread: null })) }

const request = (changes: Partial<LeaseRequest> = {}): LeaseRequest => ({
  machine: qmpMachine('/q'),
  leaseId: '0192bbbb-1111-7000-8000-000000000001',
  agentId: AGENT,
  formerAgents: [],
  base,
  full: false,
  compare: false,
  chunkBytes: 65_536,
  consistency: 'none',
  freezeTimeoutMs: 1000,
  refuseFull: [],
  refuseLeftOut: [],
  ...changes,
})

const decide = (
  disks: readonly SeenDisk[],
  changes: Partial<LeaseRequest> = {},
  leftOut: readonly LeftOutDisk[] = [],
) => decideDisks({ disks, leftOut }, request(changes))

test.each([
  ['bitmap', disk(), {}],
  // what an older agent made beside it says nothing
  ['bitmap', disk({ bitmaps: [cp(0), bitmap('varve-c0ffee42-size-b-0', { recording: false })] }), {}],
  ['first', disk(), { base: null }],
  ['first', disk(), { base: null, full: true }],
  ['requested', disk(), { full: true }],
  ['requested', disk({ bitmaps: [] }), { full: true }],
  ['disk-added', disk({ name: 'vdc', bitmaps: [] }), {}],
  ['disk-added', disk({ name: 'vdc', bitmaps: [] }), { full: true }],
  ['disk-added', disk({ name: 'vdc' }), { full: true }],
  ['size-changed', disk({ size: 101 }), {}],
  ['size-changed', disk({ size: 101, bitmaps: [] }), {}],
  ['bitmap-missing', disk({ bitmaps: [] }), {}],
  ['bitmap-missing', disk({ bitmaps: [bitmap('varve-deadbeef-cp-b-0'), bitmap('varve-c0ffee42-cp-bx-0')] }), {}],
  ['bitmap-missing', disk({ bitmaps: [] }), { base: lostAll }],
  ['no-bitmap', disk({ bitmaps: [], holdsBitmaps: false }), {}],
  ['no-bitmap', disk({ bitmaps: [], holdsBitmaps: false, size: 101 }), {}],
  ['no-bitmap', disk(), { base: unmarked }],
  ['no-bitmap', disk({ bitmaps: [bitmap('varve-c0ffee42-cp-null-0')] }), { base: unmarked }],
  ['disk-added', disk({ name: 'vdc' }), { base: unmarked }],
  ['requested', disk(), { base: unmarked, full: true }],
  ['requested', disk({ bitmaps: [], holdsBitmaps: false }), { full: true }],
  ['moved', disk({ bitmaps: [] }), { base: elsewhere }],
  ['bitmap', disk(), { base: elsewhere }],
  ['moved', disk({ bitmaps: [], size: 101 }), { base: elsewhere }],
  ['no-bitmap', disk({ bitmaps: [], holdsBitmaps: false }), { base: elsewhere }],
  ['disk-added', disk({ name: 'vdc', bitmaps: [] }), { base: elsewhere }],
  ['bitmap-missing', disk({ bitmaps: [] }), { base: elsewhere, formerAgents: [OTHER] }],
  ['bitmap-inconsistent', disk({ bitmaps: [cp(0, { inconsistent: true, recording: false })] }), {}],
  ['bitmap-disabled', disk({ bitmaps: [cp(0, { recording: false })] }), {}],
  ['checkpoint-mismatch', disk({ bitmaps: [cp(0, { busy: true })] }), {}],
  ['checkpoint-mismatch', disk({ bitmaps: [cp(7)] }), {}],
  ['checkpoint-mismatch', disk({ bitmaps: [cp(0), cp(1)] }), {}],
  ['backing-changed', disk({ evidence: 'qcow2\nqcow2 other.qcow2 100' }), {}],
  ['backing-changed', disk(), { base: { ...base, disks: base.disks.map((one) => ({ ...one, evidence: null })) } }],
  ['base-damaged', disk(), { base: lostAll }],
  ['changes-missed', disk(), { base: wrong }],
  ['changes-missed', disk({ name: 'vdx' }), { base: wrong }],
  ['bitmap-missing', disk({ bitmaps: [] }), { base: wrong }],
  ['requested', disk(), { base: wrong, full: true }],
] as const)('%s', (reason, subject, changes) => {
  const [decision] = decide([subject], changes).disks
  expect(decision?.reason).toBe(reason)
  expect(decision?.kind).toBe(reason === 'bitmap' ? 'incremental' : 'full')
  if (reason !== 'bitmap') expect(decision).toMatchObject({ continued: null, reread: [] })
})

test('a checkpoint is known by this agent, by those that this host was before, and by the one that made the base', () => {
  const agents = { agentId: OTHER, formerAgents: [AGENT] }
  const own = { ...base, agent: OTHER }
  const continued = { kind: 'incremental', continued: { bitmap: cp(0) } }
  expect(decide([disk()], { ...agents, base: own }).disks[0]).toMatchObject(continued)
  expect(decide([disk()], { agentId: OTHER }).disks[0]).toMatchObject(continued)
  expect(decide([disk()], { agentId: OTHER, base: own }).disks[0]?.reason).toBe('bitmap-missing')
  const both = disk({ bitmaps: [cp(0), bitmap('varve-0badcafe-cp-b-0')] })
  expect(decide([both], agents).disks[0]?.reason).toBe('checkpoint-mismatch')
})

test('where all bitmaps of a checkpoint are called alike, a disk is followed by its files', () => {
  const lease = '0192bbbb-1111-7000-8000-0000000000aa'
  const alike = { bitmaps: [bitmap(`varve-c0ffee42-cp-${lease}`)] }
  const ofFile = (path: string, number: string) => ({ ownEvidence: `qcow2 ${path} file ${number}` })
  const [a, b] = [ofFile('/a', '1:2'), ofFile('/b', '1:3')]
  const known: LeaseBase = {
    ...base,
    checkpoint: lease,
    disks: base.disks.map((one, index) => ({ ...one, evidence: [a, b][index]!.ownEvidence })),
  }
  const here = (...disks: readonly SeenDisk[]) =>
    decide(disks, { base: known }).disks.map(({ reason, continued }) => [reason, continued?.base])
  const index = (disks: readonly SeenDisk[]) => here(...disks).map(([, found]) => found)
  expect(index([disk({ ...alike, ...a }), vdb({ ...alike, ...b })])).toEqual(['vda', 'vdb'])
  expect(index([disk({ ...alike, ...b }), vdb({ ...alike, ...a })])).toEqual(['vdb', 'vda'])
  // another number of the file system is the same file, of another start or host
  expect(index([disk({ ...alike, ...ofFile('/a', '77:2') })])).toEqual(['vda'])
  expect(here(disk({ ...alike, ...ofFile('/a', '1:9') }))).toEqual([['backing-changed', undefined]])
  expect(here(disk({ ...alike, ...a }), vdb({ ...alike, ...a }))).toEqual([
    ['checkpoint-mismatch', undefined],
    ['checkpoint-mismatch', undefined],
  ])
})

test('a disk is followed by its bitmap, whatever it is called now', () => {
  const swapped = decide([disk({ bitmaps: [cp(1)] }), vdb({ bitmaps: [cp(0)] })]).disks
  expect(swapped.map(({ reason, continued }) => [reason, continued?.base])).toEqual([
    ['bitmap', 'vdb'],
    ['bitmap', 'vda'],
  ])
  const shifted = decide([disk({ bitmaps: [] }), vdb({ bitmaps: [cp(0)] })])
  expect(shifted.disks.map(({ reason, continued }) => [reason, continued?.base])).toEqual([
    ['bitmap-missing', undefined],
    ['bitmap', 'vda'],
  ])
  expect(shifted.leftOut).toEqual([])
})

test('a bitmap on two disks proves nothing of either, also where one of them is excluded', () => {
  const copy = vdb({ bitmaps: [cp(0)] })
  expect(decide([disk(), copy]).disks.map(({ reason }) => reason)).toEqual([
    'checkpoint-mismatch',
    'checkpoint-mismatch',
  ])
  const machine = { ...request().machine, exclude: ['vdb'] }
  expect(decide([disk(), copy], { machine }).disks.map(({ reason }) => reason)).toEqual(['checkpoint-mismatch'])
})

test('the size of the image that a disk continues counts, not that of its namesake', () => {
  const sizes = { ...base, disks: base.disks.map((one, index) => ({ ...one, size: 100 + index })) }
  const [decision] = decide([disk({ bitmaps: [cp(1)] })], { base: sizes }).disks
  expect(decision?.reason).toBe('size-changed')
})

test('what the gateway lost of a base is read again by an increment, and by it only', () => {
  const reread: [number, number][] = [
    [0, 10],
    [64, 1],
  ]
  const asked = { base: { ...base, disks: base.disks.map((one) => ({ ...one, reread })) } }
  expect(decide([disk()], asked).disks).toMatchObject([{ kind: 'incremental', reason: 'bitmap', reread }])
  expect(decide([disk()], { ...asked, full: true }).disks).toMatchObject([{ kind: 'full', reread: [] }])
})

test('a disk under someone else’s job is held, not read in full', () => {
  const busy = disk({ format: 'copy-before-write', node: '#block1', bitmaps: [] })
  expect(() => decide([busy])).toThrow(expect.objectContaining({ code: 'LEASE_HELD' }))
})

test('what is left out is named with its reason, and a policy can refuse it', () => {
  const machine = { ...request().machine, exclude: ['swap0', 'cd0', 'no-such'] }
  const readOnly = [
    { name: 'cd0', reason: 'read-only' },
    { name: 'cd1', reason: 'read-only' },
  ] as const
  const disks = [disk(), disk({ name: 'swap0', bitmaps: [] })]
  const { disks: decided, leftOut } = decide(disks, { machine, refuseFull: ['disk-added'] }, readOnly)
  expect(decided.map((each) => each.disk.name)).toEqual(['vda'])
  expect(leftOut).toEqual([
    { name: 'cd1', reason: 'read-only' },
    { name: 'swap0', reason: 'excluded' },
    { name: 'cd0', reason: 'excluded' },
    { name: 'vdb', reason: 'unplugged' },
  ])
  for (const reason of ['read-only', 'excluded', 'unplugged'] as const)
    expect(() => decide(disks, { machine, refuseLeftOut: [reason] }, readOnly)).toThrow(
      expect.objectContaining({ code: 'DISK_LEFT_OUT' }),
    )
  expect(decide(disks, { machine, refuseLeftOut: ['same-disk'] }, readOnly).leftOut).toHaveLength(4)
  expect(() => decide([], {}, readOnly)).toThrow(
    expect.objectContaining({ code: 'DISK_UNSUPPORTED', message: expect.stringContaining('cd0: read-only') }),
  )
})

test('the policy looks at the disks that are backed up only', () => {
  const disks = [disk(), disk({ name: 'swap0', bitmaps: [] })]
  expect(() => decide(disks, { refuseFull: ['disk-added'] })).toThrow(
    expect.objectContaining({ code: 'FULL_REFUSED', details: { disk: 'swap0', reason: 'disk-added' } }),
  )
  expect(decide(disks, { refuseFull: ['bitmap-missing'] }).disks).toHaveLength(2)
  expect(() => refuseFullRead('vda', 'incremental', 'bitmap', ['bitmap'])).not.toThrow()
})
