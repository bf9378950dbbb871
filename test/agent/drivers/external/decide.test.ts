// When a bitmap of somebody else's proves an increment. Method: one thing differs from what proves it, each in turn.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LeaseBase } from '../../../../agent/drivers/driver.ts'
import { covers, decideGiven, refuseGiven } from '../../../../agent/drivers/external/decide.ts'
import { lookedAt } from '../../../../agent/drivers/external/external-driver.ts'
import type { SeenExport } from '../../../../agent/drivers/external/look.ts'
import type { KnownDisk } from '../../../../agent/drivers/external/records.ts'

const AGENT = '0192aaaa-0000-7000-8000-0000c0ffee42'
const OTHER = '0192aaaa-0000-7000-8000-00000badcafe'
const exporter = { pid: 7, startTicks: '100', boot: 'b' }

const seen = (changes: Partial<SeenExport> & { readonly state?: 'none' | 'new' | 'reuse' } = {}): SeenExport => {
  const { state = 'reuse', ...rest } = changes
  const disk = { name: 'vda', socketPath: '/s', exportName: 'vda', bitmap: state === 'none' ? null : 'b0', state }
  return { disk, size: 1000, exporter, changed: [[0, 64]], clips: false, isNarrow: false, ...rest }
}

const known = (changes: Partial<KnownDisk> = {}): KnownDisk => ({
  name: 'vda',
  size: 1000,
  bitmap: 'b0',
  point: 'p1',
  exporter,
  fullMs: 1,
  seen: [],
  ...changes,
})

const base = (changes: Partial<LeaseBase['disks'][number]> = {}, more: Partial<LeaseBase> = {}): LeaseBase => ({
  checkpoint: 'p1',
  agent: AGENT,
  disks: [{ name: 'vda', size: 1000, reread: [], evidence: 'external', ...changes }],
  ...more,
})

const wishes = (of: LeaseBase | null, full = false) => ({
  base: of,
  full,
  agentId: AGENT,
  formerAgents: [],
  chunkBytes: 64,
})

const reason = (one: SeenExport, record: KnownDisk[], of: LeaseBase | null = base(), full = false): string => {
  const [disk] = decideGiven([one], record, wishes(of, full)).disks
  return `${disk!.kind} ${disk!.reason}`
}

test('an increment where everything is proved, else the reason for a full read', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['incremental bitmap', reason(seen(), [known()])],
    ['full first', reason(seen(), [known()], null)],
    ['full requested', reason(seen(), [known()], base(), true)],
    ['full disk-added', reason(seen(), [known()], base({ name: 'vdb' }))],
    ['full no-bitmap', reason(seen({ state: 'none' }), [known()])],
    ['full bitmap-missing', reason(seen({ state: 'new' }), [known()])],
    ['full moved', reason(seen({ state: 'new' }), [known()], base({}, { agent: OTHER }))],
    ['full moved', reason(seen(), [], base({}, { agent: OTHER }))],
    ['full size-changed', reason(seen({ size: 2000 }), [known()])],
    // a name proves nothing
    ['full checkpoint-mismatch', reason(seen(), [])],
    ['full checkpoint-mismatch', reason(seen(), [known({ bitmap: 'b1' })])],
    ['full checkpoint-mismatch', reason(seen(), [known({ point: 'p0' })])],
    ['full checkpoint-mismatch', reason(seen(), [known({ size: 900 })])],
    // nor does one in another process, or in none that is seen
    ['full checkpoint-mismatch', reason(seen({ exporter: { ...exporter, startTicks: '101' } }), [known()])],
    ['full checkpoint-mismatch', reason(seen({ exporter: { ...exporter, boot: 'c' } }), [known()])],
    ['full checkpoint-mismatch', reason(seen({ exporter: null }), [known()])],
    ['full checkpoint-mismatch', reason(seen({ exporter: null }), [known({ exporter: null })])],
    // nor one that lacks what it had
    ['incremental bitmap', reason(seen({ changed: [[0, 128]] }), [known({ seen: [[64, 64]] })])],
    ['full checkpoint-mismatch', reason(seen(), [known({ seen: [[64, 64]] })])],
    ['incremental bitmap', reason(seen({ changed: null }), [known()])],
    ['full checkpoint-mismatch', reason(seen({ changed: null }), [known({ seen: [[64, 64]] })])],
    ['full checkpoint-mismatch', reason(seen(), [known({ seen: null })])],
    // nor is a part of a chunk read where its rest cannot be
    ['incremental bitmap', reason(seen({ clips: true, changed: [[64, 128]] }), [known()])],
    ['incremental bitmap', reason(seen({ clips: true, changed: [[960, 40]] }), [known()])],
    ['incremental bitmap', reason(seen({ changed: [[32, 64]] }), [known()])],
    ['full checkpoint-mismatch', reason(seen({ clips: true, changed: [[32, 64]] }), [known()])],
    ['full checkpoint-mismatch', reason(seen({ clips: true, changed: [[64, 32]] }), [known()])],
    ['full changes-missed', reason(seen(), [known()], base({ missed: true }))],
    ['full base-damaged', reason(seen(), [known()], base({ reread: null }))],
    ['incremental bitmap', reason(seen(), [known()], base({ reread: [[0, 64]] }))],
    ['full base-damaged', reason(seen({ clips: true }), [known()], base({ reread: [[0, 64]] }))],
  ]
  expect(cases.map(([, found]) => found)).toEqual(cases.map(([expected]) => expected))
})

test('what cannot be read in full is refused, and so are what a plan refuses and a disk that is gone', () => {
  const policy = { refuseFull: [], refuseLeftOut: [] } as const
  const clipped = decideGiven([seen({ clips: true })], [], wishes(base()))
  expect(() => refuseGiven(clipped, policy)).toThrow(
    expect.objectContaining({ code: 'BITMAP_UNPROVED', details: { disk: 'vda', reason: 'checkpoint-mismatch' } }),
  )
  const full = decideGiven([seen()], [], wishes(base()))
  refuseGiven(full, policy)
  expect(() => refuseGiven(full, { ...policy, refuseFull: ['checkpoint-mismatch'] })).toThrow(
    expect.objectContaining({ code: 'FULL_REFUSED' }),
  )
  const two = base({}, { disks: [...base().disks, { ...base().disks[0]!, name: 'vdb' }] })
  const left = decideGiven([seen()], [known()], wishes(two))
  expect(left.leftOut).toEqual([{ name: 'vdb', reason: 'unplugged' }])
  expect(() => refuseGiven(left, { ...policy, refuseLeftOut: ['unplugged'] })).toThrow(
    expect.objectContaining({ code: 'DISK_LEFT_OUT' }),
  )
})

test('a bitmap in spite of which all must be read is forgotten, so that the next lease has a new one', () => {
  const record = { version: 1 as const, machine: 'vm', uuid: null, exporter: null, disks: [known()] }
  const offer = { machine: 'vm', uuid: null, timeMs: 1, disks: [], files: [], bandwidth: null }
  const kept = (of: LeaseBase, full = false): number =>
    lookedAt(record, { offer }, decideGiven([seen({ clips: true })], [known()], wishes(of, full)).disks).disks.length
  expect(kept(base())).toBe(1)
  expect([kept(base(), true), kept(base({ missed: true })), kept(base({ reread: [[0, 64]] }))]).toEqual([0, 0, 0])
})

/** Ascending ranges of a set of blocks, neighbours joined. */
const rangesOf = (blocks: ReadonlySet<number>): [number, number][] => {
  const ranges: [number, number][] = []
  for (const block of [...blocks].toSorted((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && last[0] + last[1] === block) last[1] += 1
    else ranges.push([block, 1])
  }
  return ranges
}

test('ranges cover others exactly where all of their blocks are among them', () => {
  const blocks = fc.uniqueArray(fc.nat(40)).map((all) => new Set(all))
  fc.assert(
    fc.property(blocks, blocks, (outer, inner) => {
      expect(covers(rangesOf(outer), rangesOf(inner))).toBe([...inner].every((block) => outer.has(block)))
    }),
  )
})
