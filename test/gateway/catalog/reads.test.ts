// What the gateway can know of announced reads: each reason against each relation, cell by cell, and what a policy refuses.
import { describe, expect, test } from 'vitest'
import {
  checkAny,
  checkReads,
  refusedBy,
  RELATIONS,
  SECTOR_BYTES,
  type BeginDisk,
  type JobFacts,
  type Relation,
} from '../../../gateway/catalog/reads.ts'
import {
  LEFT_OUT_REASONS,
  READ_KINDS,
  READ_REASONS,
  type LeftOutDisk,
  type LeftOutReason,
  type ReadKind,
  type ReadReason,
} from '../../../protocol/backup.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { POLICY_DEFAULT, type Policy } from '../../../protocol/schemas.ts'

const SIZE = 8 * SECTOR_BYTES
const BASE = '00000000-0000-4000-8000-000000000000'

const disk = (more: Partial<BeginDisk> = {}): BeginDisk => ({
  name: 'vda',
  size: SIZE,
  kind: 'full',
  reason: 'first',
  base: more.kind === 'incremental' ? (more.name ?? 'vda') : null,
  evidence: '',
  comparedChunks: 0,
  ...more,
})

/** A job in which `vda`, of SIZE bytes, stands so to the base. */
const jobWhere = (relation: Relation, full: boolean): JobFacts => {
  const bases: Record<Relation, JobFacts['base']> = {
    'no-base': null,
    'not-in-base': { point: BASE, checkpoint: true, disks: [{ name: 'vdb', size: SIZE }] },
    'same-size': { point: BASE, checkpoint: true, disks: [{ name: 'vda', size: SIZE }] },
    'other-size': { point: BASE, checkpoint: true, disks: [{ name: 'vda', size: 2 * SIZE }] },
  }
  return { full, base: bases[relation] }
}

/** What is said against the disks; null for nothing. */
const objection = (disks: readonly BeginDisk[], facts: JobFacts): string | null => {
  try {
    checkReads(disks, facts)
    return null
  } catch (thrown) {
    const { code, message } = asVarveError(thrown)
    return `${code}: ${message}`
  }
}

/** Where a read may be announced: a column for each relation, without and with a full read asked for; `x` where it may. */
const CELLS: Record<ReadReason, Record<ReadKind, string>> = {
  //                              no-base, not-in-base, same-size, other-size
  bitmap: { full: '.. .. .. ..', incremental: '.. .. x. ..' },
  first: { full: 'xx .. .. ..', incremental: '.. .. .. ..' },
  requested: { full: '.x .x .x .x', incremental: '.. .. .. ..' },
  'disk-added': { full: '.. xx .. ..', incremental: '.. .. .. ..' },
  'size-changed': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  'bitmap-missing': { full: '.. .. xx ..', incremental: '.. .. .. ..' },
  'bitmap-inconsistent': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  'bitmap-disabled': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  'checkpoint-mismatch': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  'backing-changed': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  'base-damaged': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  'changes-missed': { full: '.. xx xx xx', incremental: '.. .. .. ..' },
  moved: { full: '.. .. xx xx', incremental: '.. .. .. ..' },
  'no-bitmap': { full: '.. .. xx xx', incremental: '.. .. .. ..' },
}

test.each(READ_REASONS)('where a read for the reason %s may be announced', (reason) => {
  for (const kind of READ_KINDS) {
    const row = RELATIONS.map((relation) =>
      [false, true]
        .map((full) => (objection([disk({ kind, reason })], jobWhere(relation, full)) === null ? 'x' : '.'))
        .join(''),
    )
    expect(`${kind} ${row.join(' ')}`).toBe(`${kind} ${CELLS[reason][kind]}`)
  }
})

describe('what is refused, and in which words', () => {
  test.each([
    [
      disk({ reason: 'bitmap' }),
      'same-size',
      false,
      /vda is read full for the reason bitmap, .* incremental reads only/,
    ],
    [disk({ kind: 'incremental' }), 'same-size', false, /is read incremental for the reason first, .* full reads only/],
    [disk(), 'same-size', false, /reason first, but restore point 0{8}-\S+, which .* has this disk at the same size/],
    [disk({ kind: 'incremental', reason: 'bitmap' }), 'no-base', false, /this backup continues no restore point/],
    [disk({ reason: 'disk-added' }), 'same-size', false, /at the same size/],
    [disk({ reason: 'size-changed' }), 'no-base', false, /this backup continues no restore point/],
    [disk({ reason: 'bitmap-missing' }), 'not-in-base', false, /has no disk of this name/],
    [disk({ reason: 'bitmap-missing' }), 'other-size', false, /at another size/],
    [disk({ reason: 'requested' }), 'same-size', false, /no full read was asked for/],
    [disk({ kind: 'incremental', reason: 'bitmap' }), 'same-size', true, /a full read was asked for/],
  ] as const)('%j', (one, relation, full, words) => {
    const said = objection([one], jobWhere(relation, full))
    expect(said).toMatch(words)
    expect(said).toMatch(/^UPLOAD_INVALID: disk vda /)
  })

  test('sizes that no disk has, names twice, and no disk at all', () => {
    const facts = jobWhere('no-base', false)
    expect(objection([disk({ size: 0 })], facts)).toMatch(/disk vda has no bytes: leave it out/)
    for (const size of [1, 511, 513, SIZE + 1]) expect(objection([disk({ size })], facts)).toMatch(/no multiple of 512/)
    expect(objection([disk({ size: 512 })], facts)).toBeNull()
    expect(objection([disk(), disk({ size: 512 })], facts)).toMatch(/two disks have the same name/)
    expect(objection([], facts)).toMatch(/UPLOAD_INVALID: a backup without any disk makes no restore point/)
    expect(() => checkAny([])).toThrow(expect.objectContaining({ code: 'UPLOAD_INVALID' }))
  })

  test('one wrong disk among right ones is found, and named', () => {
    const facts: JobFacts = {
      full: false,
      base: { point: BASE, checkpoint: true, disks: ['vda', 'vdb', 'vdc'].map((name) => ({ name, size: SIZE })) },
    }
    const incremental = { kind: 'incremental', reason: 'bitmap' } as const
    const right = [disk(incremental), disk({ name: 'vdb', reason: 'bitmap-missing' })]
    expect(objection(right, facts)).toBeNull()
    expect(objection([...right, disk({ name: 'vdc', size: 2 * SIZE, ...incremental })], facts)).toMatch(/disk vdc /)
    expect(objection([...right, disk({ name: 'vdd', reason: 'disk-added' })], facts)).toBeNull()
  })
})

describe('which image of the base a read continues', () => {
  const bitmap = { kind: 'incremental', reason: 'bitmap' } as const
  const base = (disks: Record<string, number>): JobFacts => ({
    full: false,
    base: { point: BASE, checkpoint: true, disks: Object.entries(disks).map(([name, size]) => ({ name, size })) },
  })

  test('an increment names one, a full read none', () => {
    const facts = jobWhere('same-size', false)
    expect(objection([disk(bitmap)], facts)).toBeNull()
    expect(objection([disk({ ...bitmap, base: null })], facts)).toMatch(
      /^UPLOAD_INVALID: disk vda is incremental to no image/,
    )
    const full = READ_REASONS.filter((reason) => reason !== 'bitmap')
    for (const reason of full)
      expect(objection([disk({ reason, base: 'vda' })], jobWhere('same-size', true))).toMatch(
        /^UPLOAD_INVALID: disk vda is read full and names an image to continue/,
      )
  })

  test('a disk under another name, or two that changed places', () => {
    const facts = base({ vda: SIZE, vdb: 2 * SIZE })
    const moved = (name: string, from: string, size: number) => disk({ ...bitmap, name, base: from, size })
    expect(objection([moved('vdz', 'vda', SIZE)], facts)).toBeNull()
    expect(objection([moved('vdb', 'vda', SIZE), moved('vda', 'vdb', 2 * SIZE)], facts)).toBeNull()
    // the size is the image's that it continues, and not the one's that has its name
    expect(objection([moved('vda', 'vdb', SIZE)], facts)).toMatch(/disk vda .* at another size/)
    expect(objection([moved('vdz', 'vda', 2 * SIZE)], facts)).toMatch(/disk vdz .* at another size/)
    expect(objection([moved('vdz', 'vdy', SIZE)], facts)).toMatch(/disk vdz .* has no disk of this name/)
    expect(objection([moved('vda', 'vdy', SIZE)], facts)).toMatch(/disk vda .* has no disk of this name/)
  })

  test('no two disks one image, though a full read beside an increment is its own', () => {
    const facts = base({ vda: SIZE, vdb: SIZE })
    const twice = [disk(bitmap), disk({ ...bitmap, name: 'vdb', base: 'vda' })]
    expect(objection(twice, facts)).toMatch(/^UPLOAD_INVALID: two disks continue one image of the base/)
    expect(objection([...twice].toReversed(), facts)).toMatch(/two disks continue one image/)
    expect(objection([disk({ reason: 'checkpoint-mismatch' }), disk({ ...bitmap, name: 'vdb' })], facts)).toBeNull()
  })

  test('what is wrong is said in a fixed order', () => {
    const facts = jobWhere('other-size', true)
    const said = (more: Partial<BeginDisk>) => objection([disk(more)], facts)
    const wrong = { kind: 'incremental', reason: 'requested', base: null, size: 0 } as const
    expect(said(wrong)).toMatch(/has no bytes/)
    expect(said({ ...wrong, size: 1 })).toMatch(/no multiple/)
    expect(said({ ...wrong, size: SIZE })).toMatch(/belongs to full reads only/)
    expect(said({ ...wrong, size: SIZE, reason: 'bitmap' })).toMatch(/incremental to no image/)
    expect(said({ ...bitmap })).toMatch(/a full read was asked for/)
    expect(objection([disk(bitmap)], { ...facts, full: false })).toMatch(/at another size/)
  })
})

describe('what a policy refuses', () => {
  const CRASH = { consistency: 'crash', leftOut: [] } as const

  const incremental = { kind: 'incremental', reason: 'bitmap' } as const

  test.each(READ_REASONS.filter((reason) => reason !== 'bitmap'))('a full read for %s, where it says so', (reason) => {
    const disks = [disk({ name: 'vdb', ...incremental }), disk({ reason })]
    expect(refusedBy({ ...POLICY_DEFAULT, refuseFull: [reason] }, disks, CRASH)).toEqual({
      code: 'FULL_REFUSED',
      message: `disk vda would be read in full (${reason}), which the machine's plan refuses`,
      details: { disk: 'vda', reason },
    })
    const others = READ_REASONS.filter((one) => one !== reason)
    expect(refusedBy({ ...POLICY_DEFAULT, refuseFull: others }, disks, CRASH)).toBeNull()
  })

  test('never an increment', () => {
    expect(refusedBy({ ...POLICY_DEFAULT, refuseFull: [...READ_REASONS] }, [disk(incremental)], CRASH)).toBeNull()
  })

  test('a point that is not frozen, where a freeze is required', () => {
    const refused = (consistency: 'none' | 'freeze' | 'freeze-required', reached: 'crash' | 'frozen') =>
      refusedBy({ ...POLICY_DEFAULT, consistency }, [disk()], { consistency: reached, leftOut: [] })?.code ?? null
    expect(refused('freeze-required', 'crash')).toBe('FREEZE_REQUIRED')
    expect(refused('freeze-required', 'frozen')).toBeNull()
    expect(refused('freeze', 'crash')).toBeNull()
    expect(refused('none', 'crash')).toBeNull()
  })

  test.each(LEFT_OUT_REASONS)('a disk that is left out as %s, where it says so', (reason) => {
    const leftOut = [
      ...LEFT_OUT_REASONS.filter((one) => one !== reason).map((one) => ({ name: `other-${one}`, reason: one })),
      { name: 'cd', reason },
    ]
    const refused = (refuseLeftOut: LeftOutReason[], left: readonly LeftOutDisk[]) =>
      refusedBy({ ...POLICY_DEFAULT, refuseLeftOut }, [disk()], { consistency: 'crash', leftOut: left })
    expect(refused([reason], leftOut)).toEqual({
      code: 'DISK_LEFT_OUT',
      message: `disk cd would be left out (${reason}), which the machine's plan refuses`,
      details: { disk: 'cd', reason },
    })
    expect(refused([reason], leftOut.slice(0, -1))).toBeNull()
    expect(refused([], leftOut)).toBeNull()
  })

  test('what is said first, where several things are refused: a full read, then a disk left out, then the freeze', () => {
    const disks = [
      disk(incremental),
      disk({ name: 'vdb', reason: 'disk-added' }),
      disk({ name: 'vdc', reason: 'first' }),
    ]
    const reached = { consistency: 'crash', leftOut: [{ name: 'cd', reason: 'read-only' }] } as const
    const all: Policy = {
      consistency: 'freeze-required',
      refuseFull: ['first', 'disk-added'],
      refuseLeftOut: ['read-only'],
      compareDays: null,
    }
    expect(refusedBy(all, disks, reached)).toMatchObject({ code: 'FULL_REFUSED', details: { disk: 'vdb' } })
    expect(refusedBy({ ...all, refuseFull: [] }, disks, reached)).toMatchObject({ code: 'DISK_LEFT_OUT' })
    expect(refusedBy({ ...all, refuseFull: [] }, disks, { ...reached, leftOut: [] })?.code).toBe('FREEZE_REQUIRED')
  })
})
