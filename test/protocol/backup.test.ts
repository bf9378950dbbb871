// Kind and reason of a restore point from its disks'.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { kindText, pointKind, READ_REASONS, type ReadReason } from '../../protocol/backup.ts'

const incremental = { kind: 'incremental', reason: 'bitmap' } as const
const full = (reason: ReadReason) => ({ kind: 'full', reason }) as const

test('a point is full when every disk was, and has the first reason that made one so', () => {
  expect(pointKind([incremental, incremental])).toEqual({ kind: 'incremental', reason: 'bitmap' })
  expect(pointKind([full('first'), full('first')])).toEqual({ kind: 'full', reason: 'first' })
  expect(pointKind([full('bitmap-missing'), full('disk-added')])).toEqual({ kind: 'full', reason: 'bitmap-missing' })
  expect(pointKind([incremental, full('disk-added'), full('size-changed')])).toEqual({
    kind: 'incremental',
    reason: 'disk-added',
  })
})

test('no full read is without its reason', () => {
  const reason = fc.constantFrom(...READ_REASONS.filter((one) => one !== 'bitmap'))
  const disk = fc.oneof(fc.constant(incremental), reason.map(full))
  fc.assert(
    fc.property(fc.array(disk, { minLength: 1, maxLength: 6 }), (disks) => {
      const { kind, reason } = pointKind(disks)
      expect(reason === 'bitmap').toBe(disks.every((one) => one.kind === 'incremental'))
      expect(kind === 'full').toBe(disks.every((one) => one.kind === 'full'))
    }),
  )
})

test('how the disks of a point were read is one phrase, whatever the mix', () => {
  const disk = (name: string, reason: ReadReason): Parameters<typeof kindText>[0][number] => ({
    name,
    kind: reason === 'bitmap' ? 'incremental' : 'full',
    reason,
  })
  const [a, b] = [disk('vda', 'bitmap'), disk('vdb', 'bitmap')]
  const [missing, added] = [disk('vdc', 'bitmap-missing'), disk('vdd', 'disk-added')]
  expect(kindText([a, b])).toBe('incremental')
  expect(kindText([disk('vda', 'first'), disk('vdb', 'first')])).toBe('full (first)')
  expect(kindText([a, b, missing])).toBe('2 disks incremental, 1 full (bitmap-missing: vdc)')
  expect(kindText([a, missing, disk('vde', 'bitmap-missing'), added])).toBe(
    '1 disk incremental, 3 full (bitmap-missing: vdc, vde; disk-added: vdd)',
  )
  expect(kindText([missing, added])).toBe('full (bitmap-missing: vdc; disk-added: vdd)')
})
